//! Release tarballs of kernel.org.
//!
//! Their SHA-256 is pinned here or given by the user. Signatures are not verified: the pins come from what others
//! have published of kernel.org's signed `sha256sums.asc`, and a pin that does not fit is an error.

use std::path::{Path, PathBuf};

use super::download;
use super::identity;
use super::version::{Version, Wanted};
use crate::error::Error;
use crate::report::Reporter;

/// Known releases, the newest of a series first.
const PINNED: [(Version, &str); 7] = [
    (Version::new(7, 2, 0), "f9fef3d14c0df53819026f4be74459835c2a0b0dcbf5b5bbd9ea19f0829402b3"),
    (Version::new(6, 18, 5), "189d1f409cef8d0d234210e04595172df392f8cb297e14b447ed95720e2fd940"),
    (Version::new(6, 13, 4), "b80e0bc8efbc31e9ce5a84d1084dcccfa40e01bea8cc25afd06648b93d61339e"),
    (Version::new(6, 12, 64), "d1ad94a33681148efe884f4028970d69e332f2b003f0e8be53a1d25de38e49a2"),
    (Version::new(6, 11, 11), "62148e7e17f54c4a5ab5e75ad4882682c54bee818948be61a5963234fc0849fc"),
    (Version::new(6, 6, 119), "3da09b980bb404cc28793479bb2d6c636522679215ffa65a04c893575253e5e8"),
    (Version::new(6, 1, 159), "1f207ebe93980829ecc0a18b694816f22b715e9893767731651969a168342b9e"),
];

/// Another place with kernel.org's layout: a mirror.
const BASE_VARIABLE: &str = "CARGO_UML_KERNEL_ORG";
const BASE: &str = "https://cdn.kernel.org/pub/linux/kernel";

/// A release tarball and the hash that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    version: Version,
    sha256: String,
}

impl Release {
    /// The newest pinned release that is wanted.
    pub(crate) fn pinned(wanted: &Wanted) -> Option<Self> {
        let (version, sha256) = PINNED.into_iter().find(|(version, _)| wanted.matches(version))?;
        Some(Release { version, sha256: sha256.to_owned() })
    }

    pub(crate) fn with_hash(version: Version, sha256: &str) -> Self {
        Release { version, sha256: sha256.to_ascii_lowercase() }
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// The tarball in `directory`, fetched unless it is there.
    pub(crate) fn fetch(&self, directory: &Path, reporter: &Reporter) -> Result<PathBuf, Error> {
        let path = directory.join(self.file_name());
        if path.exists() && identity::of_file(&path)? == self.sha256 {
            return Ok(path);
        }
        let base = std::env::var(BASE_VARIABLE)
            .ok()
            .filter(|value| !value.is_empty())
            .unwrap_or_else(|| BASE.to_owned());
        let url = format!(
            "{}/v{}.x/{}",
            base.trim_end_matches('/'),
            self.version.major,
            self.file_name()
        );
        download::download(&url, &self.sha256, &path, reporter)?;
        Ok(path)
    }

    /// A series' first release has no patch level in its name.
    fn file_name(&self) -> String {
        let Version { major, minor, patch, .. } = self.version;
        match patch {
            0 => format!("linux-{major}.{minor}.tar.xz"),
            patch => format!("linux-{major}.{minor}.{patch}.tar.xz"),
        }
    }
}

/// The pinned versions, for messages.
pub(crate) fn known() -> String {
    PINNED.iter().map(|(version, _)| version.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::version::TESTED;
    use super::*;

    #[test]
    fn the_table_is_in_order_and_whole() {
        assert!(PINNED.is_sorted_by(|(a, _), (b, _)| a > b));
        for (version, hash) in PINNED {
            assert!(
                hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{version}"
            );
        }
    }

    #[test]
    fn a_series_is_its_newest_pinned_release() {
        let name = |text| Release::pinned(&Wanted::parse(text).unwrap()).map(|r| r.file_name());
        assert_eq!(name("6.12").as_deref(), Some("linux-6.12.64.tar.xz"));
        assert_eq!(name("7.2").as_deref(), Some("linux-7.2.tar.xz"));
        let preferred = Release::pinned(&Wanted::series(TESTED[0])).unwrap();
        assert!(preferred.version().is_tested(), "what is built where no mirror has any");
        assert_eq!(name("6.12.1"), None);
        assert_eq!(name("6.2"), None);
    }
}
