//! Host directories that a guest may write.

use std::path::{Path, PathBuf};

use crate::error::ConfigError;

/// A host directory that the guest may write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RwDir {
    /// Its absolute path.
    pub host: PathBuf,
    /// Its absolute path in the guest, where that is another one.
    pub guest: Option<PathBuf>,
}

impl RwDir {
    /// A directory with the same path in the guest.
    pub(crate) fn at_its_path(host: PathBuf) -> Self {
        Self { host, guest: None }
    }

    /// Its path in the guest.
    pub(crate) fn in_guest(&self) -> &Path {
        self.guest.as_deref().unwrap_or(&self.host)
    }
}

/// Makes the `rw_dir`s absolute and canonical.
///
/// # Errors
/// [`ConfigError::RwDir`] for one that is no directory, [`ConfigError::Value`] for a relative path in
/// the guest.
pub(crate) fn check(rw_dirs: &mut [RwDir]) -> Result<(), ConfigError> {
    for dir in rw_dirs {
        let canonical = dir.host.canonicalize().and_then(|path| match path.is_dir() {
            true => Ok(path),
            false => Err(std::io::ErrorKind::NotADirectory.into()),
        });
        dir.host = canonical.map_err(|error| {
            let source = error.into();
            ConfigError::RwDir { path: dir.host.clone(), source }
        })?;
        if let Some(guest) = dir.guest.as_ref().filter(|guest| !guest.is_absolute()) {
            return Err(ConfigError::Value {
                place: format!("the place in the guest of {}", dir.host.display()),
                expected: "an absolute path",
                found: guest.display().to_string(),
            });
        }
    }
    Ok(())
}
