//! Kernel versions, which of them uml-test is tested with, and how a user asks for one.

use std::cmp::Reverse;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::Error;

/// A kernel version; the order is the release order, release candidates before their release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) patch: u32,
    suffix: Suffix,
}

/// What follows the numbers, such as `-rc3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Suffix {
    Some(String),
    None,
}

/// The series whose configuration is known, the preferred one first: what the fragments ask for is there, or is marked
/// as missing. uml-test's own tests run on the first.
pub(crate) const TESTED: [(u32, u32); 3] = [(7, 2), (6, 12), (6, 1)];

/// The oldest series worth trying.
pub(crate) const MINIMUM: Version = Version::new(6, 1, 0);

impl Version {
    pub(crate) const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Version { major, minor, patch, suffix: Suffix::None }
    }

    pub(crate) fn series(&self) -> (u32, u32) {
        (self.major, self.minor)
    }

    pub(crate) fn is_tested(&self) -> bool {
        TESTED.contains(&self.series())
    }

    /// How much it is preferred where nobody wants another, the more the greater: tested series in their order, then all
    /// others; and of one kind the newest.
    pub(crate) fn preference(&self) -> impl Ord + use<> {
        let tested = TESTED.iter().position(|series| *series == self.series());
        (Reverse(tested.unwrap_or(TESTED.len())), self.clone())
    }

    /// Reads the version out of a source tree's top makefile.
    pub(crate) fn of_tree(tree: &Path) -> Result<Self, Error> {
        let path = tree.join("Makefile");
        let makefile = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        Self::of_makefile(&makefile).ok_or(Error::NoVersion { path })
    }

    fn of_makefile(makefile: &str) -> Option<Self> {
        let value = |name: &str| {
            makefile.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
        };
        Some(Version {
            major: value("VERSION")?.parse().ok()?,
            minor: value("PATCHLEVEL")?.parse().ok()?,
            patch: value("SUBLEVEL").and_then(|text| text.parse().ok()).unwrap_or(0),
            suffix: value("EXTRAVERSION")
                .filter(|text| !text.is_empty())
                .map_or(Suffix::None, Suffix::Some),
        })
    }

    /// The version that a text starts with: a kernel's release, such as `6.1.158-um` or `7.4.0-rc1+`, or a package's
    /// version without its epoch. What follows is ignored but for a release candidate's number.
    pub(crate) fn of_release(text: &str) -> Option<Self> {
        let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
        let end = text.find(|letter| !is_number(letter)).unwrap_or(text.len());
        let mut version: Version = text[..end].trim_end_matches('.').parse().ok()?;
        let rest = &text[end..];
        if let Some(number) = rest.strip_prefix("-rc") {
            let end = number.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(number.len());
            version.suffix = Suffix::Some(format!("-rc{}", &number[..end]));
        }
        Some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)?;
        match &self.suffix {
            Suffix::Some(suffix) => formatter.write_str(suffix),
            Suffix::None => Ok(()),
        }
    }
}

/// Parses `7.2` and `7.2.12`.
impl FromStr for Version {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.splitn(3, '.');
        let mut next = || numbers.next().map_or(Ok(0), str::parse);
        Ok(Version { major: next()?, minor: next()?, patch: next()?, suffix: Suffix::None })
    }
}

/// A version as a user asks for it: `7.2` is the newest of a series, `7.2.12` exactly that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    major: u32,
    minor: u32,
    patch: Option<u32>,
}

impl Wanted {
    /// The newest of a series.
    pub(crate) const fn series((major, minor): (u32, u32)) -> Self {
        Wanted { major, minor, patch: None }
    }

    /// `None` if the text is no version.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<u32> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        match numbers[..] {
            [major, minor] => Some(Wanted { major, minor, patch: None }),
            [major, minor, patch] => Some(Wanted { major, minor, patch: Some(patch) }),
            _ => None,
        }
    }

    pub(crate) fn matches(&self, version: &Version) -> bool {
        (self.major, self.minor) == version.series()
            && self.patch.is_none_or(|patch| patch == version.patch)
    }

    /// The exact version, if one is asked for.
    pub(crate) fn exact(&self) -> Option<Version> {
        Some(Version::new(self.major, self.minor, self.patch?))
    }

    pub(crate) fn is_too_old(&self) -> bool {
        (self.major, self.minor) < MINIMUM.series()
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)?;
        self.patch.map_or(Ok(()), |patch| write!(formatter, ".{patch}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_makefile() {
        let release =
            "# SPDX\nVERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL = 12\nEXTRAVERSION =\nNAME = x\n";
        assert_eq!(Version::of_makefile(release).unwrap().to_string(), "7.2.12");
        let candidate = "VERSION = 7\nPATCHLEVEL = 4\nSUBLEVEL = 0\nEXTRAVERSION = -rc1\n";
        assert_eq!(Version::of_makefile(candidate).unwrap().to_string(), "7.4.0-rc1");
        assert_eq!(Version::of_makefile("all:\n"), None);
    }

    #[test]
    fn orders_by_release() {
        let parse = |text: &str| text.parse::<Version>().unwrap();
        assert!(parse("6.9") < parse("6.12"));
        assert!(parse("6.12.95") < parse("7.2"));
        let candidate = Version { suffix: Suffix::Some("-rc1".into()), ..parse("7.4") };
        assert!(candidate < parse("7.4") && candidate > parse("7.3.9"));
    }

    #[test]
    fn reads_releases() {
        let read = |text| Version::of_release(text).map(|version| version.to_string());
        assert_eq!(read("6.1.158").as_deref(), Some("6.1.158"));
        assert_eq!(read("7.4.0-rc12+").as_deref(), Some("7.4.0-rc12"));
        assert_eq!(read("6.12.95-1~bpo12+1").as_deref(), Some("6.12.95"));
        assert_eq!(read("6.1-3um-1").as_deref(), Some("6.1.0"));
        assert_eq!(read("linux"), None);
    }

    #[test]
    fn a_series_wants_any_of_it() {
        let wanted = |text| Wanted::parse(text).unwrap();
        assert!(wanted("6.1").matches(&Version::new(6, 1, 158)));
        assert!(!wanted("6.1").matches(&Version::new(6, 12, 1)));
        assert!(wanted("6.1.2").matches(&Version::new(6, 1, 2)));
        assert!(!wanted("6.1.2").matches(&Version::new(6, 1, 3)));
        assert!(wanted("5.19").is_too_old() && !wanted("6.1").is_too_old());
        for text in ["7", "7.2.1.1", "v7.2", "7.2-rc1", "linux", ""] {
            assert_eq!(Wanted::parse(text), None, "{text}");
        }
    }
}
