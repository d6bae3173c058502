//! Frames: how messages lie on the control channel's byte stream.
//!
//! ```text
//! offset  size  field
//!      0     4  "umlt"
//!      4     4  length of the payload, little-endian, at most MAX_PAYLOAD
//!      8     4  sequence number: 0, 1, 2, … in each direction
//!     12     4  CRC-32 of bytes 4..12 and the payload
//!     16     …  payload
//! ```
//! The channel is a device that root in the guest can write to. The check value and the sequence
//! number make such junk an error that names the channel, never a message.

use serde::{Serialize, de::DeserializeOwned};

use crate::codec::{self, CodecError};

/// The largest payload, in bytes. An environment and argument list of Linux's own limits fits.
pub const MAX_PAYLOAD: usize = 8 << 20;

/// How much of a stream one message carries, in bytes: the size of a pipe's buffer.
pub const CHUNK: usize = 64 << 10;

/// How many bytes the host may have on their way to the agent, which [`Event::Received`] gives back.
///
/// A tty holds 4,095 bytes for its reader, and with less than 128 bytes left in it User Mode Linux
/// stops listening to the line and never starts again (`line_throttle()` and `line_unthrottle()`
/// in `arch/um/drivers/line.c`, Linux 7.2): later requests would not be seen.
///
/// [`Event::Received`]: crate::Event::Received
pub const WINDOW: usize = 3 << 10;

const MAGIC: [u8; 4] = *b"umlt";
const HEADER: usize = 16;

/// Why bytes are no frame, or a value none's content.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Something else was written to the channel.
    #[error("expected the start of a frame, found {found:02x?}")]
    Magic {
        /// What stood there.
        found: [u8; 4],
    },
    /// The length is beyond the limit.
    #[error("a message of {length} bytes is over the limit of {MAX_PAYLOAD}")]
    TooLong {
        /// The length.
        length: usize,
    },
    /// A frame is missing or came twice.
    #[error("expected frame number {expected}, found {found}")]
    Sequence {
        /// The next number.
        expected: u32,
        /// The number found.
        found: u32,
    },
    /// The content changed on its way.
    #[error("the check value of frame number {sequence} does not fit its content")]
    Checksum {
        /// The frame's number.
        sequence: u32,
    },
    /// The payload is no message.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Turns messages into frames, in order.
#[derive(Debug, Default)]
pub struct Encoder {
    next: u32,
}

impl Encoder {
    /// The frame of a message.
    ///
    /// # Errors
    /// [`FrameError::TooLong`], which uses up no sequence number, or [`FrameError::Codec`].
    pub fn encode<T: Serialize>(&mut self, message: &T) -> Result<Vec<u8>, FrameError> {
        let payload = codec::encode(message)?;
        if payload.len() > MAX_PAYLOAD {
            return Err(FrameError::TooLong { length: payload.len() });
        }
        let mut frame = Vec::with_capacity(HEADER + payload.len());
        frame.extend_from_slice(&MAGIC);
        frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        frame.extend_from_slice(&self.next.to_le_bytes());
        frame.extend_from_slice(&checksum(&frame[4..12], &payload).to_le_bytes());
        frame.extend_from_slice(&payload);
        self.next = self.next.wrapping_add(1);
        Ok(frame)
    }
}

/// Finds messages in a byte stream. After an error the stream cannot be trusted any more and the
/// same error's kind comes again.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are already decoded.
    used: usize,
    next: u32,
}

impl Decoder {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used > 0 && (self.used == self.buffer.len() || self.used > CHUNK) {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` where more bytes are needed.
    ///
    /// # Errors
    /// Any [`FrameError`]; nothing is consumed.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let bytes = &self.buffer[self.used..];
        let start = bytes.len().min(MAGIC.len());
        if bytes[..start] != MAGIC[..start] {
            let mut found = [0; 4];
            found[..start].copy_from_slice(&bytes[..start]);
            return Err(FrameError::Magic { found });
        }
        if bytes.len() < HEADER {
            return Ok(None);
        }
        let field = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let length = field(4) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong { length });
        }
        let sequence = field(8);
        if sequence != self.next {
            return Err(FrameError::Sequence { expected: self.next, found: sequence });
        }
        let Some(payload) = bytes.get(HEADER..HEADER + length) else { return Ok(None) };
        if checksum(&bytes[4..12], payload) != field(12) {
            return Err(FrameError::Checksum { sequence });
        }
        let message = codec::decode(payload)?;
        self.used += HEADER + length;
        self.next = self.next.wrapping_add(1);
        Ok(Some(message))
    }
}

fn checksum(fields: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(fields);
    crc.update(payload);
    crc.finalize()
}
