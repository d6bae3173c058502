//! The project's kernel configuration: what it requests of a version, and what Kconfig made of the request.
//!
//! Pure text in, text out; [`super::build`] runs Kconfig.

use std::collections::HashMap;
use std::fmt;

use super::version::Version;

/// The Kconfig fragment that every kernel is built with, over `tinyconfig`.
pub(crate) const FRAGMENT: &str = include_str!("../../kernel/base.config");

#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    option: &'a str,
    value: &'a str,
    condition: Condition,
}

/// What the comment behind an option says.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Always,
    OnlyBefore(Version),
    OptionalBefore(Version),
}

/// A requested option that is missing from the resolved configuration, or has another value there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    option: String,
    wanted: String,
    found: Option<String>,
}

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.as_deref().unwrap_or("not set");
        write!(formatter, "{}: wanted {}, is {found}", self.option, self.wanted)
    }
}

/// What a fragment's lines say, conditions and all.
fn lines(fragment: &str) -> impl Iterator<Item = Request<'_>> {
    fragment.lines().filter_map(|line| {
        let (assignment, comment) = line.split_once('#').unwrap_or((line, ""));
        let (option, value) = assignment.trim().split_once('=')?;
        // What follows a colon is for people.
        let condition = comment.split(':').next().unwrap_or_default().trim();
        let version =
            |prefix| condition.strip_prefix(prefix).and_then(|text: &str| text.parse().ok());
        let condition = if let Some(version) = version("only before ") {
            Condition::OnlyBefore(version)
        } else if let Some(version) = version("optional before ") {
            Condition::OptionalBefore(version)
        } else {
            Condition::Always
        };
        Some(Request { option, value, condition })
    })
}

/// What `fragment` requests of `version`. As in Kconfig, the last of several assignments to an option is the one that
/// counts, so fragments combine by being joined.
fn requests<'a>(fragment: &'a str, version: &Version) -> Vec<Request<'a>> {
    let mut last: HashMap<&str, usize> = HashMap::new();
    let mut requests: Vec<Option<Request<'_>>> = Vec::new();
    for request in lines(fragment) {
        if matches!(&request.condition, Condition::OnlyBefore(end) if version >= end) {
            continue;
        }
        if let Some(earlier) = last.insert(request.option, requests.len()) {
            requests[earlier] = None;
        }
        requests.push(Some(request));
    }
    requests.into_iter().flatten().collect()
}

/// The fragment for one version, as `merge_config.sh` takes it.
pub(crate) fn fragment_for(fragment: &str, version: &Version) -> String {
    requests(fragment, version)
        .iter()
        .map(|request| format!("{}={}\n", request.option, request.value))
        .collect()
}

