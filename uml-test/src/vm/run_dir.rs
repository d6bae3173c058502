//! Where run directories are made, and the sweeping up of what a killed supervisor left.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};
use uml_test_protocol::supervision::FULL;

use crate::config::{Config, variable};
use crate::error::Error;

/// How run directories' names begin.
const PREFIX: &str = "uml-test-";

/// The longest run directory, in bytes: a socket's path below it must stay under 108.
const LONGEST: usize = 80;

/// A supervisor locks its directory right after making it. Younger ones are let be.
const SWEEP_AGE: Duration = Duration::from_secs(60);

/// A directory that is fit.
pub(super) struct Place {
    /// It, with no symbolic link in it.
    pub(super) path: PathBuf,
    /// Free bytes.
    pub(super) room: u64,
}

/// The path of a new run directory. It is the supervisor that makes it, and removes it.
///
/// # Errors
/// [`Error::RunDirectory`] where no place is fit.
pub(super) fn choose(config: &Config) -> Result<PathBuf, Error> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static SWEEP: Once = Once::new();
    let base = base(config)?;
    SWEEP.call_once(|| sweep(&base));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Unique also among processes of the same pid in different pid namespaces.
    let salt = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    Ok(base.join(format!("{PREFIX}{}-{number}-{salt:x}", std::process::id())))
}

/// The directories that run directories may be made in, the preferred first.
pub(super) fn candidates(config: &Config) -> Vec<PathBuf> {
    match &config.run_dir {
        Some(named) => vec![named.clone()],
        None => {
            let mut places = vec![PathBuf::from("/dev/shm")];
            places.extend(
                ["XDG_RUNTIME_DIR", "TMPDIR"]
                    .iter()
                    .filter_map(|name| variable(name))
                    .map(PathBuf::from),
            );
            places.extend(["/tmp", "/var/tmp"].map(PathBuf::from));
            places
        }
    }
}

fn base(config: &Config) -> Result<PathBuf, Error> {
    let mut looked = String::new();
    for candidate in candidates(config) {
        match check(&candidate, config.mem) {
            Ok(place) => return Ok(place.path),
            Err(reason) => {
                let _ = writeln!(looked, "  {}: {reason}", candidate.display());
            }
        }
    }
    looked.pop();
    Err(Error::RunDirectory { mem: config.mem, looked })
}

/// Whether the filesystem has as good as no room left; what cannot be asked has.
pub(super) fn is_full(dir: &Path) -> bool {
    statvfs(dir).is_ok_and(|stat| stat.blocks_available() * stat.fragment_size() <= FULL)
}

/// A directory that a guest's memory of `mem` bytes fits into; or why it does not.
pub(super) fn check(dir: &Path, mem: u64) -> Result<Place, String> {
    let path = dir.canonicalize().map_err(|error| error.to_string())?;
    if !path.is_dir() {
        return Err("not a directory".to_owned());
    }
    if path.as_os_str().len() + PREFIX.len() + 24 > LONGEST {
        return Err(format!("its path is longer than {} bytes", LONGEST - PREFIX.len() - 24));
    }
    if path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b'"' | b',' | b'\n')) {
        return Err(
            "its path has a quote, comma or line end, which the kernel's arguments cannot have"
                .to_owned(),
        );
    }
    access(&path, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|_| "not writable".to_owned())?;
    let stat = statvfs(&path).map_err(|errno| errno.to_string())?;
    if stat.flags().contains(FsFlags::ST_NOEXEC) {
        return Err("mounted noexec".to_owned());
    }
    let room = stat.blocks_available() * stat.fragment_size();
    if room < mem {
        return Err(format!("only {} MiB are free", room >> 20));
    }
    Ok(Place { path, room })
}

/// Removes run directories whose supervisor was itself killed: old, and locked by nobody.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_str().is_some_and(is_run_dir);
        let old = entry.metadata().and_then(|found| found.modified()).is_ok_and(|modified| {
            SystemTime::now().duration_since(modified).is_ok_and(|age| age > SWEEP_AGE)
        });
        // A directory of another user's cannot be opened, or not be removed: both are fine.
        if ours
            && old
            && let Ok(dir) = open_dir(&path)
            && let Ok(_lock) = Flock::lock(dir, FlockArg::LockExclusiveNonblock)
        {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Whether a name is one that [`choose`] makes: nobody else's may be swept, and people name things
/// after a project.
fn is_run_dir(name: &str) -> bool {
    let number = |part: &str| part.parse::<u32>().is_ok_and(|number| number.to_string() == part);
    let hex = |part: &str| {
        u32::from_str_radix(part, 16).is_ok_and(|number| format!("{number:x}") == part)
    };
    let parts = name.strip_prefix(PREFIX).map(|rest| rest.split('-').collect::<Vec<_>>());
    matches!(parts.as_deref(), Some(&[pid, count, salt]) if number(pid) && number(count) && hex(salt))
}

/// Neither by a link, nor waiting for somebody at the other end of a pipe.
fn open_dir(path: &Path) -> std::io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    File::options().read(true).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_that_does_not_fit_is_named_with_its_reason() {
        let with = |dir: &str, mem| Config { run_dir: Some(dir.into()), mem, ..Config::default() };
        let reason = |config| base(&config).unwrap_err().to_string();
        assert!(reason(with("/nonexistent", 1 << 20)).contains("/nonexistent: No such file"));
        assert!(reason(with("/etc/passwd", 1 << 20)).contains("/etc/passwd: not a directory"));
        let huge = reason(with("/tmp", 1 << 60));
        assert!(huge.contains("/tmp: only ") && huge.contains(" MiB are free"), "{huge}");
    }

    #[test]
    fn only_old_unlocked_directories_are_swept() {
        let base = std::env::temp_dir().join(format!("sweep-{}", std::process::id()));
        let made = |name: &str, age: u64| {
            let dir = base.join(name);
            fs::create_dir_all(&dir).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            File::open(&dir).unwrap().set_modified(then).unwrap();
            dir
        };
        let (stale, held, young, foreign) = (
            made("uml-test-1-0-a", 3600),
            made("uml-test-2-0-b", 3600),
            made("uml-test-3-0-c", 1),
            made("other-4", 3600),
        );
        let names = [
            "uml-test-main",
            "uml-test-0.3.0",
            "uml-test-1-0-x",
            "uml-test-1-0-a-b",
            "uml-test-01-0-a",
        ];
        let others = names.map(|name| made(name, 3600));
        let pipe = base.join("uml-test-5-0-d");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let long_ago = std::time::UNIX_EPOCH;
        let fifo = File::options().read(true).write(true).open(&pipe).unwrap();
        fifo.set_modified(long_ago).unwrap();
        drop(fifo);
        let lock = Flock::lock(File::open(&held).unwrap(), FlockArg::LockExclusive).unwrap();
        sweep(&base);
        let left = [&stale, &held, &young, &foreign].map(|dir| dir.exists());
        let not_ours = others.iter().all(|dir| dir.exists()) && pipe.exists();
        drop(lock);
        let _ = fs::remove_dir_all(&base);
        assert_eq!(left, [false, true, true, true]);
        assert!(not_ours, "one of {others:?} is gone, or the pipe");
    }
}
