//! The run directory of one guest: its first root filesystem, memory file, and management socket.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use uml_test_protocol::Failure;
use uml_test_protocol::supervision::{AGENT, Boot, FULL, REQUESTS, ROOT_DIR};

use super::removal;

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
        // Where that fails a later run tries again.
        let _ = removal::remove(&self.path);
    }
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(operation, path.as_os_str().as_bytes(), error.raw_os_error().unwrap_or(0))
}