/// Every option that `fragment` requests of `version` and `resolved`, a `.config`, does not have.
///
/// Kconfig drops what it can't honour without a word, so nothing else would tell.
pub(crate) fn dropped(fragment: &str, version: &Version, resolved: &str) -> Vec<Dropped> {
    let resolved: HashMap<&str, &str> = resolved
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .collect();
    requests(fragment, version)
        .into_iter()
        .filter(|request| match &request.condition {
            Condition::Always | Condition::OnlyBefore(_) => true,
            Condition::OptionalBefore(end) => version >= end,
        })
        .filter_map(|request| {
            let found = resolved.get(request.option).copied();
            let honoured = if request.value == "n" {
                found.is_none_or(|found| found == "n")
            } else {
                found == Some(request.value)
            };
            (!honoured).then(|| Dropped {
                option: request.option.to_owned(),
                wanted: request.value.to_owned(),
                found: found.map(str::to_owned),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SAMPLE: &str = "# text = text\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_LSM=\"a,b\"\n\
                          CONFIG_OLD=y  # only before 6.16\nCONFIG_NEW=y # optional before 7.2: why: so\n";

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn requests_what_the_version_knows() {
        assert!(fragment_for(SAMPLE, &version("6.12.95")).contains("CONFIG_OLD=y\n"));
        let new = fragment_for(SAMPLE, &version("6.16"));
        assert_eq!(new, "CONFIG_A=y\nCONFIG_B=n\nCONFIG_LSM=\"a,b\"\nCONFIG_NEW=y\n");
    }

    #[test]
    fn an_honoured_request_drops_nothing() {
        let resolved =
            "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_LSM=\"a,b\"\nCONFIG_NEW=y\nCONFIG_OTHER=m\n";
        assert_eq!(dropped(SAMPLE, &version("7.2"), resolved), []);
        let without_b = "CONFIG_A=y\nCONFIG_LSM=\"a,b\"\nCONFIG_NEW=y\n";
        assert_eq!(dropped(SAMPLE, &version("7.2"), without_b), []);
    }

    #[test]
    fn names_every_option_that_kconfig_changed() {
        let resolved = "CONFIG_A=m\nCONFIG_B=y\nCONFIG_OLD=y\n";
        let found: Vec<_> =
            dropped(SAMPLE, &version("7.2"), resolved).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "CONFIG_A: wanted y, is m",
                "CONFIG_B: wanted n, is y",
                "CONFIG_LSM: wanted \"a,b\", is not set",
                "CONFIG_NEW: wanted y, is not set",
            ]
        );
    }

    #[test]
    fn optional_options_may_be_missing_from_older_kernels_only() {
        let resolved = "CONFIG_A=y\nCONFIG_LSM=\"a,b\"\nCONFIG_OLD=y\n";
        assert_eq!(dropped(SAMPLE, &version("6.12"), resolved), []);
        assert_eq!(dropped(SAMPLE, &version("7.2"), resolved).len(), 1);
    }

    #[test]
    fn of_joined_fragments_the_last_assignment_counts() {
        let joined = format!("{SAMPLE}CONFIG_A=n\nCONFIG_B=y\n");
        let resolved = "CONFIG_B=y\nCONFIG_LSM=\"a,b\"\nCONFIG_NEW=y\n";
        assert_eq!(dropped(&joined, &version("7.2"), resolved), []);
        assert_eq!(
            fragment_for(&joined, &version("7.2")),
            "CONFIG_LSM=\"a,b\"\nCONFIG_NEW=y\nCONFIG_A=n\nCONFIG_B=y\n"
        );
    }

    #[test]
    fn an_assignment_for_other_versions_replaces_nothing() {
        let fragment = "CONFIG_A=y\nCONFIG_A=n  # only before 6.16\n";
        assert_eq!(fragment_for(fragment, &version("7.2")), "CONFIG_A=y\n");
        assert_eq!(fragment_for(fragment, &version("6.12")), "CONFIG_A=n\n");
    }

    #[test]
    fn the_embedded_fragments_are_well_formed() {
        let fragments = [
            ("base", FRAGMENT, 400),
            ("smp", include_str!("../../kernel/smp.config"), 1),
            ("debug", include_str!("../../kernel/debug.config"), 30),
            ("coverage", include_str!("../../kernel/coverage.config"), 1),
            ("tiny", include_str!("../../kernel/tiny.config"), 30),
        ];
        for (name, fragment, least) in fragments {
            let mut seen = HashSet::new();
            for line in fragment.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let request = lines(line)
                    .next()
                    .unwrap_or_else(|| panic!("{name}: not an assignment: {line}"));
                assert!(request.option.starts_with("CONFIG_"), "{name}: {line}");
                assert_ne!(request.value, "m", "{name}: no modules: {line}");
                assert!(seen.insert(request.option), "{name}: twice: {line}");
                assert_eq!(
                    line.contains('#'),
                    request.condition != Condition::Always,
                    "{name}: unknown comment: {line}"
                );
            }
            assert!(seen.len() > least, "{name}");
        }
    }
}
