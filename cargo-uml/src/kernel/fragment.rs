//! Kconfig fragments: what they request of a version, and what Kconfig made of the request.
//!
//! Pure text in, text out; [`super::build`] runs Kconfig, [`super::kconfig`] explains what it dropped.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use super::version::Version;
use crate::error::Error;

/// A Kconfig fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// A flavour's name, or a file's path: what messages call it.
    pub(crate) label: String,
    pub(crate) text: String,
    /// Whether it comes with this project.
    pub(crate) shipped: bool,
}

/// One option that a fragment requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// With its prefix `CONFIG_`.
    pub(crate) option: String,
    /// As in a `.config`; `n` for what shall not be set.
    pub(crate) value: String,
    condition: Condition,
    /// What the comment has for people.
    words: String,
    /// The label of the fragment.
    origin: String,
    pub(crate) shipped: bool,
}

/// What the comment behind an option says. A colon and words for people may follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Always,
    OnlyBefore(Version),
    OptionalBefore(Version),
}

/// A requested option that is missing from the resolved configuration, or has another value there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) request: Request,
    pub(crate) found: Option<String>,
    /// Whether its fragment allows this version to lack it.
    pub(crate) optional: bool,
    /// Why, line by line; empty until [`super::kconfig`] was asked.
    pub(crate) because: Vec<String>,
}

impl Fragment {
    /// A user's file.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::UnreadableFragment { path: path.to_path_buf(), source })?;
        let fragment = Fragment { label: path.display().to_string(), text, shipped: false };
        fragment.requests()?;
        Ok(fragment)
    }

    /// What the lines say, conditions and all.
    pub(crate) fn requests(&self) -> Result<Vec<Request>, Error> {
        let mut requests = Vec::new();
        for (number, line) in self.text.lines().enumerate() {
            let bad = |reason| Error::BadFragment {
                fragment: self.label.clone(),
                line: number + 1,
                text: line.trim().to_owned(),
                reason,
            };
            let request = |option: &str, value: &str, comment: &str| Request {
                option: option.to_owned(),
                value: value.to_owned(),
                condition: Condition::of(comment),
                words: comment.split_once(':').map_or("", |(_, words)| words.trim()).to_owned(),
                origin: self.label.clone(),
                shipped: self.shipped,
            };
            let line = line.trim();
            // How a .config says n.
            if let Some(option) =
                line.strip_prefix("# CONFIG_").and_then(|rest| rest.strip_suffix(" is not set"))
            {
                requests.push(request(&format!("CONFIG_{option}"), "n", ""));
                continue;
            }
            let (assignment, comment) = split_comment(line);
            if assignment.is_empty() {
                continue;
            }
            let Some((option, value)) = assignment.split_once('=') else {
                return Err(bad("expected CONFIG_NAME=VALUE"));
            };
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            if !option.starts_with("CONFIG_") || !option.chars().all(is_name) || value.is_empty() {
                return Err(bad("expected CONFIG_NAME=VALUE"));
            }
            if value == "m" {
                return Err(bad("modules are not built, only the kernel itself: say =y"));
            }
            requests.push(request(option, value, comment));
        }
        Ok(requests)
    }
}

/// The option that a line requests something of.
pub(crate) fn option(line: &str) -> Option<&str> {
    let line = line.trim();
    match line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set")) {
        Some(option) => Some(option),
        None => Some(split_comment(line).0.split_once('=')?.0),
    }
}

/// The assignment and the comment of a line. A `#` in a quoted value is no comment.
fn split_comment(line: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, letter) in line.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '#' if !quoted => return (line[..at].trim(), line[at + 1..].trim()),
            _ => {}
        }
    }
    (line, "")
}

impl Condition {
    fn of(comment: &str) -> Self {
        let words = comment.split(':').next().unwrap_or_default().trim();
        let version = |prefix| words.strip_prefix(prefix).and_then(|text: &str| text.parse().ok());
        if let Some(version) = version("only before ") {
            Condition::OnlyBefore(version)
        } else if let Some(version) = version("optional before ") {
            Condition::OptionalBefore(version)
        } else {
            Condition::Always
        }
    }
}

