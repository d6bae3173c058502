//! What a guest is told first: its world, its environment, its seed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use uml_test_protocol::{RwDir, Setup};

use super::session::Opening;
use super::{bytes, limits, paths, variable};
use crate::cache;
use crate::config::{self, Config};
use crate::error::Error;

/// What a guest with this configuration is told first.
///
/// # Errors
/// [`Error::Request`] where the environment and paths are larger than a message may be.
pub(crate) fn opening(
    config: &Config,
    kernel: &Path,
    manifest_dir: &Path,
) -> Result<Opening, Error> {
    let env = environment(config);
    let programs = env.get(OsStr::new("PATH")).map_or(OsStr::new(""), |path| path);
    let keep = paths::keep(manifest_dir, &config.keep, programs);
    Opening::new(Setup {
        keep: keep.iter().map(|path| bytes(path)).collect(),
        rw_dirs: config
            .rw_dirs
            .iter()
            .map(|dir| RwDir { host: bytes(&dir.host), guest: bytes(dir.in_guest()) })
            .collect(),
        modules: cache::modules(kernel).map(|dir| bytes(&dir)),
        seed: random(),
        env: env.iter().map(|(name, value)| variable(name, value)).collect(),
        limits: limits::of_this_process(),
        umask: limits::umask(),
        first_pid: first_pid(),
    })
    .map_err(|error| Error::Request(error.to_string()))
}

/// The environment of a guest's processes: this process's, with the configured variables, and with
/// the directories of root's programs on `PATH`, which an ordinary user's often lacks.
fn environment(config: &Config) -> BTreeMap<OsString, OsString> {
    let mut env = config::environment();
    if let Some(path) = env.get_mut(OsStr::new("PATH")) {
        *path = with_root_programs(path);
    }
    env.extend(config.env.iter().map(|(name, value)| (name.into(), value.into())));
    env
}

/// `path`, and after it what it lacks of root's.
fn with_root_programs(path: &OsStr) -> OsString {
    let mut dirs: Vec<PathBuf> = std::env::split_paths(path).collect();
    for dir in ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    // Joining fails on a colon in a directory's name, which splitting cannot have left.
    std::env::join_paths(dirs).unwrap_or_else(|_| path.to_owned())
}

/// The number of a guest's first process: another one in each guest, so that files with a pid in
/// their name (coverage profiles) do not overwrite each other where guests share a directory.
///
/// Distinct for 127 guests of each process on a host with Linux's default `pid_max`.
fn first_pid() -> i32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    /// Below are the kernel's own threads.
    const FIRST: u32 = 300;
    /// Of the guest: the largest `pid_max` there is, less room for what the guest starts.
    const NUMBERS: u32 = (1 << 22) - (1 << 15);
    const DEFAULT_PID_MAX: u32 = 1 << 15;
    /// Room for what a guest starts until it comes to the numbers of the next one. Prime, so that
    /// all numbers stay distinct.
    const STRIDE: u64 = 127;
    static GUESTS: AtomicU32 = AtomicU32::new(0);
    let guest = GUESTS.fetch_add(1, Ordering::Relaxed).wrapping_mul(DEFAULT_PID_MAX);
    let number = u64::from(std::process::id().wrapping_add(guest)) * STRIDE;
    FIRST as i32 + (number % u64::from(NUMBERS - FIRST)) as i32
}

/// Random bytes from the host's kernel.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // /dev/urandom gives as many as are asked for. Where it is missing, its place is taken by the
    // standard library's own random keys, which come from the same source.
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut device| std::io::Read::read_exact(&mut device, &mut bytes));
    if read.is_err() {
        for chunk in bytes.chunks_mut(8) {
            use std::hash::{BuildHasher, Hasher};
            let key = std::hash::RandomState::new().build_hasher().finish().to_le_bytes();
            chunk.copy_from_slice(&key[..chunk.len()]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_programs_come_last_and_once() {
        let extended = |path: &str| with_root_programs(OsStr::new(path)).into_string().unwrap();
        assert_eq!(extended("/usr/bin:/bin"), "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
        assert_eq!(extended("/sbin:/bin"), "/sbin:/bin:/usr/local/sbin:/usr/sbin");
    }
}
