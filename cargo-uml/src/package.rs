//! The package that this process is for: its directory, whose manifest has the settings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::run::command_line::values_of;

/// cargo's option for another package than the one that is here.
pub(crate) const MANIFEST_PATH: &str = "--manifest-path";

/// That which cargo started this process for, else the one that is here.
pub(crate) fn directory() -> anyhow::Result<PathBuf> {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(directory) => Ok(directory.into()),
        None => here(),
    }
}

/// The one that cargo takes with these arguments of its own.
pub(crate) fn directory_for(own: &[OsString]) -> anyhow::Result<PathBuf> {
    match values_of(own, MANIFEST_PATH).first() {
        Some(manifest) => {
            let manifest = std::path::absolute(manifest).context("no working directory")?;
            Ok(manifest.parent().unwrap_or(Path::new("/")).to_owned())
        }
        None => here(),
    }
}

/// As cargo looks for it: the working directory, or the nearest one above that has a manifest. Where none has, the
/// working directory.
pub(crate) fn here() -> anyhow::Result<PathBuf> {
    let directory = std::env::current_dir().context("no working directory")?;
    let nearest = directory.ancestors().find(|directory| directory.join("Cargo.toml").exists());
    Ok(nearest.unwrap_or(&directory).to_owned())
}
