//! Directories of the host process's own that a guest may write, and that are to go with that process.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{getppid, getuid};
use uml_test_protocol::supervision::Boot;

use super::removal;

/// Directories that are removed with this value, if the host process has ended. Else it does so itself, when it has
/// taken what is in them.
pub(super) struct Temporary {
    dirs: Vec<PathBuf>,
    host_pid: i32,
}

impl Temporary {
    pub(super) fn of(boot: &Boot) -> Self {
        let dirs = boot.temporary.iter().map(|dir| OsStr::from_bytes(dir).into()).collect();
        Self { dirs, host_pid: boot.host_pid }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It has been the parent, and is until it ends.
        if getppid().as_raw() == self.host_pid {
            return;
        }
        for dir in self.dirs.iter().filter(|dir| is_own_directory(dir)) {
            // Nobody is left to be told.
            let _ = removal::remove(dir);
        }
    }
}

/// Not what somebody else has put there since, where the host process had removed its own.
fn is_own_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == getuid().as_raw())
}
