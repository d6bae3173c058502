//! Kernel versions, and which of them uml-test is tested with.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::Error;

/// A kernel version; the order is the release order, release candidates before their release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    patch: u32,
    suffix: Suffix,
}

/// What follows the numbers, such as `-rc3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Suffix {
    Some(String),
    None,
}

/// The series that uml-test's own tests run on, the preferred one first.
pub(crate) const TESTED: [(u32, u32); 3] = [(7, 2), (6, 12), (6, 1)];

/// The oldest series worth trying.
pub(crate) const MINIMUM: Version = Version::new(6, 1);

impl Version {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Version { major, minor, patch: 0, suffix: Suffix::None }
    }

    pub(crate) fn series(&self) -> (u32, u32) {
        (self.major, self.minor)
    }

    pub(crate) fn is_tested(&self) -> bool {
        TESTED.contains(&self.series())
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
}
