//! `kernel.toml`: what a cached kernel is, beside it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

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
    /// Where the user had the tree or tarball; `None` of any other, and of a path that is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_path: Option<String>,
    /// The flavours, without `base`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) flavours: Vec<String>,
    /// The user's fragments: their absolute paths.
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
    pub(crate) fn path(directory: &Path) -> PathBuf {
        directory.join("kernel.toml")
    }

    /// What the kernel in `directory` has; or what is wrong with it, for messages.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(Self::path(directory))
            .map_err(|error| format!("can't read kernel.toml: {error}"))?;
        toml::from_str(&text)
            .map_err(|error| format!("kernel.toml is not as it was written: {}", error.message()))
    }

    /// Where the user had the tree, the tarball or the kernel that was adopted.
    pub(crate) fn path_of_source(&self) -> Option<&str> {
        match self.provenance {
            Provenance::Adopted => Some(self.source.rsplit_once(" sha256:")?.0),
            _ => self.source_path.as_deref(),
        }
    }

    /// Whether both come from one place, as far as that is known. A newer version from there is none of another source,
    /// nor is a tree that changed.
    pub(crate) fn has_source_of(&self, other: &Metadata) -> bool {
        let is_elsewhere = match (self.path_of_source(), other.path_of_source()) {
            (Some(path), Some(other)) => path != other,
            (None, _) | (_, None) => false,
        };
        self.provenance == other.provenance && !is_elsewhere
    }

    /// The command that makes the kernel again, under a name. What the user alone knows is in capitals.
    pub(crate) fn how_to_make(&self, name: &str) -> String {
        let series = Version::of_release(&self.version).unwrap_or(MINIMUM).series();
        let path = |unknown: &str| self.path_of_source().unwrap_or(unknown).to_owned();
        let source = match self.provenance {
            Provenance::Package | Provenance::Release => format!("{}.{}", series.0, series.1),
            Provenance::Tarball => path("TARBALL"),
            Provenance::Tree => path("TREE"),
            Provenance::Distribution => {
                return format!("cargo uml kernel install distro --name {name}");
            }
            Provenance::Adopted => {
                let path = path("PATH");
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

impl Provenance {
    /// Whether the user named the source, or made the kernel.
    pub(crate) fn is_users_own(self) -> bool {
        match self {
            Provenance::Tarball | Provenance::Tree | Provenance::Adopted => true,
            Provenance::Package | Provenance::Release | Provenance::Distribution => false,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(more: &str) -> Metadata {
        let text = "name = \"x\"\nversion = \"7.2.1\"\nrecipe = \"r\"\ncompiler = \"x\"\nsha256 = \"0\"\n\
                    build_seconds = 1\nbuild_steps = 1\n";
        toml::from_str(&(text.to_owned() + more)).unwrap()
    }

    #[test]
    fn what_makes_a_kernel_again_names_its_source() {
        let tarball =
            "provenance = \"tarball\"\nsource = \"l.tar.xz sha256:0\"\nfragments = [\"/b/m\"]\n";
        let how = |more: &str| metadata(&(tarball.to_owned() + more)).how_to_make("x");
        let of = |source: &str| format!("cargo uml kernel build {source} --fragment /b/m --name x");
        assert_eq!(how("source_path = \"/a/l.tar.xz\"\n"), of("/a/l.tar.xz"));
        assert_eq!(how(""), of("TARBALL"), "of a kernel.toml before paths were kept");
    }

    #[test]
    fn sources_differ_in_their_kind_or_their_place() {
        let of = |provenance: &str, path: &str| {
            metadata(&format!("provenance = \"{provenance}\"\nsource = \"x\"\n{path}"))
        };
        let tree = of("tree", "source_path = \"/a\"\n");
        assert!(tree.has_source_of(&tree));
        assert!(tree.has_source_of(&of("tree", "")), "what is not known is no news");
        assert!(!tree.has_source_of(&of("tree", "source_path = \"/b\"\n")));
        assert!(!tree.has_source_of(&of("package", "")));
    }
}
