//! Removing a directory in which a guest's root may have made anything.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Removes a directory with everything in it; nobody changes it meanwhile.
///
/// One step at a time, with one directory open: renames in a guest make trees that are deeper than a path can be long,
/// or than this process may have files open. Directories without permissions are given them; no link is followed.
///
/// # Errors
/// What could not be removed first, as its error.
pub(super) fn remove(path: &Path) -> Result<(), Errno> {
    fchmodat(nix::fcntl::AT_FDCWD, path, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
    let mut here = open(path, DIRECTORY, Mode::empty())?;
    // The way from `path` to `here`.
    let mut names: Vec<CString> = Vec::new();
    loop {
        match next_directory(&here)? {
            Some(name) => {
                // Found to be no link.
                fchmodat(&here, &*name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
                here = openat(&here, &*name, DIRECTORY, Mode::empty())?;
                names.push(name);
            }
            None => {
                let Some(name) = names.pop() else { break };
                here = openat(&here, c"..", DIRECTORY, Mode::empty())?;
                unlinkat(&here, &*name, UnlinkatFlags::RemoveDir)?;
            }
        }
    }
    nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, path, UnlinkatFlags::RemoveDir)
}

/// Removes what is no directory, up to the first that is one.
fn next_directory(here: &OwnedFd) -> Result<Option<CString>, Errno> {
    let mut entries = Dir::openat(here, c".", DIRECTORY, Mode::empty())?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if is_directory(here, name, entry.file_type())? {
            return Ok(Some(name.to_owned()));
        }
        unlinkat(here, name, UnlinkatFlags::NoRemoveDir)?;
    }
    Ok(None)
}

fn is_directory(here: &OwnedFd, name: &CStr, kind: Option<Type>) -> Result<bool, Errno> {
    match kind {
        Some(kind) => Ok(kind == Type::Directory),
        // Not every filesystem says.
        None => {
            let found: FileStat = fstatat(here, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            Ok(SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directories_without_permissions_go_too_and_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::set_permissions(outside.path(), Permissions::from_mode(0o500)).unwrap();
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        fs::write(path.join("a/b/file"), "").unwrap();
        symlink(outside.path(), path.join("a/link")).unwrap();
        symlink(outside.path(), path.join("a/b/c/link")).unwrap();
        for dir in ["a/b/c", "a/b", "a", ""] {
            fs::set_permissions(path.join(dir), Permissions::from_mode(0o000)).unwrap();
        }
        remove(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(mode(outside.path()), 0o500);
        assert!(remove(&path).is_err(), "it is gone");
    }

    #[test]
    fn a_tree_deeper_than_any_path_goes() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        fs::create_dir(&path).unwrap();
        // Each of these paths is short enough; one below the other they are not.
        let level = "x".repeat(200);
        let deep = (0..10).fold(path.join("top"), |path, _| path.join(&level));
        fs::create_dir_all(&deep).unwrap();
        for _ in 0..3 {
            let next = path.join("next");
            let bottom = (0..10).fold(next.clone(), |path, _| path.join(&level));
            fs::create_dir_all(&bottom).unwrap();
            fs::rename(path.join("top"), bottom.join("top")).unwrap();
            fs::rename(next, path.join("top")).unwrap();
        }
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
