//! Output: all of it, in its order, unchanged.

use std::process::Command;
use std::time::Duration;

use crate::command::{Finished, run};
use crate::fixtures::Fixtures;
use crate::left::Base;
use crate::verdicts::Problem;
use crate::ways::{Wanted, Way, by_way_of};

const LIMIT: Duration = Duration::from_secs(240);

/// Runs a fixture without capture; what is between its marks.
fn uncaptured(fixtures: &Fixtures, way: Way, name: &str) -> Result<Vec<u8>, Problem> {
    uncaptured_from(fixtures, way, name, |command| command)
}

/// As [`uncaptured`], the command being changed first.
fn uncaptured_from(
    fixtures: &Fixtures,
    way: Way,
    name: &str,
    change: fn(Command) -> Command,
) -> Result<Vec<u8>, Problem> {
    let name = format!("cases::output::{name}");
    let base = Base::new();
    let wanted = Wanted { only: Some(&name), uncaptured: true, ..Wanted::default() };
    let Some((command, _)) = way.command(fixtures, &base, &wanted) else {
        return Err(Problem::NoNextest);
    };
    let finished = run(&mut change(command), LIMIT);
    base.assert_empty();
    assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
    let mut found = between_marks(&finished);
    // What libtest says among the output on a loaded machine.
    let slow = format!("test {name} has been running for over 60 seconds\n").into_bytes();
    if let Some(at) = found.windows(slow.len()).position(|window| window == slow) {
        found.drain(at..at + slow.len());
    }
    Ok(found)
}

fn between_marks(finished: &Finished) -> Vec<u8> {
    let (begin, end) = (b"<<<begin>>>", b"<<<end>>>");
    let find = |mark: &[u8]| {
        let mut found = finished.stdout.windows(mark.len()).enumerate();
        found.find(|(_, window)| *window == mark).map(|(at, _)| at)
    };
    let (from, to) = (find(begin).expect("a begin"), find(end).expect("an end"));
    finished.stdout[from + begin.len()..to].to_vec()
}

pub(crate) fn a_hundred_megabytes(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let found = uncaptured(fixtures, way, "a_hundred_megabytes")?;
    assert_eq!(found.len(), 1600 * (64 << 10));
    for (number, block) in found.chunks(64 << 10).enumerate() {
        let mut expected = format!("{number:08}").into_bytes();
        expected.resize((64 << 10) - 1, b'.');
        expected.push(b'\n');
        assert!(block == expected, "block {number} is not itself");
    }
    Ok(())
}

pub(crate) fn a_million_tiny_writes(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let found = uncaptured(fixtures, way, "a_million_tiny_writes")?;
    assert_eq!(found.len(), 1_000_000);
    let wrong = found.iter().enumerate().find(|(at, byte)| usize::from(**byte) != at % 251);
    assert_eq!(wrong, None);
    Ok(())
}

pub(crate) fn odd_bytes(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for (name, expected) in [
        ("no_newline", &b"no newline"[..]),
        ("nul_bytes", b"a\0b\0\0c"),
        ("invalid_utf8", b"\xff\xfe\x80abc\xc3(\xe2\x82"),
    ] {
        assert_eq!(uncaptured(fixtures, way, name)?, expected, "{name}");
    }
    Ok(())
}

/// Of a test that writes to both streams, where they are one.
pub(crate) fn in_turn(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let found = uncaptured_from(fixtures, way, "both_streams_in_turn", |command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" 2>&1", "sh"]);
        by_way_of(shell, &command)
    })?;
    let expected: String = (0..500).map(|n| format!("out {n}\nerr {n}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&found), expected);
    Ok(())
}

/// Captured output is in a failure's report, what is no UTF-8 in a form that loses nothing; that
/// of a test that passes is nowhere.
pub(crate) fn captured(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let name = "cases::output::invalid_utf8_and_fails";
    let Some((shown, _)) = way.run(fixtures, &Wanted { only: Some(name), ..Wanted::default() })
    else {
        return Err(Problem::NoNextest);
    };
    let text = &shown[name].text;
    if !way.is_nextest() {
        assert!(text.contains(r"<<<begin>>>\xff\xfe\x80abc<<<end>>>"), "{text}");
    }
    assert!(text.contains("abc<<<end>>>") && text.contains("on the other stream"), "{text}");

    let name = "cases::output::both_streams";
    let Some((_, finished)) = way.run(fixtures, &Wanted { only: Some(name), ..Wanted::default() })
    else {
        return Err(Problem::NoNextest);
    };
    let text = finished.text();
    for line in ["to standard output", "to standard error", "from a child"] {
        assert!(!text.contains(line), "{text}");
    }
    Ok(())
}

/// A report has the beginning and the end of what nobody could read, and says so.
pub(crate) fn without_measure(fixtures: &Fixtures) {
    let name = "cases::output::prints_without_measure_and_fails";
    let wanted = Wanted { only: Some(name), ..Wanted::default() };
    let (shown, _) = Way::Custom.run(fixtures, &wanted).unwrap();
    let text = &shown[name].text;
    assert!(text.contains("returned an error: \"after all that output\""));
    assert!(text.contains("<<<begin>>>0\n1\n2\n") && text.contains("3fffff\n<<<end>>>"));
    let (_, rest) = text.split_once("[uml-test: ").expect("it says that something is left out");
    let left_out: usize = rest.split_once(' ').unwrap().0.parse().unwrap();
    let written: usize = (0..4 << 20).map(|line: u32| format!("{line:x}\n").len()).sum();
    assert!(text.len() < 18 << 20, "{}", text.len());
    assert!(left_out + (15 << 20) <= written && written <= left_out + text.len(), "{left_out}");
}
