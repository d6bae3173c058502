//! The guest's filesystems: the host's `/` read-only under a tmpfs that takes all writes, and the
//! kernel's own filesystems over it.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags};
use uml_test_protocol::{Failure, Setup};

use super::{modules, name, proc};

/// Where the pieces are put together, in the first root filesystem.
pub(super) const STAGE: &str = "/stage";
/// The overlay: the guest's root to be.
const NEW_ROOT: &str = "/stage/root";
/// The overlay once more, with nothing mounted over it: where kept paths are taken from.
const BARE_ROOT: &str = "/stage/bare";
/// The host's directory of the kernel's modules.
const MODULES: &str = "/stage/modules";

pub(super) const NO_EXTRAS: MsFlags =
    MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Filesystems that are mounted where the kernel has them: (type, place, flags, options).
const OPTIONAL: &[(&str, &str, MsFlags, Option<&str>)] = &[
    ("mqueue", "dev/mqueue", NO_EXTRAS, None),
    ("cgroup2", "sys/fs/cgroup", NO_EXTRAS, Some("nsdelegate,memory_recursiveprot")),
    ("securityfs", "sys/kernel/security", NO_EXTRAS, None),
    ("debugfs", "sys/kernel/debug", NO_EXTRAS, None),
    ("tracefs", "sys/kernel/tracing", NO_EXTRAS, None),
    ("selinuxfs", "sys/fs/selinux", MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC), None),
    ("configfs", "sys/kernel/config", NO_EXTRAS, None),
    ("fusectl", "sys/fs/fuse/connections", NO_EXTRAS, None),
    ("bpf", "sys/fs/bpf", NO_EXTRAS, Some("mode=700")),
    ("binfmt_misc", "proc/sys/fs/binfmt_misc", NO_EXTRAS, None),
];

/// Fresh, empty filesystems: (place, options). Not nosuid and nodev, which protect nothing in a guest: devices and setuid
/// files work there as in a plain directory of the host's.
const FRESH: &[(&str, &str)] =
    &[("tmp", "mode=1777"), ("run", "mode=755"), ("dev/shm", "mode=1777")];

/// Makes the guest's tree and moves into it.
///
/// # Errors
/// The first mount, directory or link that could not be made.
pub(super) fn set_up(wanted: &Setup) -> Result<(), Failure> {
    let keep: Vec<&Path> = wanted.keep.iter().map(|path| as_path(path)).collect();
    assemble_root(wanted.modules.as_ref().map(|dir| as_path(dir)))?;
    proc::set_up(Path::new(NEW_ROOT))?;
    mount_made("sysfs", &in_root("sys"), NO_EXTRAS, None)?;
    populate_dev()?;
    if wanted.modules.is_some() {
        modules::make_device_nodes(Path::new(MODULES), &in_root("dev"))?;
    }
    for (place, options) in FRESH {
        // A kept path that is the place itself: the host's stays, or comes back below.
        if !keep.contains(&Path::new("/").join(place).as_path()) {
            let place = within(Path::new(NEW_ROOT), place);
            mount_made("tmpfs", &place, MsFlags::empty(), Some(options))?;
        }
    }
    create_dir(&within(Path::new(NEW_ROOT), "run").join("lock"), 0o1777)?;
    for (kind, place, flags, options) in OPTIONAL {
        mount_if_known(kind, &in_root(place), *flags, *options)?;
    }
    // First the places, then the outermost: `/` may be among the kept paths.
    let hidden: Vec<&Path> = keep.iter().copied().filter(|path| is_hidden(path)).collect();
    for path in outermost(&hidden) {
        bind_back(path)?;
    }
    enter_root()?;
    name::put_into_files();
    // Only now: on the way to such a place may be links with absolute targets.
    for dir in &wanted.rw_dirs {
        let target = as_path(&dir.guest);
        create_dirs(target)?;
        let options = Some(hostfs_option(as_path(&dir.host))?);
        mount("hostfs", target, "hostfs", MsFlags::empty(), options)?;
    }
    Ok(())
}

