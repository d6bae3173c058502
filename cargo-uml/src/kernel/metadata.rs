//! `kernel.toml`: what a cached kernel is, beside it.

use serde::{Deserialize, Serialize};

/// How the source was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provenance {
    /// A source package of the machine's package mirror.
    Package,
    /// `--source` with a tarball.
    Tarball,
    /// `--source` with a directory.
    Tree,
}

/// The content of `kernel.toml`. Readers ignore keys they don't know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    /// The name a user knows the kernel by.
    pub(crate) name: String,
    /// The kernel's version, as `linux --version` prints it.
    pub(crate) version: String,
    /// How the source was come by.
    pub(crate) provenance: Provenance,
    /// Which source exactly: package, version and hash; or a file's hash; or a tree's commit or listing.
    pub(crate) source: String,
    /// [`super::identity::recipe`] of the build.
    pub(crate) recipe: String,
    /// First line of `gcc --version`.
    pub(crate) compiler: String,
    /// SHA-256 of `linux`.
    pub(crate) sha256: String,
    /// Wall-clock seconds that the last, successful run of make took.
    pub(crate) build_seconds: u64,
    /// Steps that this run took; fewer than the whole build has if it resumed an interrupted one.
    pub(crate) build_steps: u64,
    /// Requested options that this version of the kernel does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dropped_options: Vec<String>,
}
