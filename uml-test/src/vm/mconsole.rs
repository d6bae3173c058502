//! The kernel's management console, a socket in the run directory (`arch/um/drivers/mconsole.h`).
//! It answers from an interrupt, also while the guest's processes spin.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

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
    socket.set_write_timeout(Some(limit))?;
    let theirs = kernels_socket(run_dir)?;
    socket.send_to(&request, format!("/proc/self/fd/{}", theirs.as_raw_fd()))?;

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

/// The kernel's end, found without following a link: guest root can reach the run directory, and
/// put one there that leads to a socket of the host's.
fn kernels_socket(run_dir: &Path) -> io::Result<OwnedFd> {
    let dir = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(run_dir.join(UMID))?;
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(dir, "mconsole", flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_is_followed_to_a_socket_of_the_hosts() {
        let run_dir = tempfile::tempdir().unwrap();
        let host = tempfile::tempdir().unwrap();
        let host_socket = UnixDatagram::bind(host.path().join("mconsole")).unwrap();
        host_socket.set_nonblocking(true).unwrap();
        let ask = || ask(run_dir.path(), "stack 1", Duration::from_millis(200)).unwrap_err();
        let unheard =
            || host_socket.recv(&mut [0]).unwrap_err().kind() == io::ErrorKind::WouldBlock;
        let place = run_dir.path().join(UMID);
        std::os::unix::fs::symlink(host.path(), &place).unwrap();
        assert_ne!(ask().kind(), io::ErrorKind::TimedOut);
        assert!(unheard());
        std::fs::remove_file(&place).unwrap();
        std::fs::create_dir(&place).unwrap();
        std::os::unix::fs::symlink(host.path().join("mconsole"), place.join("mconsole")).unwrap();
        assert_ne!(ask().kind(), io::ErrorKind::TimedOut);
        assert!(unheard());
        // And a socket is asked.
        std::fs::remove_file(place.join("mconsole")).unwrap();
        let kernel = UnixDatagram::bind(place.join("mconsole")).unwrap();
        assert_eq!(ask().kind(), io::ErrorKind::TimedOut);
        assert_eq!(kernel.recv(&mut [0; 1024]).unwrap(), 12 + MAX_DATA);
    }
}
