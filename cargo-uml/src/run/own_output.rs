//! A test's own output, told from what its harness prints around it: libtest or libtest-mimic, that runs this test
//! alone and does not capture it.
//!
//! A harness's lines are known by their order. Its last ones may be the test's as well, which may print what a harness
//! prints: they are held back until the end of all output, or another line, tells.

use uml_test::OutputStream;

use super::libtest::Verdict;

/// The longest line that is looked at as a whole, in bytes.
const LONGEST: usize = 16 << 10;

/// How many lines are held back at most; then they are the test's.
const MOST_HELD: usize = 1 << 10;

/// Takes whole lines, and the last one if it is not whole.
pub(crate) type Own<'o> = &'o mut dyn FnMut(OutputStream, &[u8]);

/// Takes what a test binary writes, and gives what the test itself wrote, line by line.
#[derive(Debug)]
pub(crate) struct OwnOutput {
    test: String,
    unfinished: [Vec<u8>; 2],
    place: Place,
    held: Vec<Vec<u8>>,
    verdict: Option<Verdict>,
}

/// Where in a harness's output this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before `running 1 test`.
    Start,
    /// Before `test NAME ... `.
    Running,
    /// Behind that.
    Test,
    /// Behind a line that ends as the test's result does: `ok`.
    Result,
    /// Behind `test result: …`.
    Over,
}

impl OwnOutput {
    /// Of the test that a binary calls so.
    pub(crate) fn of(test: &str) -> Self {
        OwnOutput {
            test: test.to_owned(),
            unfinished: Default::default(),
            place: Place::Start,
            held: Vec::new(),
            verdict: None,
        }
    }

    /// Takes a piece of output.
    pub(crate) fn see(&mut self, stream: OutputStream, data: &[u8], own: Own<'_>) {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let line = &mut self.unfinished[stream as usize];
            line.extend(piece);
            if line.ends_with(b"\n") || line.len() >= LONGEST {
                let line = std::mem::take(line);
                self.see_line(stream, line, own);
            }
        }
    }

    /// Ends the output; what the harness says of the test.
    pub(crate) fn finish(&mut self, own: Own<'_>) -> Option<Verdict> {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let line = std::mem::take(&mut self.unfinished[stream as usize]);
            if !line.is_empty() {
                self.see_line(stream, line, own);
            }
        }
        match self.place {
            Place::Over => {
                for line in of_the_test(&self.held) {
                    own(OutputStream::Stdout, line);
                }
            }
            Place::Start | Place::Running | Place::Test | Place::Result => self.release(own),
        }
        self.verdict.take()
    }

    fn see_line(&mut self, stream: OutputStream, line: Vec<u8>, own: Own<'_>) {
        match stream {
            OutputStream::Stderr => own(stream, &line),
            OutputStream::Stdout => self.see_on_stdout(line, own),
        }
    }

    fn see_on_stdout(&mut self, line: Vec<u8>, own: Own<'_>) {
        let text = line.trim_ascii_end();
        let verdict = Verdict::of(&String::from_utf8_lossy(text));
        let is_verdict = verdict.is_some();
        // The last of its kind: a daemon that the test started may go on talking.
        self.verdict = verdict.or(self.verdict.take());
        match self.place {
            Place::Start if text.is_empty() => {}
            Place::Start if text.starts_with(b"running 1 test") => self.place = Place::Running,
            Place::Running => match behind_name(&line, &self.test) {
                Some(said) => {
                    self.place = Place::Test;
                    if !said.is_empty() {
                        self.see_on_stdout(said.to_vec(), own);
                    }
                }
                None => own(OutputStream::Stdout, &line),
            },
            Place::Test if result_at_end(text).is_some() => {
                self.held.push(line);
                self.place = Place::Result;
            }
            Place::Start | Place::Test => own(OutputStream::Stdout, &line),
            Place::Result if self.may_be_next(text, is_verdict) => {
                self.held.push(line);
                if is_verdict {
                    self.place = Place::Over;
                }
            }
            Place::Over if text.is_empty() => self.held.push(line),
            Place::Result | Place::Over => {
                self.release(own);
                self.place = Place::Test;
                self.see_on_stdout(line, own);
            }
        }
    }

    /// Whether a harness's output may go on so: an empty line, and then its last line or all that it says of failures.
    fn may_be_next(&self, text: &[u8], is_verdict: bool) -> bool {
        match self.held.len() {
            1 => text.is_empty(),
            2 => is_verdict || text == FAILURES,
            held => held < MOST_HELD,
        }
    }

    /// What was held back is the test's.
    fn release(&mut self, own: Own<'_>) {
        for line in std::mem::take(&mut self.held) {
            own(OutputStream::Stdout, &line);
        }
    }
}

/// What stands above the failed tests' output, and above their names.
const FAILURES: &[u8] = b"failures:";

/// What is behind a test's name in the line that announces it, where it begins to write.
fn behind_name<'l>(line: &'l [u8], test: &str) -> Option<&'l [u8]> {
    let rest = line.strip_prefix(b"test ")?.strip_prefix(test.as_bytes())?;
    let rest = rest.strip_prefix(b" - should panic").unwrap_or(rest);
    rest.strip_prefix(b" ... ")
}

/// A line without a test's result at its end; with the reason, if one is given, it is none of the harness's own words.
fn result_at_end(text: &[u8]) -> Option<&[u8]> {
    if text.starts_with(b"ignored, ") || text.starts_with(b"ignored (") {
        return Some(text);
    }
    [&b"ok"[..], b"FAILED", b"ignored"].iter().find_map(|result| text.strip_suffix(*result))
}

