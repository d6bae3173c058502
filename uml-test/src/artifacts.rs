//! What a guest is made of: finds the kernel, holds the agent.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::{Config, variable};
use crate::error::KernelError;

/// The guest agent, a static executable; the build script made it.
pub(crate) static AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/uml-test-agent"));

/// Names of kernels on `PATH`: what a kernel build makes, and what Debian's package installs.
const PROGRAMS: [&str; 2] = ["linux", "linux.uml"];

/// Finds the kernel that the configuration names, or else the best there is.
///
/// # Errors
/// [`KernelError::Unusable`] where the named one is no kernel: another one than asked for is never
/// taken silently. [`KernelError::NotFound`] with every place looked at.
pub(crate) fn kernel(config: &Config) -> Result<PathBuf, KernelError> {
    if let Some(path) = &config.kernel {
        let origin = "UML_TEST_KERNEL or the configuration".to_owned();
        return match check(path) {
            Ok(()) => Ok(path.clone()),
            Err(reason) => Err(KernelError::Unusable { path: path.clone(), origin, reason }),
        };
    }
    let mut looked = String::new();
    match cache_dir() {
        Some(cache) => {
            let kernels = cache.join("kernels");
            if let Some(newest) = newest_kernel(&kernels) {
                return Ok(newest);
            }
            let _ = writeln!(looked, "  {}/*/linux: none", kernels.display());
        }
        None => looked.push_str("  the cache directory: neither XDG_CACHE_HOME nor HOME is set\n"),
    }
    for dir in variable("PATH").iter().flat_map(std::env::split_paths) {
        for program in PROGRAMS {
            let path = dir.join(program);
            match check(&path) {
                Ok(()) => return Ok(path),
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

/// Where kernels are kept. `cargo-uml` writes what is read here: `kernels/ID/linux`.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let below = |name, rest: &str| variable(name).map(|dir| PathBuf::from(dir).join(rest));
    variable("UML_TEST_CACHE_DIR")
        .map(PathBuf::from)
        .or_else(|| below("XDG_CACHE_HOME", "uml-test"))
        .or_else(|| below("HOME", ".cache/uml-test"))
}

/// The kernel that was installed last.
fn newest_kernel(kernels: &Path) -> Option<PathBuf> {
    std::fs::read_dir(kernels)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            // A kernel that is being put together has a name with a dot in front.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                return None;
            }
            let path = entry.path().join("linux");
            let modified = path.metadata().ok()?.modified().ok()?;
            check(&path).ok()?;
            Some((modified, path))
        })
        .max()
        .map(|(_, path)| path)
}

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
        let config = Config { kernel: Some("/etc/passwd".into()), ..Config::default() };
        let error = kernel(&config).unwrap_err().to_string();
        assert!(error.starts_with("/etc/passwd (from UML_TEST_KERNEL"), "{error}");
        assert!(error.contains("cargo uml setup"), "{error}");
    }
}
