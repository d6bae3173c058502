//! Doctests, which older cargos start past their runner.

use std::ffi::OsString;

use super::cargo;
use crate::report::Reporter;

/// The first cargo that starts doctests with its runner.
const FIRST: (u32, u32) = (1, 89);

/// Says where cargo will run doctests on the host. Asking for its version takes milliseconds.
pub(super) fn warn(subcommand: &str, own: &[OsString], reporter: &Reporter) {
    if !may_be_run(subcommand, own) {
        return;
    }
    let Ok(said) = cargo::command().arg("-V").output() else { return };
    let said = String::from_utf8_lossy(&said.stdout);
    if version(&said).is_some_and(|version| version < FIRST) {
        reporter.note(format_args!(
            "cargo uml: {} runs doctests on this host; cargo {}.{} is the first to run them in a guest, and `--tests` \
             leaves them out",
            said.trim(),
            FIRST.0,
            FIRST.1
        ));
    }
}

/// Whether there may be doctests among what cargo runs: without a choice of other targets.
fn may_be_run(subcommand: &str, own: &[OsString]) -> bool {
    const OTHERS: [&str; 10] = [
        "--lib",
        "--bin",
        "--bins",
        "--example",
        "--examples",
        "--test",
        "--tests",
        "--bench",
        "--benches",
        "--all-targets",
    ];
    let chooses = |argument: &OsString| {
        let text = argument.to_string_lossy();
        OTHERS.contains(&text.split('=').next().unwrap_or_default())
    };
    subcommand == "test" && !own.iter().any(chooses)
}

/// Of what `cargo -V` says.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("cargo ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("cargo 1.88.0 (873a06493 2025-05-10)\n"), Some((1, 88)));
        assert_eq!(version("cargo 1.89.0-nightly (x)\n"), Some((1, 89)));
        assert_eq!(version(""), None);
    }

    #[test]
    fn doctests_are_run_where_nothing_else_is_chosen() {
        let may = |subcommand: &str, line: &str| {
            let own: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            may_be_run(subcommand, &own)
        };
        for line in ["", "--doc", "-p x name", "--workspace --release"] {
            assert!(may("test", line), "{line}");
        }
        for line in ["--lib", "--bin=x", "--test two", "--all-targets"] {
            assert!(!may("test", line), "{line}");
        }
        assert!(!may("run", "") && !may("nextest", "run"));
    }
}
