//! What a test binary's output says beside its exit status: which tests skipped themselves, and where tests panicked.

use std::collections::BTreeSet;

use anyhow::Context;
use regex::{Regex, RegexBuilder};
use uml_test::OutputStream;

use super::options::TestOptions;

/// How tests say that they skip themselves, in any case of letters. The word alone is not enough, as it is in many a
/// program's honest output, and neither is a lack. What is in braces stands in [`WORDS`].
const IDIOMS: [&str; 20] = [
    // The word with nothing else, or as a label of more than a name. Not `skipped: 0` or `skipped: None`.
    r"^\W*skipp(ing|ed)[\s.!]*$",
    r"^\W*(skipping:|\[skip(ped)?\])\s*[^\s\d]\S*\s+\S",
    r"^\W*(?-i:SKIP(PED)?(:\s*[^\s\d]|[\])]|\s+[a-z/]|\W*$))",
    r"^\W*((?-i:Skipped):\s+[a-z/]|skipped:\s+[a-z/][^\s,]*\s+[a-z])",
    // Said of a test. Not of a number of tests.
    r"{skip}\W+([^\W\d].*)?\btests?(\b|_)",
    r"^\W*(this |the )?test( \S+)? (is |was )?skipped\b",
    r"\b(ignoring|not running|bailing out of|aborting) (this |the )?test\b",
    // With a privilege, or apart from it with something else that lacks.
    r"{skip}.*{privilege}",
    r"{privilege}.*{skip}",
    r"{skip}.*([,;:.]\s|\(|\s[–—-]\s).*{lack}",
    r"{lack}.*[,;:.(–—-].*{skip}",
    // The lack of a privilege, which root has: not `requires root certificates`, nor `needs root: true`.
    r"{requires} (the |an? )?(cap_[a-z_]+|{rights}|privileged (container|mode|user))\b",
    r#"{requires} (root|sudo|super-?user|privileges)(\W*$|["'`,.;!?)]|: \S+ \S| (to|for|and|can run|user)\b| or (be|have|sudo|cap_))"#,
    r"(^\W*root|\bcap_[a-z_]+|\b{rights})( is| are)? (required|needed)\b",
    r"^\W*sudo( is)? (required|needed)(\W*$|[,.;:!?)])",
    r"\b(missing|lacks?|lacking)( the)?( capabilit(y|ies))?:? cap_[a-z_]+",
    r"\b(can't|can ?not|unable to) (be )?(run|test)\b.*\bwithout (root|sudo|privileges)\b",
    r"\bnot (run|running|executing) as root\b",
    r"(\bnot?|n't have) root\W+returning\b",
    r"^\W*(not root|(insufficient|not enough) privileges?)\W*$",
];

/// What the words in braces stand for.
const WORDS: [(&str, &str); 5] = [
    // No option `--skip`, and no method.
    ("{skip}", r"(^|[^\w.-])skip(s|ped|ping)?\b"),
    (
        "{privilege}",
        r"\b(not permitted|permission denied|(un)?privileged?|privileges|sudo|cap_[a-z_]+|e(perm|acces|nosys|notsup|opnotsupp)|e?uid != 0|(not|non-?|no|as|be|without|requires?|needs?) ?(root|super-?user)|root (is )?(required|needed))\b",
    ),
    (
        "{lack}",
        r"\b(not (supported|available|found|installed|mounted|present|enabled)|unsupported|unavailable|no such|no /\S+|no \S+ support|does(n't| not) (support|exist)|too old|missing(\W*$|[,;:.])|kernel (version|v?\d)|requires?|needs?|lacks?|capabilit(y|ies)|permissions?)",
    ),
    ("{rights}", "(root|elevated|super-?user) (privileges?|permissions?|rights|access)"),
    (
        "{requires}",
        r"\b((requires?|needs?|must|only)( to)?( be)?( runs?| works?)?( this| it)?( as| with)?|run( this| it| the tests?)? (as|with))",
    ),
];

/// The idioms as one pattern.
fn usual() -> String {
    let whole =
        |pattern: String, (word, stands_for): &(&str, &str)| pattern.replace(word, stands_for);
    WORDS.iter().fold(IDIOMS.join("|"), whole)
}

