//! The package that this process is for: its directory, whose manifest has the settings.

use std::path::PathBuf;

use anyhow::Context;

/// That which cargo started this process for, else the one that is here.
pub(crate) fn directory() -> anyhow::Result<PathBuf> {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(directory) => Ok(directory.into()),
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
