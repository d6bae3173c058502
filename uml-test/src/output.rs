//! A test's output as evidence: its beginning and its end, in the order of arrival. What a test
//! that prints without end leaves is bounded so; what goes through to the harness is not this.

use std::collections::VecDeque;

use uml_test_protocol::Stream;

/// How many bytes of the beginning are kept, and how many of the end.
const HALF: usize = 8 << 20;

/// Pieces of one stream are joined up to this size: one byte alone takes as much room as fifty.
const PIECE: usize = 64 << 10;

/// What a test wrote.
#[derive(Debug, Default)]
pub(crate) struct Output {
    head: Vec<Piece>,
    head_size: usize,
    tail: VecDeque<Piece>,
    tail_size: usize,
    left_out: u64,
}

#[derive(Debug)]
struct Piece {
    stream: Stream,
    data: Vec<u8>,
}

impl Output {
    /// Adds what came.
    pub(crate) fn push(&mut self, stream: Stream, data: Vec<u8>) {
        self.push_within(HALF, stream, data);
    }

    fn push_within(&mut self, half: usize, stream: Stream, data: Vec<u8>) {
        let size = data.len();
        if self.tail.is_empty() && self.head_size + size <= half {
            self.head_size += size;
            match joinable(self.head.last_mut(), stream) {
                Some(last) => last.extend(data),
                None => self.head.push(Piece { stream, data }),
            }
            return;
        }
        self.tail_size += size;
        match joinable(self.tail.back_mut(), stream) {
            Some(last) => last.extend(data),
            None => self.tail.push_back(Piece { stream, data }),
        }
        while let Some(first) = self.tail.front()
            && self.tail_size - first.data.len() >= half
        {
            self.tail_size -= first.data.len();
            self.left_out += first.data.len() as u64;
            self.tail.pop_front();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    /// Both streams, in the order of arrival.
    pub(crate) fn joined(&self) -> Vec<u8> {
        self.collect(|_| true)
    }

    /// What came on one of them.
    pub(crate) fn of(&self, wanted: Stream) -> Vec<u8> {
        self.collect(|stream| stream == wanted)
    }

    fn collect(&self, wanted: impl Fn(Stream) -> bool) -> Vec<u8> {
        let part = |pieces: &mut dyn Iterator<Item = &Piece>| -> Vec<u8> {
            let wanted = pieces.filter(|piece| wanted(piece.stream));
            wanted.map(|piece| &*piece.data).collect::<Vec<_>>().concat()
        };
        let mut all = part(&mut self.head.iter());
        if self.left_out > 0 {
            let note = format!(
                "\n[uml-test: {} bytes of output are left out here; with --nocapture all of it is \
                 shown]\n",
                self.left_out
            );
            all.extend(note.as_bytes());
        }
        all.extend(part(&mut self.tail.iter()));
        all
    }
}

/// The piece that more of a stream can be added to.
fn joinable(last: Option<&mut Piece>, stream: Stream) -> Option<&mut Vec<u8>> {
    last.filter(|last| last.stream == stream && last.data.len() < PIECE).map(|last| &mut last.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_whole_and_in_order() {
        let mut output = Output::default();
        assert!(output.is_empty());
        for byte in 0..=u8::MAX {
            let stream = if byte % 3 == 0 { Stream::Stderr } else { Stream::Stdout };
            output.push_within(128, stream, vec![byte]);
        }
        assert_eq!(output.joined(), (0..=u8::MAX).collect::<Vec<_>>());
        let expected: Vec<_> = (0..=u8::MAX).filter(|byte| byte % 3 == 0).collect();
        assert_eq!(output.of(Stream::Stderr), expected);
    }

    #[test]
    fn beyond_its_bounds_beginning_and_end_stay_and_the_rest_is_counted() {
        let mut output = Output::default();
        for block in 0..1000u32 {
            output.push(Stream::Stdout, format!("{block:08}").repeat(8 << 10).into_bytes());
        }
        let all = output.joined();
        let text = String::from_utf8(all).unwrap();
        let (head, rest) = text.split_once("\n[uml-test: ").unwrap();
        let (left_out, rest) = rest.split_once(" bytes").unwrap();
        let (_, tail) = rest.split_once("]\n").unwrap();
        assert!(head.starts_with("00000000") && tail.ends_with("00000999"));
        let left_out: usize = left_out.parse().unwrap();
        assert_eq!(head.len() + left_out + tail.len(), 1000 * (64 << 10));
        assert_eq!(head.len(), HALF);
        assert!((HALF..HALF + 2 * PIECE).contains(&tail.len()));
    }

    #[test]
    fn tiny_writes_do_not_take_many_times_their_size() {
        let mut output = Output::default();
        for _ in 0..1_000_000 {
            output.push(Stream::Stdout, vec![b'x']);
        }
        assert!(output.head.len() <= 1_000_000 / PIECE + 1);
        assert_eq!(output.joined().len(), 1_000_000);
    }
}
