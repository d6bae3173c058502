//! The run directory of one guest: its first root filesystem, memory file, and management socket.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use uml_test_protocol::Failure;
use uml_test_protocol::supervision::{AGENT, Boot, REQUESTS, ROOT_DIR};

/// With less room than this, in bytes, a guest that ended without a word is taken to have run out
/// of memory file: touching one page more kills the kernel process.
const FULL: u64 = 256 << 10;

/// A directory that is removed with everything in it when this value is dropped.
pub(super) struct RunDir {
    path: PathBuf,
    /// Held while the directory is in use: what lies about unlocked was left by a supervisor that
    /// was killed itself, and the next run removes it.
    _lock: Option<Flock<File>>,
}

impl RunDir {
    /// Creates the directory, with the agent and its first requests in it.
    pub(super) fn create(boot: &Boot, requests: &File) -> Result<Self, Failure> {
        let path = PathBuf::from(OsStr::from_bytes(&boot.run_dir));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| failed("create run directory", &path, &error))?;
        let lock = File::open(&path)
            .ok()
            .and_then(|dir| Flock::lock(dir, FlockArg::LockExclusiveNonblock).ok());
        let run_dir = Self { path, _lock: lock };
        let root = run_dir.path.join(ROOT_DIR);
        // The mount points that the agent needs before it has made its own.
        for dir in [root.clone(), root.join("dev"), root.join("stage")] {
            fs::create_dir(&dir).map_err(|error| failed("create", &dir, &error))?;
        }
        let agent = root.join(AGENT);
        let copy = || {
            // Not fs::copy, which would carry over the mode of a memory file.
            io::copy(&mut File::open("/proc/self/exe")?, &mut File::create(&agent)?)?;
            fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))
        };
        copy().map_err(|error| failed("write", &agent, &error))?;
        let path = root.join(REQUESTS);
        let copy = || io::copy(&mut &*requests, &mut File::create(&path)?);
        copy().map_err(|error| failed("write", &path, &error))?;
        Ok(run_dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the filesystem has no room left for guest memory.
    pub(super) fn is_full(&self) -> bool {
        nix::sys::statvfs::statvfs(&self.path)
            .is_ok_and(|stat| stat.blocks_available() * stat.fragment_size() <= FULL)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What cannot be removed now is swept up by the next run.
        if fs::remove_dir_all(&self.path).is_err() {
            open_up(&self.path);
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Gives the owner access to every directory of a tree: a guest can make some without.
fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // Not through a link: what it leads to is not this guest's.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(operation, path.as_os_str().as_bytes(), error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_without_permissions_go_too_and_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o500)).unwrap();
        std::os::unix::fs::symlink(outside.path(), path.join("a/link")).unwrap();
        for dir in ["a/b", "a"] {
            fs::set_permissions(path.join(dir), fs::Permissions::from_mode(0o000)).unwrap();
        }
        // Root needs no permission, and removes it all at once: the helper is called by itself.
        open_up(&path);
        assert_eq!(fs::metadata(path.join("a/b")).unwrap().permissions().mode() & 0o777, 0o700);
        drop(RunDir { path: path.clone(), _lock: None });
        assert!(!path.exists());
        let mode = fs::metadata(outside.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o500);
    }
}
