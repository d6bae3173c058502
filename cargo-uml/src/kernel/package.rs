//! Packages that a mirror offers, and which of them is wanted.

use super::version::{MINIMUM, Version, Wanted};

/// A package that a mirror offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
    pub(crate) size: u64,
    /// The kernel's version, which the package's version starts with.
    pub(crate) upstream: Version,
}

/// Whether a name is that of a kernel's source package; the meta-package's and others are not.
pub(super) fn is_source(name: &str) -> bool {
    let numeric = |text: &str| {
        text.contains('.') && text.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
    };
    name.strip_prefix("linux-source-").is_some_and(numeric)
}

/// The kernel's version in a package's, such as `7.2.12` in `7.2.12-1~bpo13+1`.
pub(super) fn upstream(version: &str) -> Option<Version> {
    Version::of_release(version.split_once(':').map_or(version, |(_epoch, rest)| rest))
}

/// The packages in the output of `apt-cache show`.
pub(super) fn parse_show(output: &str) -> Vec<Package> {
    output
        .split("\n\n")
        .filter_map(|stanza| {
            let field = |name: &str| {
                stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            let version = field("Version")?;
            Some(Package {
                name: field("Package")?.to_owned(),
                version: version.to_owned(),
                sha256: field("SHA256")?.to_owned(),
                size: field("Size")?.parse().ok()?,
                upstream: upstream(version)?,
            })
        })
        .collect()
}

/// The newest that is wanted; if nothing is, the most preferred tested series, else the newest that is new enough.
/// Of equals the first, as apt sorts them.
pub(super) fn choose(packages: Vec<Package>, wanted: Option<&Wanted>) -> Option<Package> {
    packages
        .into_iter()
        .filter(|package| package.upstream >= MINIMUM)
        .filter(|package| wanted.is_none_or(|wanted| wanted.matches(&package.upstream)))
        .rev()
        .max_by_key(|package| package.upstream.preference())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(version: &str) -> Package {
        let upstream = upstream(version).unwrap();
        Package {
            name: format!("linux-source-{}.{}", upstream.major, upstream.minor),
            version: version.to_owned(),
            sha256: String::new(),
            size: 1,
            upstream,
        }
    }

    fn chosen(versions: &[&str], wanted: Option<&str>) -> Option<String> {
        let wanted = wanted.map(|text| Wanted::parse(text).unwrap());
        let packages = versions.iter().map(|version| package(version)).collect();
        choose(packages, wanted.as_ref()).map(|package| package.version)
    }

    #[test]
    fn tells_source_packages_by_name() {
        assert!(is_source("linux-source-7.2") && is_source("linux-source-6.8.0"));
        for name in ["linux-source", "linux-source-7", "linux-source-6.1-doc", "linux-image-6.1"] {
            assert!(!is_source(name), "{name}");
        }
    }

    #[test]
    fn reads_what_apt_cache_shows() {
        let shown = "Package: linux-source-7.2\nVersion: 7.2.12-1~bpo13+1\nSize: 164744800\nSHA256: 73ca\n\n\
                     Package: odd\nVersion: unknown\nSize: 1\nSHA256: 00\n\n";
        let expected =
            Package { sha256: "73ca".into(), size: 164_744_800, ..package("7.2.12-1~bpo13+1") };
        assert_eq!(parse_show(shown), [expected]);
        assert_eq!(upstream("1:6.1-3um-1+b2").unwrap().to_string(), "6.1.0");
    }

    #[test]
    fn prefers_tested_versions_then_the_newest() {
        assert_eq!(chosen(&["6.12.1", "7.3.1", "7.2.1", "6.1.1"], None).as_deref(), Some("7.2.1"));
        assert_eq!(chosen(&["7.3.1", "6.12.1"], None).as_deref(), Some("6.12.1"));
        assert_eq!(chosen(&["6.8.0", "6.11.0"], None).as_deref(), Some("6.11.0"));
        assert_eq!(chosen(&["5.15.0"], None), None);
        assert_eq!(chosen(&["7.2.9", "7.2.12", "7.2.12"], None).as_deref(), Some("7.2.12"));
    }

    #[test]
    fn takes_what_is_wanted() {
        let all = ["6.12.95-1~bpo12+1", "7.2.12-1", "6.1.158-1", "6.1.147-1"];
        assert_eq!(chosen(&all, Some("6.1")).as_deref(), Some("6.1.158-1"));
        assert_eq!(chosen(&all, Some("6.1.147")).as_deref(), Some("6.1.147-1"));
        assert_eq!(chosen(&all, Some("6.7")), None);
    }
}
