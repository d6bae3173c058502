//! What a guest is made of: finds the kernel, holds the agent.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::config::{Config, KernelChoice, variable};
use crate::error::KernelError;
use crate::kernel_name;

/// The guest agent, a static executable; the build script made it.
pub(crate) static AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/uml-test-agent"));

/// Names of kernels on `PATH`: what a kernel build makes, and what Debian's package installs.
const PROGRAMS: [&str; 2] = ["linux", "linux.uml"];

/// A kernel that was found, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) linux: PathBuf,
    /// Where it was named, or else where it was found.
    pub(crate) origin: String,
    /// The places looked at before it, a line for each.
    looked: String,
}

impl Found {
    fn new(linux: PathBuf, origin: impl Into<String>, looked: &str) -> Self {
        Self { linux, origin: origin.into(), looked: looked.to_owned() }
    }
}

/// For who has to find out which kernel it was that did not boot.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (from {})", self.linux.display(), self.origin)?;
        match self.looked.trim_end() {
            "" => Ok(()),
            looked => write!(f, ", looked for after\n{looked}"),
        }
    }
}

/// Finds the kernel that the configuration names, or else the best there is.
///
/// # Errors
/// [`KernelError::Unusable`] or [`KernelError::UnknownName`] where one is named and cannot be had:
/// another one than asked for is never taken silently. [`KernelError::NotFound`] with every place
/// looked at.
pub(crate) fn kernel(config: &Config) -> Result<Found, KernelError> {
    match &config.kernel {
        Some(KernelChoice::Path(path)) => usable(path.clone(), "the test's own code"),
        Some(KernelChoice::Written { text, base, place }) => written(text, base, place),
        None => any(),
    }
}

fn usable(path: PathBuf, origin: &str) -> Result<Found, KernelError> {
    match check(&path) {
        Ok(()) => Ok(Found::new(path, origin, "")),
        Err(reason) => Err(KernelError::Unusable { path, origin: origin.to_owned(), reason }),
    }
}

/// The kernel of that name, id or path: a name has no slash, or is known, or no file is there.
fn written(text: &OsStr, base: &Path, place: &str) -> Result<Found, KernelError> {
    let path = base.join(text);
    let Some(name) = text.to_str().filter(|text| kernel_name::is_name(text)) else {
        return usable(path, place);
    };
    let cache = cache::dir();
    if let Some(linux) = cache.as_ref().and_then(|cache| cache::named(cache, name)) {
        return usable(linux, &format!("the name `{name}` in {place}"));
    }
    let is_file = path.exists();
    if name.contains('/') && is_file {
        return usable(path, place);
    }
    let names = cache.as_deref().map(cache::names).unwrap_or_default();
    Err(KernelError::UnknownName {
        name: name.to_owned(),
        origin: place.to_owned(),
        looked: match &cache {
            Some(cache) => cache.join("names").display().to_string(),
            None => NO_CACHE.to_owned(),
        },
        known: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
        file: match (is_file, name.contains('/')) {
            (true, _) => format!("; the file of that name is written ./{name}"),
            (false, true) => format!("; there is no file {} either", path.display()),
            (false, false) => String::new(),
        },
    })
}

/// The default, else the newest, else one along `PATH`.
fn any() -> Result<Found, KernelError> {
    let mut looked = String::new();
    match cache::dir() {
        Some(cache) => {
            let link = cache::link(&cache, cache::DEFAULT);
            match cache::named(&cache, cache::DEFAULT).map(|linux| (check(&linux), linux)) {
                Some((Ok(()), linux)) => {
                    return Ok(Found::new(linux, "the default in the cache", &looked));
                }
                Some((Err(reason), linux)) => {
                    let (link, linux) = (link.display(), linux.display());
                    let _ = writeln!(looked, "  {link}: {linux}: {reason}");
                }
                None => {
                    let _ = writeln!(looked, "  {}: none", link.display());
                }
            }
            if let Some(newest) = cache::newest(&cache, |path| check(path).is_ok()) {
                return Ok(Found::new(newest, "the newest in the cache", &looked));
            }
            let _ = writeln!(looked, "  {}/kernels/*/linux: none", cache.display());
        }
        None => {
            let _ = writeln!(looked, "  {NO_CACHE}");
        }
    }
    for dir in variable("PATH").iter().flat_map(std::env::split_paths) {
        for program in PROGRAMS {
            let path = dir.join(program);
            match check(&path) {
                Ok(()) => return Ok(Found::new(path, "PATH", &looked)),
                Err(_) if !path.exists() => {}
                Err(reason) => {
                    let _ = writeln!(looked, "  {}: {reason}", path.display());
                }
            }
        }
    }
    let path = variable("PATH").unwrap_or_default();
    let _ = write!(looked, "  {} along PATH={}: none", PROGRAMS.join(" and "), path.display());
    Err(KernelError::NotFound { looked })
}

