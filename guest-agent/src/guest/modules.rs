//! The kernel's modules: where the guest finds them, and the loading of one that its own root
//! cannot do without.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use uml_test_protocol::Failure;

use super::mounts::within;

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

/// A device node whose use loads a module.
#[derive(Debug, PartialEq, Eq)]
struct DeviceNode<'t> {
    /// Below `/dev`.
    name: &'t str,
    kind: SFlag,
    device: u64,
}

/// Makes the nodes in `dev` by which programs have modules loaded (`/dev/loop-control`, `/dev/fuse`, …), as a host's
/// `kmod static-nodes` does. Only root opens them until then.
///
/// # Errors
/// Where a node cannot be made. A kernel without such modules is no error.
pub(super) fn make_device_nodes(modules: &Path, dev: &Path) -> Result<(), Failure> {
    let release = nix::sys::utsname::uname()
        .map_err(|errno| Failure::new("ask for", "the kernel's release", errno as i32))?;
    let list = modules.join(release.release()).join("modules.devname");
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", &list, &error)),
    };
    for node in text.lines().filter_map(device_node) {
        let path = dev.join(node.name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            Ok(mknod(&path, node.kind, Mode::S_IRUSR | Mode::S_IWUSR, node.device)?)
        });
        match made {
            // The driver is built in, or loaded already.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("make the device", &path, &error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// A line of `modules.devname`: the module, the node's name, and `c` or `b` with major and minor number.
fn device_node(line: &str) -> Option<DeviceNode<'_>> {
    let mut words = line.split_whitespace().skip(1);
    let (name, numbers) = (words.next()?, words.next()?);
    let (kind, numbers) = match numbers.split_at_checked(1)? {
        ("c", numbers) => (SFlag::S_IFCHR, numbers),
        ("b", numbers) => (SFlag::S_IFBLK, numbers),
        _ => return None,
    };
    let (major, minor) = numbers.split_once(':')?;
    Some(DeviceNode { name, kind, device: makedev(major.parse().ok()?, minor.parse().ok()?) })
}

/// `/lib/modules` below `root`.
pub(super) fn place(root: &Path) -> PathBuf {
    within(root, "lib").join("modules")
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
    fn device_nodes_are_read_as_kmod_reads_them() {
        let node = |line| device_node(line).map(|node| (node.name, node.kind, node.device));
        assert_eq!(node("# Device nodes to trigger on-demand module loading."), None);
        let loops = ("loop-control", SFlag::S_IFCHR, makedev(10, 237));
        assert_eq!(node("loop loop-control c10:237"), Some(loops));
        assert_eq!(node("tun net/tun c10:200").unwrap().0, "net/tun");
        assert_eq!(node("x y b7:300"), Some(("y", SFlag::S_IFBLK, makedev(7, 300))));
        assert_eq!(node("x y z7:3"), None);
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
