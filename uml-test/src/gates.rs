//! What a test asks of its kernel, `kernel = ">=6.7"` and `config = ["CONFIG_X"]`: parsed, and
//! compared with what a kernel is. Pure; `kernel_image` reads the kernel.

use std::cmp::Ordering;

/// The gates of a test. One that does not hold keeps the test from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gates {
    /// Versions of the kernel: see [`is_requirement`].
    pub kernel: Option<&'static str>,
    /// Options it is built with: see [`is_option`].
    pub config: &'static [&'static str],
}

impl Gates {
    /// Any kernel will do.
    pub const NONE: Self = Self { kernel: None, config: &[] };

    /// Whether any kernel will do.
    pub(crate) const fn is_none(&self) -> bool {
        self.kernel.is_none() && self.config.is_empty()
    }
}

/// Whether a text says which versions are wanted: `>=`, `>`, `<`, `<=` or `=` and a version of two
/// or three numbers; several of them, separated by commas, have to hold together.
///
/// ```
/// use uml_test::gates::is_requirement;
/// assert!(is_requirement(">=6.7"));
/// assert!(is_requirement(">=6.1, <6.12.30"));
/// assert!(!is_requirement("6.7"));
/// assert!(!is_requirement(">=6"));
/// ```
pub const fn is_requirement(text: &str) -> bool {
    let text = text.as_bytes();
    let mut at = 0;
    loop {
        let Some((_, end)) = comparator(text, at) else { return false };
        if end == text.len() {
            return true;
        }
        if text[end] != b',' {
            return false;
        }
        at = end + 1;
    }
}

/// Whether a text names a kernel option: `CONFIG_X` (built in or a module), or `CONFIG_X=VALUE`
/// with the value that a `.config` has, `n` for an option that is not set.
///
/// ```
/// use uml_test::gates::is_option;
/// assert!(is_option("CONFIG_BTRFS_FS"));
/// assert!(is_option("CONFIG_HZ=100"));
/// assert!(!is_option("BTRFS_FS"));
/// assert!(!is_option("CONFIG_BTRFS_FS = y"));
/// ```
pub const fn is_option(text: &str) -> bool {
    const PREFIX: &[u8] = b"CONFIG_";
    let text = text.as_bytes();
    let mut at = 0;
    while at < PREFIX.len() {
        if byte(text, at) != PREFIX[at] {
            return false;
        }
        at += 1;
    }
    while byte(text, at).is_ascii_alphanumeric() || byte(text, at) == b'_' {
        at += 1;
    }
    if at == PREFIX.len() {
        return false;
    }
    if at == text.len() {
        return true;
    }
    byte(text, at) == b'='
        && at + 1 < text.len()
        && !byte(text, at + 1).is_ascii_whitespace()
        && !text[text.len() - 1].is_ascii_whitespace()
}

/// Why a kernel's version is none of those wanted; `None` where it is one. What a release has
/// behind its numbers (`-rc1`, `-amd64`) does not count.
pub(crate) fn unmet_version(requirement: &str, release: &str) -> Option<String> {
    let actual = version(release);
    let (text, mut at, mut holds) = (requirement.as_bytes(), 0, true);
    while let Some((comparator, end)) = comparator(text, at) {
        holds &= comparator.holds(actual);
        at = end + 1;
    }
    (!holds).then(|| format!("needs kernel {requirement}, and this one is {release}"))
}

/// Whether a kernel of this release can intercept its processes' system calls by seccomp. All can by ptrace.
#[doc(hidden)]
pub fn has_seccomp_mode(release: &str) -> bool {
    unmet_version(">=6.16", release).is_none()
}

/// Why a kernel's `.config` lacks an option; `None` where it has it.
pub(crate) fn unmet_option(wanted: &str, config: &str) -> Option<String> {
    let (name, value) = match wanted.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (wanted, None),
    };
    let found = config.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let holds = match (found, value) {
        (Some(found), None) => matches!(found, "y" | "m"),
        (Some(found), Some(value)) => found.trim_matches('"') == value.trim_matches('"'),
        (None, value) => value == Some("n"),
    };
    (!holds).then(|| match found {
        None => format!("needs {wanted}, and this kernel is built without {name}"),
        Some(found) => format!("needs {wanted}, and this kernel has {name}={found}"),
    })
}

/// One condition on a version.
#[derive(Clone, Copy, Debug)]
struct Comparator {
    relation: Relation,
    version: [u32; 3],
    /// How many of the numbers are given. Only those are compared: 6.12.9 is `=6.12`, and not
    /// `>6.12`.
    given: usize,
}

#[derive(Clone, Copy, Debug)]
enum Relation {
    AtLeast,
    Above,
    AtMost,
    Below,
    Equal,
}

impl Comparator {
    fn holds(&self, actual: [u32; 3]) -> bool {
        let order = actual[..self.given].cmp(&self.version[..self.given]);
        match self.relation {
            Relation::AtLeast => order != Ordering::Less,
            Relation::Above => order == Ordering::Greater,
            Relation::AtMost => order != Ordering::Greater,
            Relation::Below => order == Ordering::Less,
            Relation::Equal => order == Ordering::Equal,
        }
    }
}