fn assemble_root(modules: Option<&Path>) -> Result<(), Failure> {
    mount("tmpfs", STAGE, "tmpfs", MsFlags::empty(), Some("mode=755"))?;
    for dir in ["host", "upper", "work", "root", "bare"] {
        create_dir(&Path::new(STAGE).join(dir), 0o755)?;
    }
    mount("hostfs", "/stage/host", "hostfs", MsFlags::MS_RDONLY, Some("/"))?;
    if let Some(modules) = modules {
        create_dir(Path::new(MODULES), 0o755)?;
        let options = Some(hostfs_option(modules)?);
        mount("hostfs", MODULES, "hostfs", MsFlags::MS_RDONLY, options)?;
    }
    let options = "lowerdir=/stage/host,upperdir=/stage/upper,workdir=/stage/work";
    match overlay(Path::new(NEW_ROOT), options) {
        // A distribution's kernel may have it as a module; there is no modprobe here yet.
        Err(failure) if failure.errno == libc::ENODEV && modules.is_some() => {
            modules::load(Path::new(MODULES), "overlay")?;
            overlay(Path::new(NEW_ROOT), options)?;
        }
        other => other?,
    }
    if modules.is_some() {
        show_modules()?;
    }
    mount(NEW_ROOT, BARE_ROOT, "", MsFlags::MS_BIND, None)
}

/// The kernel's modules as `/lib/modules`, in the place of the host's if it has any. The guest can
/// add to them.
fn show_modules() -> Result<(), Failure> {
    for dir in ["modules-upper", "modules-work"] {
        create_dir(&Path::new(STAGE).join(dir), 0o755)?;
    }
    let place = modules::place(Path::new(NEW_ROOT));
    // A link would lead out of the root that is being made.
    if place.is_symlink() {
        fs::remove_file(&place).map_err(|error| failed("remove", &place, &error))?;
    }
    create_dirs(&place)?;
    let options =
        "lowerdir=/stage/modules,upperdir=/stage/modules-upper,workdir=/stage/modules-work";
    overlay(&place, options)
}

fn overlay(target: &Path, options: &str) -> Result<(), Failure> {
    mount("overlay", target, "overlay", MsFlags::empty(), Some(options))
}

fn populate_dev() -> Result<(), Failure> {
    mount_made("devtmpfs", &in_root("dev"), MsFlags::MS_NOSUID, Some("mode=755"))?;
    for dir in ["dev/pts", "dev/shm", "dev/mqueue"] {
        create_dir(&in_root(dir), 0o755)?;
    }
    // What udev opens to everybody on a host: drivers leave it to root.
    for device in ["fuse", "net/tun", "vsock"] {
        let device = in_root("dev").join(device);
        match fs::set_permissions(&device, Permissions::from_mode(0o666)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("open to everybody", &device, &error));
            }
            _ => {}
        }
    }
    let pts_flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let pts_options = Some("newinstance,gid=5,mode=620,ptmxmode=666");
    mount("devpts", &in_root("dev/pts"), "devpts", pts_flags, pts_options)?;
    for (target, link) in [
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
    ] {
        create_link(Path::new(target), &in_root(link))?;
    }
    Ok(())
}

/// Makes a path of the overlay visible again that a fresh filesystem hides; of a link a copy.
fn bind_back(path: &Path) -> Result<(), Failure> {
    let source = Path::new(BARE_ROOT).join(path.strip_prefix("/").unwrap_or(path));
    let target = in_root_path(path);
    let metadata = match fs::symlink_metadata(&source) {
        Ok(metadata) => metadata,
        // Gone since the host named it: then there is nothing to keep.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("find", path, &error)),
    };
    if metadata.is_dir() {
        create_dirs(&target)?;
    } else {
        target.parent().map_or(Ok(()), create_dirs)?;
        if metadata.is_symlink() {
            let leads_to =
                fs::read_link(&source).map_err(|error| failed("read", &source, &error))?;
            return create_link(&leads_to, &target);
        }
        fs::write(&target, "").map_err(|error| failed("create", &target, &error))?;
    }
    mount(source.as_os_str(), &target, "", MsFlags::MS_BIND, None)
}

/// Makes the new root the root, and lets go of the old one.
fn enter_root() -> Result<(), Failure> {
    let enter = || {
        std::env::set_current_dir(NEW_ROOT)?;
        // Both arguments the same: the old root is stacked under the new one and detached there.
        nix::unistd::pivot_root(".", ".")?;
        nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
        std::env::set_current_dir("/")
    };
    enter().map_err(|error| failed("enter", Path::new(NEW_ROOT), &error))
}

/// `mount(2)`; `options` goes to the filesystem as it is.
pub(super) fn mount<S, T>(
    source: &S,
    target: &T,
    kind: &str,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), Failure>
where
    S: AsRef<OsStr> + ?Sized,
    T: AsRef<Path> + ?Sized,
{
    let target = target.as_ref();
    nix::mount::mount(Some(source.as_ref()), target, Some(kind), flags, options).map_err(|errno| {
        let what = if kind.is_empty() { "bind" } else { kind };
        Failure::new(format!("mount {what} on"), target.as_os_str().as_bytes(), errno as i32)
    })
}

