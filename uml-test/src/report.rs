//! What people get to read: failure texts, kept run directories, warnings. Of the library's files
//! this one and `stream` print.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::SystemTime;

use uml_test_protocol::Stream;
use uml_test_protocol::supervision::Protection;

use crate::cache;
use crate::case::TestCase;
use crate::config::{Sandbox, Traps};
use crate::gates::has_seccomp_mode;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::vm::console;
use crate::vm::paths::target_dir;

/// How many of the console's last lines a failure's text shows.
const CONSOLE_LINES: usize = 30;

/// What every guest's console says, and what looks like a cause to who has not seen it before: the
/// sandbox keeps the kernel from the host's terminals, and there is no disk. The kept log has it.
const USUAL: [&str; 2] = ["check_one_sigio failed", "Failed to initialize ubd device 0"];

/// What is left of a guest besides the facts.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The release of the kernel that ran; of one that did not come up, which it was.
    pub(crate) kernel: Option<String>,
    /// The body's output.
    pub(crate) output: Output,
    /// What the test's process wrote outside the body, if it never came to it.
    pub(crate) harness: Output,
    /// The console's end, as text.
    pub(crate) console: String,
    /// The console's whole log, as far as it was kept.
    pub(crate) console_log: Option<fs::File>,
    /// Where a test that hung was in the guest's kernel.
    pub(crate) kernel_stacks: Option<String>,
    pub(crate) notes: Vec<String>,
    /// Where all of it is kept.
    pub(crate) kept: Option<PathBuf>,
}

/// A failure's text: the reason first, then the evidence.
pub(crate) fn text(reason: &str, evidence: &Evidence, with_output: bool) -> String {
    let mut text = format!("{reason}\n");
    for note in &evidence.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if with_output && !evidence.output.is_empty() {
        text.push_str("\n---- output of the test ----\n");
        text.push_str(&escaped(&evidence.output.joined()));
        end_line(&mut text);
    }
    if !evidence.harness.is_empty() {
        text.push_str("\n---- output of the test's process ----\n");
        text.push_str(&escaped(&evidence.harness.joined()));
        end_line(&mut text);
    }
    if let Some(stack) = evidence.kernel_stacks.as_deref().filter(|stacks| !stacks.is_empty()) {
        text.push_str("\n---- where the test was, in the guest's kernel ----\n");
        text.push_str(stack.trim());
        end_line(&mut text);
    }
    let lines: Vec<&str> = evidence
        .console
        .lines()
        .filter(|line| !USUAL.iter().any(|usual| line.contains(usual)))
        .collect();
    if !lines.is_empty() {
        text.push_str("\n---- last lines of the guest's console ----\n");
        for line in &lines[lines.len().saturating_sub(CONSOLE_LINES)..] {
            let _ = writeln!(text, "{line}");
        }
    }
    if let Some(kept) = &evidence.kept {
        let _ = writeln!(text, "\nrun directory: {}", kept.display());
    }
    if let Some(kernel) = &evidence.kernel {
        let _ = writeln!(text, "guest kernel: {kernel}");
    }
    text
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// Bytes as text that loses nothing: what is no UTF-8 comes as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn end_line(text: &mut String) {
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

/// Passes a body's output on so that libtest captures it as it would the test's own.
#[derive(Default)]
pub(crate) struct Captured {
    /// Bytes of each stream that may be the beginning of a character: output comes in pieces.
    held: [Vec<u8>; 2],
}

impl Captured {
    pub(crate) fn print(&mut self, stream: Stream, data: &[u8]) {
        let held = &mut self.held[usize::from(stream == Stream::Stderr)];
        held.extend_from_slice(data);
        let rest = held.split_off(held.len() - unfinished(held));
        let text = escaped(&std::mem::replace(held, rest));
        print_text(stream, &text);
    }

    /// Prints what was never completed.
    pub(crate) fn finish(&mut self) {
        for (stream, held) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&mut self.held) {
            print_text(stream, &escaped(&std::mem::take(held)));
        }
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "libtest captures these macros only")]
fn print_text(stream: Stream, text: &str) {
    match stream {
        Stream::Stderr => eprint!("{text}"),
        Stream::Stdout | Stream::Harness => print!("{text}"),
    }
}

/// How many bytes at the end are the beginning of a character whose rest may come.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        Ok(_) | Err(_) => 0,
    }
}

/// Passes a body's output on as the bytes it is.
pub(crate) fn write_through(stream: Stream, data: &[u8]) {
    // A closed standard stream is the caller's wish.
    let _ = match stream {
        Stream::Stderr => std::io::stderr().write_all(data),
        Stream::Stdout | Stream::Harness => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(data).and_then(|()| stdout.flush())
        }
    };
}

/// Prints a failure's text so that libtest captures it.
#[expect(clippy::print_stderr, reason = "libtest captures this macro only")]
pub(crate) fn print_failure(text: &str) {
    eprintln!("{text}");
}

/// Says something past any capture: what must be seen also when the test passes.
pub(crate) fn announce(text: &str) {
    // One write, so that lines of several tests do not mix.
    let _ = std::io::stderr().write_all(format!("uml-test: {text}\n").as_bytes());
}

/// Says once that the host's files are not protected.
pub(crate) fn warn_unprotected(protection: &Protection, wanted: Sandbox) {
    static ONCE: Once = Once::new();
    if wanted == Sandbox::Auto && protection.landlock_abi == 0 {
        ONCE.call_once(|| {
            announce(
                "the host's kernel has no Landlock (or has it switched off): hostfs is mounted \
                 read-only in guests, but root there could mount it writable and reach what this \
                 user can write; UML_TEST_SANDBOX=require makes this an error",
            );
        });
    }
}