/// Of a harness's last lines, the first of which has the test's result, what is about the test: what it wrote before
/// that without ending the line, and why it failed, where only the harness says it.
fn of_the_test(last: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    let (first, rest) =
        last.split_first().map_or((&[][..], &[][..]), |(first, rest)| (&**first, rest));
    let before = result_at_end(first.trim_ascii_end()).filter(|before| !before.is_empty());
    let is_header = |line: &Vec<u8>| line.starts_with(b"---- ");
    let begin = rest.iter().position(is_header).map_or(rest.len(), |header| header + 1);
    let is_end = |line: &Vec<u8>| line.trim_ascii_end() == FAILURES;
    let end = rest.iter().rposition(is_end).unwrap_or(begin).max(begin);
    let why =
        rest[begin..end].iter().map(|line| &**line).filter(|line| !line.trim_ascii().is_empty());
    before.into_iter().flat_map(|before| [before, &b"\n"[..]]).chain(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is the test's of this output on stdout, and the verdict.
    fn own(stdout: &str) -> (String, Option<Verdict>) {
        let mut output = OwnOutput::of("a");
        let mut all = Vec::new();
        let mut take = |_: OutputStream, line: &[u8]| all.extend(line);
        // In pieces that are no lines.
        for piece in stdout.as_bytes().chunks(5) {
            output.see(OutputStream::Stdout, piece, &mut take);
        }
        let verdict = output.finish(&mut take);
        (String::from_utf8(all).unwrap(), verdict)
    }

    const PASSED: Verdict = Verdict { passed: 1, failed: 0, ignored: 0 };
    const FAILED: Verdict = Verdict { passed: 0, failed: 1, ignored: 0 };
    const BEGIN: &str = "\nrunning 1 test\ntest a ... ";
    const END: &str =
        "\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out\n\n";
    const NO_GOOD: &str =
        "\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out\n\n";

    #[test]
    fn a_harness_has_no_part_in_it() {
        for said in ["", "x\n", "x\n\n y\n", "\n", "ok\n", "all is ok\nx\n", "ok\n\n"] {
            assert_eq!(own(&format!("{BEGIN}{said}ok{END}")), (said.to_owned(), Some(PASSED)));
        }
        assert_eq!(own(&format!("{BEGIN}no end of lineok{END}")).0, "no end of line\n");
        assert_eq!(own(&format!("built before\n{BEGIN}x\nok{END}")).0, "built before\nx\n");
        let panics = BEGIN.replace("test a", "test a - should panic");
        assert_eq!(own(&format!("{panics}x\nok{END}")).0, "x\n");
        // By its own decision, as libtest-mimic has it.
        let ignored = END.replace("1 passed", "0 passed").replace("0 ignored", "1 ignored");
        let (said, verdict) = own(&format!("{BEGIN}ignored (no disk){ignored}"));
        assert_eq!((&*said, verdict.unwrap().ignored), ("ignored (no disk)\n", 1));
    }

    #[test]
    fn why_a_test_failed_stays_where_only_its_harness_says_it() {
        let names = "failures:\n    a\n";
        let panicked = format!("{BEGIN}x\nFAILED\n\nfailures:\n\n{names}{NO_GOOD}");
        assert_eq!(own(&panicked), ("x\n".to_owned(), Some(FAILED)));
        let note = "---- a stdout ----\nnote: test did not panic as expected\n";
        let (said, verdict) =
            own(&format!("{BEGIN}FAILED\n\nfailures:\n\n{note}\n\n{names}{NO_GOOD}"));
        assert_eq!((&*said, verdict), ("note: test did not panic as expected\n", Some(FAILED)));
        let mimics = "---- a ----\nno such disk\n\n  at all\n";
        let (said, _) =
            own(&format!("{BEGIN}x\nFAILED\n\nfailures:\n\n{mimics}\n\n{names}{NO_GOOD}"));
        assert_eq!(said, "x\nno such disk\n  at all\n");
    }

    #[test]
    fn what_only_looks_like_a_harnesss_is_the_tests() {
        // One that runs tests, and shows their report.
        let inner = format!("test b ... FAILED\n\nfailures:\n    b\n{NO_GOOD}");
        assert_eq!(own(&format!("{BEGIN}{inner}ok{END}")), (inner, Some(PASSED)));
        // A daemon's words behind the end.
        let (said, verdict) = own(&format!("{BEGIN}x\nok{END}and more\n"));
        assert!(said.starts_with("x\n") && said.ends_with("and more\n"), "{said}");
        assert_eq!(verdict, Some(PASSED));
        // A process that ended in between.
        assert_eq!(own(&format!("{BEGIN}x\nok\n\n")), ("x\nok\n\n".to_owned(), None));
        assert_eq!(own(&format!("{BEGIN}x")), ("x".to_owned(), None));
        assert_eq!(own("what is it?\n"), ("what is it?\n".to_owned(), None));
    }

    #[test]
    fn output_without_end_is_not_held_back() {
        let mut output = OwnOutput::of("a");
        let mut count = 0;
        let mut take = |_: OutputStream, line: &[u8]| count += line.len();
        output.see(OutputStream::Stdout, BEGIN.as_bytes(), &mut take);
        output.see(OutputStream::Stdout, &vec![b'x'; 10 * LONGEST], &mut take);
        output.see(OutputStream::Stdout, b"\nok\n\nfailures:\n", &mut take);
        for _ in 0..10 * MOST_HELD {
            output.see(OutputStream::Stdout, b"x\n", &mut take);
        }
        assert!(output.held.len() <= MOST_HELD);
        assert!(count > 10 * LONGEST + 10 * MOST_HELD, "{count}");
    }
}
