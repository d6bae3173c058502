//! The supervisor's end of the socket to the host process.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
use uml_test_protocol::Failure;
use uml_test_protocol::codec;
use uml_test_protocol::supervision::{Boot, SupervisorEvent};

/// The largest message, in bytes; the kernel's default limit for such a socket is near 200 KiB.
const MAX_MESSAGE: usize = 256 << 10;

/// A `SOCK_SEQPACKET` socket.
pub(super) struct Socket(OwnedFd);

/// The descriptors that come with a [`Boot`].
pub(super) struct GuestFds {
    /// The guest's end of the control channel.
    pub(super) control: OwnedFd,
    /// The write end of the console.
    pub(super) console: OwnedFd,
    /// A file with the first requests, at its beginning.
    pub(super) requests: OwnedFd,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The host's one message, or `None` where the host ended before sending it.
    pub(super) fn receive_boot(&self) -> Result<Option<(Boot, GuestFds)>, Failure> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut control = nix::cmsg_space!([i32; 3]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let failed = |errno: Errno| Failure::new("receive", "the boot message", errno as i32);
        let message = loop {
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Err(Errno::EINTR) => {}
                other => break other.map_err(failed)?,
            }
        };
        let length = message.bytes;
        let mut fds = Vec::new();
        for part in message.cmsgs().map_err(failed)? {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                #[expect(unsafe_code, reason = "received descriptors are bare numbers")]
                // SAFETY: the kernel made these descriptors for us with this message.
                fds.extend(numbers.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
            }
        }
        if length == 0 {
            return Ok(None);
        }
        let boot = codec::decode(&bytes[..length])
            .map_err(|error| Failure::new(error.to_string(), "", Errno::EBADMSG as i32))?;
        match <[OwnedFd; 3]>::try_from(fds) {
            Ok([control, console, requests]) => {
                Ok(Some((boot, GuestFds { control, console, requests })))
            }
            Err(_) => Err(Failure::new("receive", "three descriptors", Errno::EBADMSG as i32)),
        }
    }

    pub(super) fn send(&self, event: &SupervisorEvent) -> Result<(), Failure> {
        let bytes = codec::encode(event).map_err(|error| Failure::new(error.to_string(), "", 0))?;
        match send(self.0.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL) {
            // The host is gone: that is noticed, and acted on, where it is waited for.
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(Failure::new("write to", "the host's socket", errno as i32)),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