/// Mounts a filesystem on a directory that a host may lack (a minimal container): then it is made, in the upper layer.
pub(super) fn mount_made(
    kind: &str,
    target: &Path,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), Failure> {
    match mount(kind, target, kind, flags, options) {
        // Only now: on most hosts asking first would be a trap for nothing.
        Err(failure) if failure.errno == libc::ENOENT => {
            create_dirs(target)?;
            mount(kind, target, kind, flags, options)
        }
        other => other,
    }
}

/// Mounts a filesystem unless the kernel was built without it, or without the directory for it.
fn mount_if_known(
    kind: &str,
    target: &Path,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), Failure> {
    let known = |failure: &Failure| ![libc::ENODEV, libc::ENOENT].contains(&failure.errno);
    match mount(kind, target, kind, flags, options) {
        // Options are newer than the filesystem on some kernels.
        Err(failure) if failure.errno == libc::EINVAL && options.is_some() => {
            mount_if_known(kind, target, flags, None)
        }
        Err(failure) if known(&failure) => Err(failure),
        _ => Ok(()),
    }
}

/// hostfs takes the directory as its whole option string.
fn hostfs_option(path: &Path) -> Result<&str, Failure> {
    path.to_str()
        .ok_or_else(|| Failure::new("name (not UTF-8)", path.as_os_str().as_bytes(), libc::EILSEQ))
}

fn in_root(place: &str) -> PathBuf {
    Path::new(NEW_ROOT).join(place)
}

fn in_root_path(path: &Path) -> PathBuf {
    Path::new(NEW_ROOT).join(path.strip_prefix("/").unwrap_or(path))
}

/// `place` below `root`, where it may be a link: one with an absolute target would lead out of a
/// root that is not entered yet.
pub(super) fn within(root: &Path, place: &str) -> PathBuf {
    match fs::read_link(root.join(place)) {
        Ok(target) if target.is_absolute() => {
            root.join(target.strip_prefix("/").unwrap_or(&target))
        }
        Ok(_) | Err(_) => root.join(place),
    }
}

/// Whether a filesystem of the guest's lies over a path of the host's. Over `/dev/shm` itself that is `/dev`.
fn is_hidden(path: &Path) -> bool {
    FRESH.iter().any(|(place, _)| is_below(path, place)) || path == Path::new("/dev/shm")
}

fn is_below(path: &Path, place: &str) -> bool {
    path.strip_prefix("/").is_ok_and(|path| path.starts_with(place) && path != Path::new(place))
}

/// The paths that do not lie below another one of them.
fn outermost<'p>(paths: &[&'p Path]) -> Vec<&'p Path> {
    let mut sorted = paths.to_vec();
    sorted.sort();
    let mut out: Vec<&Path> = Vec::new();
    for path in sorted {
        if !out.last().is_some_and(|outer| path.starts_with(outer)) {
            out.push(path);
        }
    }
    out
}

fn create_dir(path: &Path, mode: u32) -> Result<(), Failure> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("create", path, &error)),
    }
}

/// What is there already stays.
fn create_link(leads_to: &Path, link: &Path) -> Result<(), Failure> {
    match symlink(leads_to, link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed("link", link, &error))
        }
        _ => Ok(()),
    }
}

fn create_dirs(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| failed("create", path, &error))
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

pub(super) fn failed(operation: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(operation, path.as_os_str().as_bytes(), error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_paths_are_kept_once() {
        let paths = ["/tmp/a/b", "/tmp/a", "/tmp/ab", "/home/x"].map(Path::new);
        assert_eq!(outermost(&paths), ["/home/x", "/tmp/a", "/tmp/ab"].map(Path::new));
    }

    #[test]
    fn below_is_by_component_and_not_the_place_itself() {
        assert!(is_below(Path::new("/tmp/x"), "tmp"));
        assert!(is_below(Path::new("/dev/shm/x/y"), "dev/shm"));
        assert!(!is_below(Path::new("/tmpfs/x"), "tmp"));
        assert!(!is_below(Path::new("/tmp"), "tmp"));
    }

    #[test]
    fn a_place_itself_is_hidden_only_where_dev_is_over_it() {
        assert!(!is_hidden(Path::new("/tmp")) && !is_hidden(Path::new("/")));
        assert!(is_hidden(Path::new("/dev/shm")) && is_hidden(Path::new("/run/x")));
    }
}
