//! The agent's end of the control channel: the first serial line, raw.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::mount::MsFlags;
use nix::sys::termios::{self, SetArg};
use uml_test_protocol::frame::{Decoder, Encoder, WINDOW};
use uml_test_protocol::supervision::REQUESTS;
use uml_test_protocol::{Event, Failure, Request};

use super::mounts::mount;

/// The kernel's `ssl0`.
const DEVICE: &str = "/dev/ttyS0";

/// The control channel.
pub(super) struct Channel {
    tty: File,
    encoder: Encoder,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// Bytes read of which the host does not know yet.
    received: usize,
}

impl Channel {
    /// Opens the device and takes its name away, so that nothing in the guest happens to write
    /// to it: what looks for serial lines finds the other ones.
    pub(super) fn open() -> Result<Self, Failure> {
        if !fs::exists(DEVICE).unwrap_or(false) {
            mount("devtmpfs", "/dev", "devtmpfs", MsFlags::empty(), None)?;
        }
        let tty = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
            .open(DEVICE)
            .map_err(|e| Failure::new("open", DEVICE, e.raw_os_error().unwrap_or(0)))?;
        // The line starts cooked: it would echo, and end on control characters.
        let mut settings = termios::tcgetattr(&tty)
            .map_err(|e| Failure::new("read the settings of", DEVICE, e as i32))?;
        termios::cfmakeraw(&mut settings);
        termios::tcsetattr(&tty, SetArg::TCSANOW, &settings)
            .map_err(|e| Failure::new("set raw", DEVICE, e as i32))?;
        fs::remove_file(DEVICE)
            .map_err(|e| Failure::new("unlink", DEVICE, e.raw_os_error().unwrap_or(0)))?;
        let mut decoder = Decoder::default();
        let first = Path::new("/").join(REQUESTS);
        decoder.push(&fs::read(&first).map_err(|error| {
            Failure::new("read", first.as_os_str().as_bytes(), error.raw_os_error().unwrap_or(0))
        })?);
        let buffer = vec![0; WINDOW];
        Ok(Self { tty, encoder: Encoder::default(), decoder, buffer, received: 0 })
    }

    /// Sends an event, waiting as long as the host does not read.
    pub(super) fn send(&mut self, event: &Event) -> Result<(), Failure> {
        let frame = self.encoder.encode(event).map_err(|e| Failure::new(e.to_string(), "", 0))?;
        self.tty
            .write_all(&frame)
            .map_err(|e| Failure::new("write to", DEVICE, e.raw_os_error().unwrap_or(0)))
    }

    /// Reads once.
    pub(super) fn receive(&mut self) -> Result<(), Failure> {
        match self.tty.read(&mut self.buffer) {
            // The host closed its end: nobody is left to run anything for.
            Ok(0) => return Err(Failure::new("read from", DEVICE, libc::EPIPE)),
            Ok(length) => {
                self.decoder.push(&self.buffer[..length]);
                self.received += length;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Failure::new("read from", DEVICE, error.raw_os_error().unwrap_or(0)));
            }
        }
        // Not every time: most requests are small, and need no answer but their own.
        if self.received >= WINDOW / 3 {
            let bytes = std::mem::take(&mut self.received) as u32;
            self.send(&Event::Received { bytes })?;
        }
        Ok(())
    }

    /// The next request that is complete.
    pub(super) fn next(&mut self) -> Result<Option<Request>, Failure> {
        self.decoder.next_message().map_err(|error| Failure::new(error.to_string(), DEVICE, 0))
    }

    /// Waits until everything sent has left the guest.
    pub(super) fn drain(&self) {
        // Powering off is all that comes next; a failure here would show as a missing message.
        let _ = termios::tcdrain(&self.tty);
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tty.as_fd()
    }
}
