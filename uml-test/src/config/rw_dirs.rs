//! Host directories that a guest may write.

use std::path::{Component, Path, PathBuf};

use super::Config;
use crate::error::ConfigError;

/// A host directory that the guest may write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RwDir {
    /// Its absolute path.
    pub host: PathBuf,
    /// Its absolute path in the guest, where that is another one.
    pub guest: Option<PathBuf>,
    /// Whether it goes with this process, however that ends.
    pub temporary: bool,
}

impl RwDir {
    /// A directory with the same path in the guest.
    pub(crate) fn at_its_path(host: PathBuf) -> Self {
        Self { host, guest: None, temporary: false }
    }

    /// Its path in the guest.
    pub(crate) fn in_guest(&self) -> &Path {
        self.guest.as_deref().unwrap_or(&self.host)
    }
}

/// What the place of one in the guest has to be.
pub const PLACE: &str =
    "an absolute path without `..`, neither / nor /dev, and not in /proc or /sys";

/// Whether a guest can have a directory of the host's there.
pub fn can_have(place: &Path) -> bool {
    let is_plain = !place.components().any(|part| part == Component::ParentDir);
    let is_the_guests = ["/", "/dev"].iter().any(|own| place == Path::new(own))
        || ["/proc", "/sys"].iter().any(|own| place.starts_with(own));
    place.is_absolute() && is_plain && !is_the_guests
}

/// Makes the `rw_dir`s absolute and canonical. One that is to be found in the guest where it is on the host, and was
/// named by way of a link, is to be found by way of that too.
///
/// # Errors
/// [`ConfigError::RwDir`] for one that is no directory, [`ConfigError::Value`] for one that can't be at its
/// place in the guest.
pub(crate) fn check(config: &mut Config) -> Result<(), ConfigError> {
    for dir in &mut config.rw_dirs {
        let canonical = dir.host.canonicalize().and_then(|path| match path.is_dir() {
            true => Ok(path),
            false => Err(std::io::ErrorKind::NotADirectory.into()),
        });
        let canonical = canonical.map_err(|error| {
            let source = error.into();
            ConfigError::RwDir { path: dir.host.clone(), source }
        })?;
        let named = std::mem::replace(&mut dir.host, canonical);
        if dir.guest.is_none() && named != dir.host {
            config.keep.push(named);
        }
        if !can_have(dir.in_guest()) {
            return Err(ConfigError::Value {
                place: format!("the place in the guest of {}", dir.host.display()),
                expected: PLACE,
                found: dir.in_guest().display().to_string(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_guests_own_is_no_place() {
        for place in ["/x", "/dev/shm/x", "/tmp", "/process", "/a/./b", "//x"] {
            assert!(can_have(Path::new(place)), "{place}");
        }
        for place in
            ["/", "//", "/.", "/dev", "/dev/", "/proc", "/proc/x", "/sys/fs/x", "/x/..", "x", ""]
        {
            assert!(!can_have(Path::new(place)), "{place}");
        }
    }
}