/// What a line of libtest's JSON has that says the same as `ignored, requires root`.
const IGNORED: [&str; 3] = [r#"{ "type": "test", "#, r#""event": "ignored""#, r#""name": ""#];

/// The longest part of a line that is looked at, in bytes.
const LONGEST: usize = 4 << 10;

/// How many lines and panics are kept; there is no end to what a test can print.
const MOST: usize = 50;

/// How many names of failed tests are kept: more than a binary has, but for one that makes them up.
const MOST_TESTS: usize = 10_000;

/// Looks at output line by line, while it passes.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    skips: Option<Regex>,
    test_line: Regex,
    panic_line: Regex,
    escapes: Regex,
    streams: [Stream; 2],
    found: Found,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Lines that show a skip, the first of them.
    pub(crate) skips: Vec<String>,
    pub(crate) panics: Vec<Panic>,
    /// Tests that libtest says have failed.
    pub(crate) failed: BTreeSet<String>,
}

impl Found {
    fn add_failed(&mut self, test: &str) {
        if self.failed.len() < MOST_TESTS {
            self.failed.insert(test.to_owned());
        }
    }

    /// The skip that makes a success none, if skips are denied.
    pub(crate) fn denied(&self, options: &TestOptions) -> Option<&str> {
        options.deny_skips.as_ref().and(self.skips.first()).map(String::as_str)
    }

    /// The panic that a test failed by: the last of its own thread, else the last at all. One before it may have been
    /// caught, or expected of another thread.
    pub(crate) fn panic_of(&self, test: &str) -> Option<&Panic> {
        let own = self.panics.iter().rfind(|panic| panic.thread == test);
        own.or_else(|| self.panics.last())
    }
}

/// A panic, as the standard library's hook reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    /// The thread's name: under libtest the test's.
    pub(crate) thread: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// The first line of its message.
    pub(crate) message: String,
}

#[derive(Debug, Clone, Default)]
struct Stream {
    line: Vec<u8>,
    /// Whether the last line began a panic's report.
    is_panicking: bool,
    /// Whether libtest's list of failed tests is under way.
    is_listing: bool,
}

impl Watch {
    /// With a pattern for skips, if they are to be found; an empty one stands for the usual phrases.
    pub(crate) fn new(skips: Option<&str>) -> anyhow::Result<Self> {
        let skips = skips
            .map(|pattern| {
                let pattern = if pattern.is_empty() { usual() } else { pattern.to_owned() };
                RegexBuilder::new(&pattern)
                    .case_insensitive(true)
                    .build()
                    .with_context(|| format!("--deny-skips={pattern}"))
            })
            .transpose()?;
        Ok(Watch {
            skips,
            test_line: Regex::new(r"^test (.+?)(?: - should panic)? \.\.\. ?(.*)$")?,
            panic_line: Regex::new(r"^thread '(.*)'(?: \(\d+\))? panicked at (.+?):(\d+):(\d+):$")?,
            escapes: Regex::new("\x1b\\[[0-9;]*[A-Za-z]")?,
            streams: Default::default(),
            found: Found::default(),
        })
    }

    /// Whether both streams may come as one: a skip is looked for in whole lines, which both together may tear.
    pub(crate) fn may_join_streams(&self) -> bool {
        self.skips.is_none()
    }

