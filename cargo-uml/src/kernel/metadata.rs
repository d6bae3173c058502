//! `kernel.toml`: what a cached kernel is, beside it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::version::{MINIMUM, Version};

/// How a kernel was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provenance {
    /// Built from a source package of the machine's package mirror.
    Package,
    /// Built from a release tarball of kernel.org.
    Release,
    /// Built from a tarball that the user named.
    Tarball,
    /// Built from a source tree that the user named.
    Tree,
    /// The distribution's own build: `cargo uml kernel install distro`.
    Distribution,
    /// The user's own build: `cargo uml kernel adopt`.
    Adopted,
}

/// The content of `kernel.toml`. Readers ignore keys they don't know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    /// The name it was first built or installed under. The names it has now are links in the cache's `names`.
    pub(crate) name: String,
    /// The kernel's version, as `linux --version` prints it.
    pub(crate) version: String,
    /// How it was come by.
    pub(crate) provenance: Provenance,
    /// Which source exactly: package, version and hash; or a file's hash; or a tree's commit or listing.
    pub(crate) source: String,
    /// The flavours, without `base`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) flavours: Vec<String>,
    /// The user's fragments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) fragments: Vec<String>,
    /// Where the user had its modules; `None` for those of the distribution's package and where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) modules_from: Option<String>,
    /// [`super::identity::recipe`] of the build; empty if it was not built here.
    pub(crate) recipe: String,
    /// First line of `gcc --version`, or what the kernel's configuration says of it.
    pub(crate) compiler: String,
    /// SHA-256 of `linux`.
    pub(crate) sha256: String,
    /// Wall-clock seconds that the last, successful run of make took; 0 if it was not built here.
    pub(crate) build_seconds: u64,
    /// Steps that this run took; fewer than the whole build has if it resumed an interrupted one.
    pub(crate) build_steps: u64,
    /// Milliseconds from the start to a guest that is set up: the median of several boots at installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot_ms: Option<u64>,
    /// MiB of guest memory without which it does not boot, where that is more than the 128 that guests have by default.
    /// uml-test reads it, and gives no guest less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) least_mem_mib: Option<u64>,
    /// Requested options that this version of the kernel does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dropped_options: Vec<String>,
}

impl Metadata {
    /// The command that makes the kernel again, under a name. What the user alone knows is in capitals.
    pub(crate) fn how_to_make(&self, name: &str) -> String {
        let series = Version::of_release(&self.version).unwrap_or(MINIMUM).series();
        let source = match self.provenance {
            Provenance::Package | Provenance::Release => format!("{}.{}", series.0, series.1),
            Provenance::Tarball => "TARBALL".to_owned(),
            Provenance::Tree => "TREE".to_owned(),
            Provenance::Distribution => {
                return format!("cargo uml kernel install distro --name {name}");
            }
            Provenance::Adopted => {
                let path = self.source.rsplit_once(" sha256:").map_or("PATH", |(path, _)| path);
                let modules = self.modules_from.as_ref();
                let modules = modules.map_or_else(String::new, |path| format!(" --modules {path}"));
                return format!("cargo uml kernel adopt {path}{modules} --name {name}");
            }
        };
        let of = |option: &str, values: &[String]| -> String {
            values.iter().map(|value| format!(" --{option} {value}")).collect()
        };
        let flavours = of("flavour", &self.flavours);
        let fragments = of("fragment", &self.fragments);
        format!("cargo uml kernel build {source}{flavours}{fragments} --name {name}")
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Provenance::Package => "built from a package of the mirror",
            Provenance::Release => "built from a kernel.org release",
            Provenance::Tarball => "built from a tarball",
            Provenance::Tree => "built from a source tree",
            Provenance::Distribution => "the distribution's build",
            Provenance::Adopted => "adopted",
        })
    }
}
