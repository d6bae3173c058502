//! The configurations that this project ships: Kconfig fragments over `tinyconfig` that combine.

use super::fragment::Fragment;
use crate::error::Error;

/// A shipped fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flavour {
    pub(crate) name: &'static str,
    text: &'static str,
    /// The option that it is there for: without that the kernel would be misnamed.
    pub(crate) purpose: Option<&'static str>,
    /// Takes the place of `base` instead of coming over it.
    replaces_base: bool,
}

const BASE: Flavour = Flavour {
    name: "base",
    text: include_str!("../../kernel/base.config"),
    purpose: None,
    replaces_base: true,
};

/// All of them, in the order in which they are merged: the later wins.
pub(crate) const ALL: [Flavour; 5] = [
    BASE,
    Flavour { name: "tiny", text: include_str!("../../kernel/tiny.config"), ..BASE },
    Flavour {
        name: "smp",
        text: include_str!("../../kernel/smp.config"),
        purpose: Some("CONFIG_SMP"),
        replaces_base: false,
    },
    Flavour {
        name: "debug",
        text: include_str!("../../kernel/debug.config"),
        purpose: Some("CONFIG_KASAN"),
        replaces_base: false,
    },
    Flavour {
        name: "coverage",
        text: include_str!("../../kernel/coverage.config"),
        purpose: Some("CONFIG_GCOV_KERNEL"),
        replaces_base: false,
    },
];

/// The named flavours, each once, in the order of merging; unknown names are left out (the command line refuses them).
///
/// `base` comes in front unless a flavour takes its place; it is in no kernel's name, so it is in this list only where
/// nothing else is. Of those that are under all others there can be one only.
pub(crate) fn named(names: &[String]) -> Result<Vec<Flavour>, Error> {
    let chosen: Vec<Flavour> =
        ALL.into_iter().filter(|flavour| names.iter().any(|name| name == flavour.name)).collect();
    let foundations: Vec<&str> =
        chosen.iter().filter(|flavour| flavour.replaces_base).map(|flavour| flavour.name).collect();
    match foundations[..] {
        [] => Ok([vec![BASE], chosen].concat()),
        [_] => Ok(chosen),
        _ => Err(Error::TwoFoundations { flavours: foundations.join(" and ") }),
    }
}

impl Flavour {
    pub(crate) fn fragment(&self) -> Fragment {
        Fragment { label: self.name.to_owned(), text: self.text.to_owned(), shipped: true }
    }

    pub(crate) fn is_base(&self) -> bool {
        *self == BASE
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names(wanted: &[&str]) -> Vec<&'static str> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        named(&wanted).unwrap().iter().map(|flavour| flavour.name).collect()
    }

    #[test]
    fn errors_tell_how_to_build_each() {
        assert_eq!(ALL.map(|flavour| flavour.name), uml_test::remedy::FLAVOURS);
    }

    #[test]
    fn each_purpose_is_requested() {
        for flavour in ALL {
            let wanted = flavour.purpose.map(|option| format!("\n{option}=y"));
            assert!(wanted.is_none_or(|line| flavour.text.contains(&line)), "{}", flavour.name);
        }
    }

    #[test]
    fn base_comes_first_unless_replaced() {
        assert_eq!(names(&[]), ["base"]);
        assert_eq!(names(&["debug", "smp", "debug"]), ["base", "smp", "debug"]);
        assert_eq!(names(&["tiny"]), ["tiny"]);
        assert_eq!(names(&["debug", "tiny"]), ["tiny", "debug"]);
        let both = named(&["tiny", "smp", "base"].map(str::to_owned));
        assert!(
            matches!(both, Err(Error::TwoFoundations { flavours }) if flavours == "base and tiny")
        );
    }

    /// Each has a row with the version in the guide.
    #[test]
    fn what_versions_lack_is_documented() {
        let guide = include_str!("../../docs/flavours.md");
        for request in ALL.iter().flat_map(|flavour| flavour.fragment().requests().unwrap()) {
            let Some(version) = request.exception() else { continue };
            let option = format!("`{}`", request.option.trim_start_matches("CONFIG_"));
            let series = format!(" {}.{}", version.major, version.minor);
            let is_row = |line: &str| {
                let mut cells = line.split('|').skip(1);
                cells.next().is_some_and(|cell| cell.contains(&option))
                    && cells.next().is_some_and(|cell| cell.contains(&series))
            };
            assert!(guide.lines().any(is_row), "no row has {option} with{series}");
        }
    }

    #[test]
    fn the_shipped_fragments_are_well_formed() {
        for flavour in ALL {
            let fragment = flavour.fragment();
            let mut seen = HashSet::new();
            for line in fragment.text.lines().filter(|line| !line.is_empty()) {
                if line.starts_with("# ") || line == "#" {
                    continue;
                }
                let one = Fragment { text: line.to_owned(), ..fragment.clone() };
                let requests = one.requests().unwrap_or_else(|error| panic!("{error}"));
                let [request] = &requests[..] else { panic!("not one request: {line}") };
                assert!(seen.insert(request.option.clone()), "{}: twice: {line}", flavour.name);
                assert_eq!(
                    line.contains('#'),
                    request.exception().is_some(),
                    "{}: unknown comment: {line}",
                    flavour.name
                );
            }
            assert!(!seen.is_empty(), "{}", flavour.name);
        }
    }
}
