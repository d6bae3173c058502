//! The cache's two locks: one for the long work of building, one for the moment of changing what is there.
//!
//! Whoever takes both takes the build lock first.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};

use super::cache::Cache;
use crate::error::Error;
use crate::report::Reporter;

/// The right to fetch, configure and compile. One build at a time: a second would only take processors from the first.
#[derive(Debug)]
pub(crate) struct BuildLock {
    _file: Flock<File>,
}

/// The right to add, remove and name kernels. Held for moments.
#[derive(Debug)]
pub(crate) struct CacheLock {
    _file: Flock<File>,
}

impl BuildLock {
    /// Waits for the lock, saying for whom. `work` is what others will be told: `building 7.2/debug`.
    ///
    /// The descriptor stays open across exec: when this process is killed, the make that it leaves behind keeps the
    /// build tree locked until it has ended too.
    pub(crate) fn take(cache: &Cache, work: &str, reporter: &Reporter) -> Result<Self, Error> {
        let path = cache.root().join("build.lock");
        let mut file = lock(&path, |holder| {
            let holder = if holder.is_empty() { "another build" } else { holder };
            reporter.note(format_args!(
                "Waiting for another `cargo uml` to finish ({holder}); one kernel is built at a time"
            ));
        })?;
        fcntl(&*file, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(|error| Error::io("lock", &path)(error.into()))?;
        // For others' messages only, so a full disk is no reason to stop.
        let _ = file.set_len(0);
        let _ = write!(file, "{work}, process {}", std::process::id());
        remove_hidden(&cache.sources());
        Ok(BuildLock { _file: file })
    }
}

impl CacheLock {
    pub(crate) fn take(cache: &Cache) -> Result<Self, Error> {
        let file = lock(&cache.root().join("cache.lock"), |_| ())?;
        remove_hidden(&cache.kernels());
        remove_hidden(&cache.names());
        Ok(CacheLock { _file: file })
    }
}

/// Waits for the lock; calls `waiting` first, with what the file says, if another process has it.
fn lock(path: &Path, waiting: impl FnOnce(&str)) -> Result<Flock<File>, Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(path).map_err(Error::io("create", path))
    };
    match Flock::lock(open()?, FlockArg::LockExclusiveNonblock) {
        Ok(locked) => Ok(locked),
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            waiting(holder.trim());
            let file = open()?;
            Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, error)| Error::io("lock", path)(error.into()))
        }
        Err((_, error)) => Err(Error::io("lock", path)(error.into())),
    }
}

/// What killed processes left half-done. The lock is held, so nobody is at work on it.
fn remove_hidden(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".")) {
        let path = entry.path();
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
}
