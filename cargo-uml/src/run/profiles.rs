//! Profiles of programs that were built for coverage: where a guest writes them, so that they are on the host then.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use super::program;

/// Where the LLVM runtime of such a program is told to write.
const VARIABLE: &str = "LLVM_PROFILE_FILE";

/// What the runtime writes if it is told nothing, in the working directory. Guests have processes of different numbers.
const USUAL: &str = "default_%m_%p.profraw";

/// Where a guest's profiles go.
#[derive(Debug)]
pub(super) enum Profiles {
    /// Nowhere: there are none, or their directory is not known before they are written.
    None,
    /// Straight into a directory of the host's.
    Into(PathBuf),
    /// Into the working directory, which guests must not write: by way of another.
    Through { dir: TempDir, pattern: OsString, destination: PathBuf },
}

impl Profiles {
    /// Those of `program`, which runs in `directory`.
    pub(super) fn of(program: &OsStr, directory: &Path) -> anyhow::Result<Self> {
        let pattern = std::env::var_os(VARIABLE).filter(|pattern| !pattern.is_empty());
        let parent = pattern.as_ref().and_then(|pattern| Path::new(pattern).parent());
        if let Some(parent) = parent.filter(|parent| !parent.as_os_str().is_empty()) {
            if parent.as_os_str().as_encoded_bytes().contains(&b'%') {
                return Ok(Profiles::None);
            }
            let dir = directory.join(parent);
            // As the runtime does on the host. What can't be made, it could not have written either.
            return Ok(match fs::create_dir_all(&dir) {
                Ok(()) => Profiles::Into(dir),
                Err(_) => Profiles::None,
            });
        }
        if !program::is_for_coverage(Path::new(program)) {
            return Ok(Profiles::None);
        }
        let dir = TempDir::with_prefix("uml-profiles-").context("make a directory for profiles")?;
        let pattern = pattern.unwrap_or_else(|| USUAL.into());
        Ok(Profiles::Through { dir, pattern, destination: directory.to_owned() })
    }

    /// The directory that the guest may write.
    pub(super) fn dir(&self) -> Option<&Path> {
        match self {
            Profiles::None => None,
            Profiles::Into(dir) => Some(dir),
            Profiles::Through { dir, .. } => Some(dir.path()),
        }
    }

    /// The variable that has the guest write there, where its own does not.
    pub(super) fn variable(&self) -> Option<(&'static str, OsString)> {
        match self {
            Profiles::Through { dir, pattern, .. } => {
                Some((VARIABLE, dir.path().join(pattern).into()))
            }
            Profiles::None | Profiles::Into(_) => None,
        }
    }

    /// Brings them to where they belong, when the guest has written back.
    pub(super) fn bring_back(self) -> anyhow::Result<()> {
        let Profiles::Through { dir, destination, .. } = self else { return Ok(()) };
        move_all(dir.path(), &destination)
            .with_context(|| format!("could not write profiles into {}", destination.display()))
    }
}

fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "profraw") {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            // Between filesystems nothing is renamed.
            fs::rename(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))?;
        }
    }
    Ok(())
}