    /// Takes a piece of output.
    pub(crate) fn see(&mut self, stream: OutputStream, data: &[u8]) {
        let at = stream as usize;
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let line = &mut self.streams[at].line;
            line.extend(piece.iter().take(LONGEST.saturating_sub(line.len())));
            if piece.ends_with(b"\n") {
                self.end_line(at);
            }
        }
    }

    /// What was found, a last unfinished line included.
    pub(crate) fn finish(&mut self) -> Found {
        for at in 0..self.streams.len() {
            self.end_line(at);
        }
        std::mem::take(&mut self.found)
    }

    fn end_line(&mut self, at: usize) {
        let bytes = std::mem::take(&mut self.streams[at].line);
        let text = String::from_utf8_lossy(&bytes);
        let line = self.escapes.replace_all(text.trim_end(), "");
        // A test that is not captured begins to write behind its name, which is no word of its own.
        let said = match self.test_line.captures(&line) {
            Some(captures) => {
                let said = captures.get(2).map_or("", |said| said.as_str());
                if said == "FAILED" {
                    // libtest-mimic pads the names.
                    self.found.add_failed(captures[1].trim_end());
                }
                // libtest's own word, and behind it the reason that an attribute gives.
                let is_ignored = said == "ignored" || said.starts_with("ignored, ");
                if is_ignored { "" } else { said }
            }
            None => &line,
        };
        // The same in libtest's JSON.
        let said = if IGNORED.iter().all(|part| line.contains(part)) { "" } else { said };
        // Where a test is not captured, the word is on a line of its own; but all are listed at the end.
        let listed = line.strip_prefix("    ").filter(|name| !name.contains(' '));
        match (self.streams[at].is_listing, listed) {
            (true, Some(name)) => self.found.add_failed(name),
            _ => self.streams[at].is_listing = line == "failures:",
        }
        if std::mem::take(&mut self.streams[at].is_panicking)
            && let Some(panic) = self.found.panics.last_mut()
        {
            panic.message = said.to_owned();
        }
        if let Some(captures) = self.panic_line.captures(said)
            && let (Ok(line), Ok(column)) = (captures[3].parse(), captures[4].parse())
            && self.found.panics.len() < MOST
        {
            let (thread, file) = (captures[1].to_owned(), captures[2].to_owned());
            let message = String::new();
            self.found.panics.push(Panic { thread, file, line, column, message });
            self.streams[at].is_panicking = true;
        }
        if self.skips.as_ref().is_some_and(|skips| skips.is_match(said))
            && self.found.skips.len() < MOST
        {
            self.found.skips.push(said.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: Option<&str>, output: &str) -> Found {
        let mut watch = Watch::new(pattern).unwrap();
        // In pieces that are no lines.
        for piece in output.as_bytes().chunks(7) {
            watch.see(OutputStream::Stdout, piece);
            watch.see(OutputStream::Stderr, b"");
        }
        watch.finish()
    }

    #[test]
    fn idioms_of_real_crates_are_known() {
        for said in [
            "test_mount requires root privileges. Skipping test.", // nix
            "test_x requires capability CAP_SYS_ADMIN. Skipping test.",
            "INFO: skipping storage::mounts which needs root", // kata-containers
            "test skipped, requires root",
            "skipping: requires root",
            "Skipping test_af_alg, kernel module not available",
            "Skipping test_mount_tmpfs",
            "Skipping this test in Actions",
            "Test requires root, skipping",
            "SKIP: not supported by this kernel",
            "SKIP: no /dev/kvm",
            "[SKIP] no netns",
            "SKIPPED mounts_a_disk: no DISK in the environment",
            "Skipping: Operation not permitted",
            "skipping: `node` is not available on PATH",
            "SKIPPED: EPERM",
            "skipped: fixtures/big not present",
            "skipped: docker not running",
            "Skipped: set DATABASE_URL",
            "Skipped: nightly",
            "Skipping...",
            "mount: skipping, EACCES",
            "EPERM: skipping",
            "ENOSYS, skipping",
            "Operation not permitted; skipping",
            "/dev/fuse not found, skipping",
            "not privileged, skipping",
            "skipping because not root",
            "kernel too old, skipping",
            "Skipping io_uring: kernel 4.19 too old",
            "overlayfs is not supported here; skipping",
            "Skipping containment replay: Z3 is unavailable",
            "skip fonts: a.woff missing",
            "test skipped",
            "this test was skipped",
            "ignoring this test: no /dev/kvm",
            "test mount::binds ... skipped, needs CAP_SYS_ADMIN",
            "\u{1b}[33mskipping test\u{1b}[0m",
            "This test must be run as root",
            "You must be root to run this",
            "Please run as root",
            "warning: not running as root, nothing is tested",
            "needs sudo",
            "root privileges required",
            "Root required",
            "CAP_NET_ADMIN required",
            "requires the CAP_NET_ADMIN capability",
            "requires elevated privileges",
            "insufficient privileges",
            "This test only works as root",
            "only root can run this test",
            "can't run without root",
            "Unable to run test without root",
            "don't have root, returning",
            "not superuser, skipping",
            "uid != 0, skipping",
            "not enough privileges",
            "requires privileges",
            "requires privileged container",
            "requires root or CAP_NET_ADMIN",
            "needs root: mounts a disk",
            "[skip] requires netns",
            "Missing capability: CAP_SYS_ADMIN",
            "cgroup v2 not mounted, skipping",
            "kernel 5.4, skipping",
        ] {
            assert_eq!(found(Some(""), said).skips.len(), 1, "{said}");
        }
        for said in [
            "test skips_whitespace_needs_root ... ok",
            "test requires_root ... FAILED",
            "test a ... ignored, requires root",
            r#"{ "type": "test", "event": "ignored", "name": "a", "message": "requires root" }"#,
            "test src/kernel.rs - skip (line 3) ... ok",
            "skipping 3 bytes",
            "3 bytes skipped:",
            "line 3: skipped",
            "processed 10, skipped 0",
            "    skipped: 0,",
            "    skip: Some(10),",
            "skipped: []",
            "skipped: none",
            "skipped: false, failed: true",
            "0 tests skipped",
            "skipped 4 tests",
            "skipped: 4 tests",
            "Skipping: foo.rs",
            "[skip] foo.rs",
            "parse error: kernel, skipping",
            "Running `cargo test -- --skip test_kmod`",
            "lines.skip(3) // of the test",
            "skipping whitespace",
            "skipping root element",
            "skipping unsupported extension",
            "skipping kernel 5.4",
            "skipping capability negotiation",
            "Skipping entry a because it already exists",
            "Skipping bad row in chunk 1: bad",
            "missing field x, skipping",
            "frame too small, skipping",
            "/a is not a directory, skipping",
            "the root of the tree",
            "requires root certificate",
            "needs root hash",
            "node 5 is not root",
            "document root required",
            "field `root` is required",
            "needs root: true",
            "path must be root or relative",
            "sudo is required for deployment",
            "only root can read this file",
            "Error: Permission denied (os error 13)",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
        ] {
            assert_eq!(found(Some(""), said).skips, [] as [&str; 0], "{said}");
        }
        assert_eq!(found(None, "skipping test").skips.len(), 0);
        assert_eq!(found(Some("^n/a"), "N/A here\nskipping test").skips, ["N/A here"]);
        assert!(Watch::new(Some("(")).is_err());
    }

    #[test]
    fn panics_have_a_place_and_a_message() {
        let found = found(
            None,
            "test a ... \nthread 'a::b' (17) panicked at src/lib.rs:7:9:\nassertion failed: x\nnote: y\n\
             test a::b - should panic ... FAILED\ntest c ... ok\ntest padded    ... FAILED\n\
             thread 'main' panicked at /x/y:z.rs:1:2:\n    last\n\nfailures:\n    d::e\n    f\n\n    g",
        );
        let places: Vec<_> = found
            .panics
            .iter()
            .map(|panic| (&*panic.thread, &*panic.file, panic.line, panic.column, &*panic.message))
            .collect();
        assert_eq!(
            places,
            [
                ("a::b", "src/lib.rs", 7, 9, "assertion failed: x"),
                ("main", "/x/y:z.rs", 1, 2, "    last")
            ]
        );
        assert_eq!(found.failed.into_iter().collect::<Vec<_>>(), ["a::b", "d::e", "f", "padded"]);
    }

    #[test]
    fn output_without_end_is_not_kept() {
        let mut watch = Watch::new(Some("x")).unwrap();
        for _ in 0..100 {
            watch.see(OutputStream::Stdout, &[b'x'; LONGEST]);
        }
        assert!(watch.streams[0].line.len() <= LONGEST);
        watch.see(OutputStream::Stdout, &b"x\n".repeat(10 * MOST));
        assert_eq!(watch.finish().skips.len(), MOST);
        let names: String =
            (0..2 * MOST_TESTS).map(|number| format!("test t{number} ... FAILED\n")).collect();
        watch.see(OutputStream::Stdout, names.as_bytes());
        assert_eq!(watch.finish().failed.len(), MOST_TESTS);
    }
}
