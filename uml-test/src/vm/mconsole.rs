//! The kernel's management console, a socket in the run directory (`arch/um/drivers/mconsole.h`).
//! It answers from an interrupt, also while the guest's processes spin.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use super::command_line::UMID;

const MAGIC: u32 = 0xcafe_babe;
const VERSION: u32 = 2;
const MAX_DATA: usize = 512;

/// Sends a command and returns the whole answer.
///
/// # Errors
/// The socket's, `InvalidData` for an answer that is none, and `TimedOut` where the kernel does not
/// answer within `limit`. An answer that the kernel marks as an error is `Other`, with its text.
pub(super) fn ask(run_dir: &Path, command: &str, limit: Duration) -> io::Result<String> {
    let deadline = Instant::now() + limit;
    // Replies go to the sender's address. The sandbox keeps the kernel from answering outside of
    // its run directory.
    let address = run_dir.join("ask");
    let _ = std::fs::remove_file(&address); // of the question before
    let socket = UnixDatagram::bind(&address)?;
    let mut request = Vec::with_capacity(12 + MAX_DATA);
    for field in [MAGIC, VERSION, command.len().min(MAX_DATA) as u32] {
        request.extend_from_slice(&field.to_ne_bytes());
    }
    request.extend_from_slice(&command.as_bytes()[..command.len().min(MAX_DATA)]);
    request.resize(12 + MAX_DATA, 0);
    socket.send_to(&request, run_dir.join(UMID).join("mconsole"))?;

    let mut answer = String::new();
    let mut reply = [0; 12 + MAX_DATA];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut reply) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue, // the deadline
            Err(error) => return Err(error),
        };
        let field = |at: usize| {
            u32::from_ne_bytes([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]])
        };
        let data = reply.get(12..length.min(12 + field(8) as usize));
        let data = data.ok_or(io::ErrorKind::InvalidData)?;
        answer.push_str(String::from_utf8_lossy(data).trim_end_matches('\0'));
        if field(4) == 0 {
            return if field(0) == 0 { Ok(answer) } else { Err(io::Error::other(answer)) };
        }
    }
}