/// The comparator that begins at `at`, and where it ends; spaces around its parts are skipped.
const fn comparator(text: &[u8], at: usize) -> Option<(Comparator, usize)> {
    let at = spaces(text, at);
    let (relation, width) = match (byte(text, at), byte(text, at + 1)) {
        (b'>', b'=') => (Relation::AtLeast, 2),
        (b'<', b'=') => (Relation::AtMost, 2),
        (b'>', _) => (Relation::Above, 1),
        (b'<', _) => (Relation::Below, 1),
        (b'=', _) => (Relation::Equal, 1),
        _ => return None,
    };
    let mut at = spaces(text, at + width);
    let (mut version, mut given) = ([0; 3], 0);
    loop {
        let Some((number, end)) = number(text, at) else { return None };
        version[given] = number;
        given += 1;
        at = end;
        if given == version.len() || byte(text, at) != b'.' {
            break;
        }
        at += 1;
    }
    if given < 2 {
        return None;
    }
    Some((Comparator { relation, version, given }, spaces(text, at)))
}

/// The numbers that a release begins with.
fn version(release: &str) -> [u32; 3] {
    let (mut version, mut at) = ([0; 3], 0);
    for part in &mut version {
        let Some((number, end)) = number(release.as_bytes(), at) else { break };
        *part = number;
        at = end + 1;
        if byte(release.as_bytes(), end) != b'.' {
            break;
        }
    }
    version
}

const fn number(text: &[u8], mut at: usize) -> Option<(u32, usize)> {
    let (start, mut number) = (at, 0u32);
    while byte(text, at).is_ascii_digit() {
        let digit = (text[at] - b'0') as u32;
        number = match number.checked_mul(10) {
            Some(tens) => tens.saturating_add(digit),
            None => return None,
        };
        at += 1;
    }
    if at == start { None } else { Some((number, at)) }
}

const fn spaces(text: &[u8], mut at: usize) -> usize {
    while byte(text, at) == b' ' {
        at += 1;
    }
    at
}

/// The byte at a place; beyond the end one that is in no text here.
const fn byte(text: &[u8], at: usize) -> u8 {
    if at < text.len() { text[at] } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_have_a_relation_and_two_or_three_numbers() {
        for good in [">=6.7", ">6.7.1", "<6.7", "<=6.7", "=6.7", ">= 6.1 , < 6.13", "=7.2.12"] {
            assert!(is_requirement(good), "{good:?}");
        }
        for bad in [
            "",
            "6.7",
            ">=6",
            ">=",
            "^6.7",
            "==6.7",
            ">=6.7.",
            ">=6.7.1.2",
            ">=6.7,",
            ",>=6.7",
            ">=6.7 <6.9",
            ">=v6.7",
            ">=6.7-rc1",
            "~6.7",
            ">=99999999999.1",
            ">=6.x",
        ] {
            assert!(!is_requirement(bad), "{bad:?}");
        }
    }

    #[test]
    fn options_are_named_as_in_a_config() {
        for good in ["CONFIG_X", "CONFIG_X=y", "CONFIG_X=\"a b\"", "CONFIG_6LOWPAN", "CONFIG_X=n"] {
            assert!(is_option(good), "{good:?}");
        }
        for bad in
            ["", "X", "CONFIG_", "config_x", "CONFIG_X=", "CONFIG_X = y", "CONFIG-X", "CONFIG_X= y"]
        {
            assert!(!is_option(bad), "{bad:?}");
        }
    }

    #[test]
    fn only_the_numbers_given_are_compared() {
        let holds = |wanted, release| unmet_version(wanted, release).is_none();
        assert!(holds(">=6.7", "6.7.0") && holds(">=6.7", "7.0.1") && !holds(">=6.7", "6.6.99"));
        assert!(holds("=6.12", "6.12.117-1+deb12") && !holds("=6.12", "6.13.0-rc2"));
        assert!(holds("<=6.12", "6.12.9") && !holds(">6.12", "6.12.9") && holds(">6.12", "6.13.0"));
        assert!(holds(">=6.10", "6.10.0") && !holds(">=6.10", "6.9.0"), "as numbers, not as text");
        assert!(holds(">=6.12.5", "6.12.5") && !holds(">6.12.5", "6.12.5"));
        assert!(holds(">=6.1,<6.13", "6.12.0") && !holds(">=6.1,<6.13", "6.13.0"));
        assert!(!holds(">=6.1,<6.13", "5.15.0"));
        assert_eq!(
            unmet_version(">=6.7", "6.1.176").unwrap(),
            "needs kernel >=6.7, and this one is 6.1.176"
        );
    }

    #[test]
    fn options_are_looked_up_by_their_whole_name() {
        const CONFIG: &str =
            "# CONFIG_OFF is not set\nCONFIG_A=y\nCONFIG_AB=m\nCONFIG_HZ=100\nCONFIG_S=\"x y\"\n";
        let unmet = |wanted| unmet_option(wanted, CONFIG);
        for met in [
            "CONFIG_A",
            "CONFIG_A=y",
            "CONFIG_AB",
            "CONFIG_AB=m",
            "CONFIG_HZ=100",
            "CONFIG_S=x y",
            "CONFIG_S=\"x y\"",
            "CONFIG_OFF=n",
            "CONFIG_UNKNOWN=n",
        ] {
            assert_eq!(unmet(met), None, "{met}");
        }
        assert_eq!(
            unmet("CONFIG_OFF").unwrap(),
            "needs CONFIG_OFF, and this kernel is built without CONFIG_OFF"
        );
        assert_eq!(
            unmet("CONFIG_A=m").unwrap(),
            "needs CONFIG_A=m, and this kernel has CONFIG_A=y"
        );
        assert!(unmet("CONFIG_HZ").is_some(), "neither y nor m");
        assert!(unmet("CONFIG_A=n").is_some() && unmet("CONFIG_").is_some());
    }
}