/// Says once that seccomp was asked for and the kernel does not know it.
pub(crate) fn warn_traps(release: &str, wanted: Traps) {
    static ONCE: Once = Once::new();
    if let Some(warning) = traps_warning(release, wanted) {
        ONCE.call_once(|| announce(&warning));
    }
}

fn traps_warning(release: &str, wanted: Traps) -> Option<String> {
    (wanted == Traps::Seccomp && !has_seccomp_mode(release)).then(|| {
        format!(
            "`traps` (UML_TEST_TRAPS) is `seccomp`, which Linux has from 6.16 on; the guest's kernel is {release} \
             and uses ptrace, at half the speed: choose a newer kernel (UML_TEST_KERNEL), or `auto`"
        )
    })
}

/// Keeps the evidence of a run in a directory of its own, the newest `limit` of them.
pub(crate) fn keep(case: &TestCase, outcome: &Outcome, evidence: &mut Evidence, limit: usize) {
    let Some(base) = kept_runs_dir().filter(|_| limit > 0) else { return };
    let name = format!("{}-{}", file_name(&case.name()), unique());
    let dir = base.join(name);
    match write_run(&dir, outcome, evidence) {
        Ok(()) => {
            evidence.kept = Some(dir);
            prune(&base, limit);
        }
        Err(error) => {
            let _ = fs::remove_dir_all(&dir);
            evidence.notes.push(format!(
                "the run directory could not be kept in {}: {error}",
                base.display()
            ));
        }
    }
}

fn write_run(dir: &Path, outcome: &Outcome, evidence: &Evidence) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    for (name, wanted) in [("stdout", Stream::Stdout), ("stderr", Stream::Stderr)] {
        fs::write(dir.join(name), evidence.output.of(wanted))?;
    }
    fs::write(dir.join("harness"), evidence.harness.joined())?;
    match &evidence.console_log {
        Some(log) => console::copy_log(log, &dir.join("console.log"))?,
        None => fs::write(dir.join("console.log"), &evidence.console)?,
    }
    fs::write(dir.join("outcome.txt"), text(&outcome.to_string(), evidence, false))
}

/// Beside what cargo builds, so that it goes with `cargo clean`; for an executable that lies
/// elsewhere, in the cache directory.
fn kept_runs_dir() -> Option<PathBuf> {
    let executable = std::env::current_exe().ok()?;
    match target_dir(&executable) {
        Some(target) => Some(target.join("uml-test")),
        None => Some(cache::dir()?.join("runs")),
    }
}

/// Removes the oldest run directories beyond `limit`.
fn prune(base: &Path, limit: usize) {
    let Ok(entries) = fs::read_dir(base) else { return };
    let mut runs: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    runs.sort();
    for (_, path) in &runs[..runs.len().saturating_sub(limit)] {
        // Another process may be doing the same.
        let _ = fs::remove_dir_all(path);
    }
}

fn file_name(test: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    test.replace("::", "-").chars().map(plain).take(100).collect()
}

fn unique() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:09}-{}", now.as_secs(), now.subsec_nanos(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(pieces: &[(Stream, &[u8])]) -> Output {
        let mut output = Output::default();
        for (stream, data) in pieces {
            output.push(*stream, data.to_vec());
        }
        output
    }

    #[test]
    fn the_reason_comes_first_and_the_evidence_after_it() {
        let evidence = Evidence {
            kernel: Some("7.2.0".into()),
            output: output(&[(Stream::Stdout, b"one\xff"), (Stream::Stderr, b"two")]),
            console: (0..100).map(|line| format!("line {line}\n")).collect(),
            kept: Some("/target/uml-test/x".into()),
            ..Evidence::default()
        };
        let text = text("panicked: boom", &evidence, true);
        let expected = "panicked: boom\n\n---- output of the test ----\none\\xfftwo\n\n\
                        ---- last lines of the guest's console ----\nline 70\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.ends_with("line 99\n\nrun directory: /target/uml-test/x\nguest kernel: 7.2.0\n")
        );
    }

    #[test]
    fn seccomp_that_a_kernel_does_not_know_is_told() {
        let warning = traps_warning("6.12.95", Traps::Seccomp).unwrap();
        for part in ["UML_TEST_TRAPS", "from 6.16 on", "kernel is 6.12.95 and uses ptrace"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert_eq!(traps_warning("6.16.0-rc1", Traps::Seccomp), None);
        assert_eq!(traps_warning("6.12.95", Traps::Auto), None);
    }

    #[test]
    fn a_character_that_comes_in_pieces_is_one() {
        assert_eq!(unfinished("aé".as_bytes()), 0);
        assert_eq!(unfinished(b"a\xc3"), 1);
        assert_eq!(unfinished(b"\xff\xe2\x82"), 2);
        assert_eq!(unfinished(b"\xff"), 0, "no beginning of anything");
        assert_eq!(unfinished(&[0xff; 1 << 20]), 0);
        let evidence = Evidence {
            output: output(&[(Stream::Stdout, b"\xe2\x82"), (Stream::Stdout, b"\xac")]),
            ..Evidence::default()
        };
        assert!(text("", &evidence, true).contains("----\n€\n"));
    }

    #[test]
    fn only_the_newest_runs_are_kept() {
        let base = std::env::temp_dir().join(format!("uml-test-prune-{}", std::process::id()));
        for age in 0..5u64 {
            let dir = base.join(format!("run{age}"));
            fs::create_dir_all(&dir).unwrap();
            let then = SystemTime::now() - std::time::Duration::from_secs(age * 60);
            fs::File::open(&dir).unwrap().set_modified(then).unwrap();
        }
        prune(&base, 2);
        let mut left: Vec<_> =
            fs::read_dir(&base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let _ = fs::remove_dir_all(&base);
        assert_eq!(left, ["run0", "run1"]);
    }
}
