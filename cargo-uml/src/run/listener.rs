//! All that a test and its harness write while it runs alone: the test's own output, bounded, what the harness says of it,
//! and what is found in it.

use std::collections::VecDeque;

use uml_test::OutputStream;

use super::libtest::Verdict;
use super::own_output::OwnOutput;
use super::watch::{Found, Watch};

/// How much of a test's output is kept: so many bytes of its beginning, and so many of its end.
const KEPT: usize = 1 << 20;

/// What a test's output came to.
#[derive(Default)]
pub(super) struct Said {
    /// Its own.
    pub(super) output: Vec<u8>,
    /// What its harness said last.
    pub(super) verdict: Option<Verdict>,
    pub(super) found: Found,
}

/// Takes all that a test and its harness write.
pub(super) struct Listener {
    watch: Watch,
    own: OwnOutput,
    kept: Kept,
    /// Whether the test's own output is shown at once.
    shows: bool,
}

impl Listener {
    pub(super) fn new(test: &str, watch: Watch, shows: bool) -> Self {
        Listener { watch, own: OwnOutput::of(test), kept: Kept::default(), shows }
    }

    pub(super) fn hear(&mut self, stream: OutputStream, data: &[u8]) {
        let Listener { watch, own, kept, shows } = self;
        watch.see(stream, data);
        own.see(stream, data, &mut |stream, line| kept.take(stream, line, *shows));
    }

    pub(super) fn finish(&mut self) -> Said {
        let Listener { watch, own, kept, shows } = self;
        let verdict = own.finish(&mut |stream, line| kept.take(stream, line, *shows));
        Said { output: kept.all(), verdict, found: watch.finish() }
    }
}

/// A test's output: its beginning, and its end.
#[derive(Debug, Default)]
struct Kept {
    beginning: Vec<u8>,
    end: VecDeque<u8>,
    lost: usize,
}

impl Kept {
    fn take(&mut self, stream: OutputStream, data: &[u8], shows: bool) {
        if shows {
            // Nobody is left to be told.
            let _ = stream.write_all(data);
        }
        let (first, rest) = data.split_at(data.len().min(KEPT - self.beginning.len()));
        self.beginning.extend(first);
        self.end.extend(rest);
        let more = self.end.len().saturating_sub(KEPT);
        self.end.drain(..more);
        self.lost += more;
    }

    fn all(&self) -> Vec<u8> {
        let mut all = self.beginning.clone();
        if self.lost > 0 {
            all.extend(format!("\n[{} bytes are left out here]\n", self.lost).bytes());
        }
        all.extend(&self.end);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_without_end_is_cut_in_its_middle() {
        let mut kept = Kept::default();
        for letter in [b'A', b'B', b'C'] {
            kept.take(OutputStream::Stderr, &vec![letter; KEPT], false);
        }
        let all = kept.all();
        assert!(all.starts_with(b"AA") && all.ends_with(b"CC") && !all.contains(&b'B'));
        assert!(String::from_utf8(all).unwrap().contains("[1048576 bytes are left out here]"));
    }
}