/// Said in the place of the cache directory.
const NO_CACHE: &str = "the cache directory: neither XDG_CACHE_HOME nor HOME is set";

/// Whether a file can be a kernel at all: an executable ELF file for x86-64. Whether it is one
/// shows when it boots.
fn check(path: &Path) -> Result<(), String> {
    // ELF magic, 64-bit, little-endian; then at 16 type and machine.
    const IDENT: &[u8] = b"\x7fELF\x02\x01";
    const EXECUTABLE_OR_SHARED: [u16; 2] = [2, 3];
    const X86_64: u16 = 62;
    let mut header = [0; 20];
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err("not a file".to_owned());
    }
    let read = file.read(&mut header).map_err(|error| error.to_string())?;
    let field = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if read < header.len() || !header.starts_with(IDENT) {
        return Err("not an ELF executable".to_owned());
    }
    if field(18) != X86_64 {
        return Err("an ELF file for another architecture than x86-64".to_owned());
    }
    if !EXECUTABLE_OR_SHARED.contains(&field(16)) {
        return Err("an ELF file that is no executable".to_owned());
    }
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK)
        .map_err(|_| "not executable (mode or file system)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_a_static_executable() {
        assert!(AGENT.starts_with(b"\x7fELF\x02\x01"));
        // A program header of type PT_INTERP (3) would ask for a dynamic linker.
        let word = |at: usize, size: usize| {
            AGENT[at..at + size].iter().rev().fold(0usize, |sum, byte| sum << 8 | *byte as usize)
        };
        let (offset, size, count) = (word(32, 8), word(54, 2), word(56, 2));
        assert!(count > 0);
        for at in 0..count {
            assert_ne!(word(offset + at * size, 4), 3, "program header {at} is an interpreter's");
        }
    }

    #[test]
    fn what_is_no_kernel_is_told_apart() {
        assert_eq!(check(Path::new("/proc/self/exe")), Ok(()));
        assert_eq!(check(Path::new("/etc/passwd")).unwrap_err(), "not an ELF executable");
        assert_eq!(check(Path::new("/")).unwrap_err(), "not a file");
        assert!(check(Path::new("/nonexistent")).unwrap_err().contains("No such file"));
    }

    #[test]
    fn a_named_kernel_is_never_replaced_by_another() {
        let text = "/etc/passwd".into();
        let place = "UML_TEST_KERNEL".to_owned();
        let choice = KernelChoice::Written { text, base: PathBuf::new(), place };
        let config = Config { kernel: Some(choice), ..Config::default() };
        let error = kernel(&config).unwrap_err().to_string();
        assert!(error.starts_with("/etc/passwd (from UML_TEST_KERNEL"), "{error}");
        assert!(error.contains("cargo uml kernel build"), "{error}");
    }

    #[test]
    fn what_could_be_a_name_and_is_a_file_is_told_apart() {
        let base = Path::new("/proc");
        let found = written("self/exe".as_ref(), base, "here").unwrap();
        assert_eq!(found.linux, Path::new("/proc/self/exe"), "a slash, and no such name");
        assert_eq!(found.to_string(), "/proc/self/exe (from here)");
        let error = written("version".as_ref(), base, "here").unwrap_err().to_string();
        assert!(error.starts_with("no kernel is named `version` (from here)"), "{error}");
        assert!(error.contains("cargo uml kernel build VERSION --name version"), "{error}");
        assert!(error.contains("is written ./version"), "{error}");
        let error = written("self/none".as_ref(), base, "here").unwrap_err().to_string();
        assert!(error.contains("no file /proc/self/none either"), "{error}");
        let error = written("./version".as_ref(), base, "here").unwrap_err().to_string();
        assert!(error.starts_with("/proc/./version (from here)"), "{error}");
    }
}