impl Request {
    /// The version up to which its comment makes an exception, if it has one.
    #[cfg(test)]
    pub(crate) fn exception(&self) -> Option<&Version> {
        match &self.condition {
            Condition::Always => None,
            Condition::OnlyBefore(version) | Condition::OptionalBefore(version) => Some(version),
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { option, value, origin, .. } = &self.request;
        let found = self.found.as_deref().unwrap_or("not set");
        write!(formatter, "{option}: wanted {value}, is {found} (in {origin})")?;
        self.because.iter().try_for_each(|line| write!(formatter, "\n    {line}"))
    }
}

/// What the fragments request of `version`. As in Kconfig, the last of several assignments to an option counts.
pub(crate) fn requests(fragments: &[Fragment], version: &Version) -> Result<Vec<Request>, Error> {
    let mut last: HashMap<String, usize> = HashMap::new();
    let mut requests: Vec<Option<Request>> = Vec::new();
    for fragment in fragments {
        for request in fragment.requests()? {
            if matches!(&request.condition, Condition::OnlyBefore(end) if version >= end) {
                continue;
            }
            if let Some(earlier) = last.insert(request.option.clone(), requests.len()) {
                requests[earlier] = None;
            }
            requests.push(Some(request));
        }
    }
    Ok(requests.into_iter().flatten().collect())
}

/// The requests as lines that Kconfig reads.
pub(crate) fn text(requests: &[Request]) -> String {
    requests.iter().map(|request| format!("{}={}\n", request.option, request.value)).collect()
}

/// The assignments of a `.config`, by option.
pub(crate) fn assignments(config: &str) -> HashMap<&str, &str> {
    config
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .collect()
}

/// Every request that `resolved`, a `.config`, does not have.
///
/// Kconfig drops what it can't honour without a word, so nothing else would tell.
pub(crate) fn dropped(requests: &[Request], version: &Version, resolved: &str) -> Vec<Dropped> {
    let resolved = assignments(resolved);
    requests
        .iter()
        .filter_map(|request| {
            let found = resolved.get(request.option.as_str()).copied();
            let honoured = if request.value == "n" {
                found.is_none_or(|found| found == "n")
            } else {
                found == Some(request.value.as_str())
            };
            (!honoured).then(|| Dropped {
                request: request.clone(),
                found: found.map(str::to_owned),
                optional: matches!(&request.condition, Condition::OptionalBefore(end) if version < end),
                because: Vec::new(),
            })
        })
        .collect()
}

/// The options, a line for those of which their fragments say the same.
pub(crate) fn in_words(dropped: &[Dropped]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for Dropped { request: Request { option, words, .. }, .. } in dropped {
        match groups.iter_mut().find(|(of, _)| of == words) {
            Some((_, options)) => options.push(option),
            None => groups.push((words, vec![option])),
        }
    }
    let line = |(words, options): &(&str, Vec<&str>)| match *words {
        "" => format!("\n    {}", options.join(", ")),
        words => format!("\n    {}: {words}", options.join(", ")),
    };
    groups.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "# text = text\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_LSM=\"a,b#c\"\n\
                          CONFIG_OLD=y  # only before 6.16\nCONFIG_NEW=y # optional before 7.2: why: so\n";

    fn fragment(label: &str, text: &str) -> Fragment {
        Fragment { label: label.into(), text: text.into(), shipped: false }
    }

    fn of(texts: &[&str], version: &str) -> Vec<Request> {
        let fragments: Vec<_> = texts.iter().map(|text| fragment("x", text)).collect();
        requests(&fragments, &version.parse().unwrap()).unwrap()
    }

    fn dropped_of(texts: &[&str], version: &str, resolved: &str) -> Vec<String> {
        dropped(&of(texts, version), &version.parse().unwrap(), resolved)
            .iter()
            .filter(|dropped| !dropped.optional)
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn requests_what_the_version_knows() {
        assert!(text(&of(&[SAMPLE], "6.12.95")).contains("CONFIG_OLD=y\n"));
        assert_eq!(
            text(&of(&[SAMPLE], "6.16")),
            "CONFIG_A=y\nCONFIG_B=n\nCONFIG_LSM=\"a,b#c\"\nCONFIG_NEW=y\n"
        );
    }

    #[test]
    fn an_honoured_request_drops_nothing() {
        let resolved = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_LSM=\"a,b#c\"\nCONFIG_NEW=y\nCONFIG_OTHER=m\n";
        assert_eq!(dropped_of(&[SAMPLE], "7.2", resolved), [] as [String; 0]);
        let without_b = "CONFIG_A=y\nCONFIG_LSM=\"a,b#c\"\nCONFIG_NEW=y\n";
        assert_eq!(dropped_of(&[SAMPLE], "7.2", without_b), [] as [String; 0]);
    }

    #[test]
    fn names_every_option_that_kconfig_changed() {
        let resolved = "CONFIG_A=m\nCONFIG_B=y\nCONFIG_OLD=y\n";
        assert_eq!(
            dropped_of(&[SAMPLE], "7.2", resolved),
            [
                "CONFIG_A: wanted y, is m (in x)",
                "CONFIG_B: wanted n, is y (in x)",
                "CONFIG_LSM: wanted \"a,b#c\", is not set (in x)",
                "CONFIG_NEW: wanted y, is not set (in x)",
            ]
        );
    }

    #[test]
    fn optional_options_may_be_missing_from_older_kernels_only() {
        let resolved = "CONFIG_A=y\nCONFIG_LSM=\"a,b#c\"\nCONFIG_OLD=y\n";
        assert_eq!(dropped_of(&[SAMPLE], "6.12", resolved), [] as [String; 0]);
        assert_eq!(dropped_of(&[SAMPLE], "7.2", resolved).len(), 1);
    }

    #[test]
    fn what_is_lacking_is_told_in_the_fragments_words() {
        let text = "CONFIG_A=y # optional before 7.0: not invented yet\nCONFIG_B=y # optional before 7.0\n\
                    CONFIG_C=y # optional before 6.9: not invented yet\nCONFIG_D=y # optional before 7.0: why: so\n";
        let lacking = dropped(&of(&[text], "6.1"), &"6.1".parse().unwrap(), "");
        assert_eq!(
            in_words(&lacking),
            "\n    CONFIG_A, CONFIG_C: not invented yet\n    CONFIG_B\n    CONFIG_D: why: so"
        );
    }

    #[test]
    fn the_last_assignment_counts() {
        let later = "CONFIG_A=n\nCONFIG_B=y\nCONFIG_OLD=n  # only before 6.16\n";
        assert_eq!(
            text(&of(&[SAMPLE, later], "7.2")),
            "CONFIG_LSM=\"a,b#c\"\nCONFIG_NEW=y\nCONFIG_A=n\nCONFIG_B=y\n"
        );
        assert!(text(&of(&[SAMPLE, later], "6.12")).ends_with("CONFIG_OLD=n\n"));
    }

    #[test]
    fn a_config_file_is_a_fragment() {
        assert_eq!(text(&of(&["# CONFIG_A is not set\n\n# CONFIG_B\n"], "7.2")), "CONFIG_A=n\n");
    }

    #[test]
    fn refuses_what_is_no_request() {
        for (text, says) in [
            ("\nCONFIG_A", "x, line 2: `CONFIG_A`: expected CONFIG_NAME=VALUE"),
            ("A=y", "expected CONFIG_NAME=VALUE"),
            ("CONFIG_A =y", "expected CONFIG_NAME=VALUE"),
            ("CONFIG_A=m", "modules are not built"),
        ] {
            let error = fragment("x", text).requests().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
