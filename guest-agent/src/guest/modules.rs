//! The kernel's modules: where the guest finds them, and the loading of one that its own root
//! cannot do without.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::kmod::{ModuleInitFlags, finit_module};
use uml_test_protocol::Failure;

/// The kernel decompresses the file itself (Linux 5.17, if it is configured so).
const COMPRESSED_FILE: libc::c_uint = 4; // MODULE_INIT_COMPRESSED_FILE of linux/module.h

/// Loads a module and those it depends on; `modules` has a directory for each kernel release.
///
/// # Errors
/// Where it is not there, or the kernel does not take it.
pub(super) fn load(modules: &Path, name: &str) -> Result<(), Failure> {
    let release = nix::sys::utsname::uname()
        .map_err(|errno| Failure::new("ask for", "the kernel's release", errno as i32))?;
    let dir = modules.join(release.release());
    let index = dir.join("modules.dep");
    let text = fs::read_to_string(&index).map_err(|error| failed("read", &index, &error))?;
    let Some(files) = with_dependencies(&text, name) else {
        return Err(Failure::new("find a module in", index.as_os_str().as_bytes(), libc::ENOENT));
    };
    for file in files {
        let path = dir.join(file);
        let module = File::open(&path).map_err(|error| failed("open", &path, &error))?;
        let flags = if path.extension() == Some(OsStr::new("ko")) { 0 } else { COMPRESSED_FILE };
        match finit_module(module, c"", ModuleInitFlags::from_bits_retain(flags)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(errno) => return Err(failed("load the module", &path, &errno.into())),
        }
    }
    Ok(())
}

/// The files to load in this order, by `modules.dep`: a line has a module, a colon, and what has
/// to be there before it, the last first.
fn with_dependencies<'t>(index: &'t str, name: &str) -> Option<Vec<&'t str>> {
    index.lines().find_map(|line| {
        let (module, before) = line.split_once(':')?;
        let (stem, _) = module.rsplit('/').next()?.split_once(".ko")?;
        (stem == name).then(|| before.split_whitespace().rev().chain([module]).collect())
    })
}

/// `/lib/modules` below `root`, whose `/lib` may be a link: one with an absolute target would lead
/// out of a root that is not entered yet.
pub(super) fn place(root: &Path) -> PathBuf {
    let lib = root.join("lib");
    match fs::read_link(&lib) {
        Ok(target) if target.is_absolute() => {
            root.join(target.strip_prefix("/").unwrap_or(&target)).join("modules")
        }
        Ok(_) | Err(_) => lib.join("modules"),
    }
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(operation, path.as_os_str().as_bytes(), error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let index = "kernel/a/x-overlay.ko:\nkernel/fs/overlay.ko.xz: kernel/b/two.ko kernel/b/one.ko\n\
                     kernel/c/alone.ko:\n";
        let files = |name| with_dependencies(index, name);
        let expected = ["kernel/b/one.ko", "kernel/b/two.ko", "kernel/fs/overlay.ko.xz"];
        assert_eq!(files("overlay").unwrap(), expected);
        assert_eq!(files("alone").unwrap(), ["kernel/c/alone.ko"]);
        assert_eq!(files("over"), None);
    }

    #[test]
    fn the_place_stays_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(place(root.path()), root.path().join("lib/modules"), "no /lib");
        std::os::unix::fs::symlink("/usr/lib", root.path().join("lib")).unwrap();
        assert_eq!(place(root.path()), root.path().join("usr/lib/modules"));
        fs::remove_file(root.path().join("lib")).unwrap();
        std::os::unix::fs::symlink("usr/lib", root.path().join("lib")).unwrap();
        assert_eq!(place(root.path()), root.path().join("lib/modules"), "as it is written");
    }
}
