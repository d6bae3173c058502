//! A kernel's modules in the cache: what its guests see as `/lib/modules`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::entry::Kernel;
use crate::error::Error;
use crate::process;
use crate::report::Reporter;

/// What modprobe looks names up in.
const INDEX: &str = "modules.dep.bin";

/// Where a kernel has its modprobe, which it runs when something that is a module is used: guests see the host's.
const MODPROBE: [&str; 2] = ["/sbin/modprobe", "/usr/sbin/modprobe"];

/// Whether guests' kernels can load modules of themselves.
pub(crate) fn has_modprobe() -> bool {
    MODPROBE.iter().any(|path| Path::new(path).exists())
}

/// Says so where they can't.
pub(crate) fn note_without_modprobe(reporter: &Reporter) {
    if !has_modprobe() {
        reporter.note(
            "There is no /sbin/modprobe on this machine, so guests of this kernel don't load its modules when something \
             uses them: install the package kmod",
        );
    }
}

/// Whether modprobe finds the kernel's modules by name.
pub(crate) fn is_indexed(kernel: &Kernel) -> bool {
    kernel.directory().join("modules").join(&kernel.metadata.version).join(INDEX).exists()
}

/// Copies `directory`, the modules of one release, to `kernel/modules/<release>` with an index that modprobe reads.
pub(crate) fn copy(
    directory: &Path,
    release: &str,
    kernel: &Path,
    reporter: &Reporter,
) -> Result<(), Error> {
    let modules = kernel.join("modules");
    fs::create_dir(&modules).map_err(Error::io("create", &modules))?;
    let copied = modules.join(release);
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--preserve=links,mode,timestamps", "--no-target-directory", "--"]);
    process::stdout(copy.arg(directory).arg(&copied))?;
    if copied.join(INDEX).exists() {
        return Ok(());
    }
    let Some(depmod) = depmod() else {
        reporter.note(
            "depmod is missing (package kmod), so modprobe won't find this kernel's modules by name: install it and \
             run this again",
        );
        return Ok(());
    };
    // depmod looks below lib/modules of its base directory.
    let base = kernel.join(".depmod");
    fs::create_dir_all(base.join("lib")).map_err(Error::io("create", &base))?;
    let link = base.join("lib/modules");
    symlink(&modules, &link).map_err(Error::io("create", &link))?;
    process::stdout(Command::new(depmod).arg("-b").arg(&base).arg(release))?;
    fs::remove_dir_all(&base).map_err(Error::io("remove", &base))
}

/// In `sbin`, which a user's `PATH` often lacks.
fn depmod() -> Option<PathBuf> {
    let places = ["/usr/sbin/depmod", "/sbin/depmod"].map(PathBuf::from);
    process::find("depmod").or_else(|| places.into_iter().find(|path| path.exists()))
}
