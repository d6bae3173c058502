//! The kernel process, under its supervisor.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, IoSlice, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, Shutdown, SockFlag, SockType, recv, sendmsg, shutdown,
    socketpair,
};
use nix::unistd::Pid;
use uml_test_protocol::codec;
use uml_test_protocol::supervision::{Boot, MODE, Protection, SupervisorEvent};

use crate::artifacts::AGENT;
use crate::error::Error;
use crate::outcome::KernelExit;

/// How long a supervisor may take to start a kernel, before it is given up. That is all a matter of
/// milliseconds, but on a host that is loaded many times over.
const START: Duration = Duration::from_secs(30);

/// How long a supervisor may take to clean up, before it is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A kernel process under its supervisor. Dropping it kills the kernel, has the run directory
/// removed, and waits for both.
pub(crate) struct KernelProcess {
    supervisor: Child,
    run_dir: PathBuf,
    socket: OwnedFd,
    protection: Protection,
    ended: Option<Ended>,
    pid: i32,
    /// The guest's memory file, which has no name any more.
    memory: Option<File>,
}

/// The kernel's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) exit: KernelExit,
    pub(crate) disk_full: bool,
}

/// The host's ends of what a guest is connected to.
pub(crate) struct Connections {
    pub(crate) control: UnixStream,
    pub(crate) console: io::PipeReader,
}

impl KernelProcess {
    /// Starts a supervisor, and has it boot.
    ///
    /// # Errors
    /// [`Error::Supervisor`], [`Error::Start`], [`Error::Unprotected`].
    pub(crate) fn start(boot: &Boot, requests: &[u8]) -> Result<(Self, Connections), Error> {
        let failed = |operation: &'static str| {
            move |source: io::Error| Error::Supervisor { operation: operation.to_owned(), source }
        };
        let (socket, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| failed("make a socket")(errno.into()))?;
        let (control, guest_control) = UnixStream::pair().map_err(failed("make a socket"))?;
        let (console, guest_console) = io::pipe().map_err(failed("make a pipe"))?;

        let requests = memory_file(c"uml-test-requests", MFdFlags::empty(), requests)
            .map_err(failed("put the first requests into memory"))?;
        let run_dir = PathBuf::from(OsStr::from_bytes(&boot.run_dir));
        let program = program(run_dir.parent().unwrap_or(&run_dir))?;
        let supervisor = supervisor(program, theirs)?;
        let protection = Protection::default();
        let (ended, pid, memory) = (None, 0, None);
        let mut process = Self { supervisor, run_dir, socket, protection, ended, pid, memory };

        let message = codec::encode(boot)
            .map_err(|error| failed("encode the boot message")(io::Error::other(error)))?;
        let fds = [guest_control.as_raw_fd(), guest_console.as_raw_fd(), requests.as_raw_fd()];
        sendmsg::<()>(
            process.socket.as_raw_fd(),
            &[IoSlice::new(&message)],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(|errno| failed("send the boot message")(errno.into()))?;
        // From here on the guest's ends are the guest's only, so that their closing shows.
        drop((guest_control, guest_console));

        match process.next_event(Instant::now() + START) {
            Ok(Some(SupervisorEvent::Started { pid, protection })) => {
                process.pid = pid;
                process.protection = protection;
                Ok((process, Connections { control, console }))
            }
            Ok(Some(SupervisorEvent::Failed(failure))) => Err(Error::Start(failure)),
            Ok(Some(SupervisorEvent::Unprotected { reason })) => Err(Error::Unprotected { reason }),
            Ok(Some(SupervisorEvent::Ended { .. })) => {
                Err(failed("hear of the kernel's start")(io::ErrorKind::InvalidData.into()))
            }
            Ok(None) => Err(failed("hear of the kernel's start")(io::ErrorKind::TimedOut.into())),
            Err(source) => Err(failed("hear of the kernel's start")(source)),
        }
    }

    /// What protects the host from this guest.
    pub(crate) fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Keeps the memory of a kernel that runs until this value is dropped: where the filesystem
    /// fills up, the kernel dies, and its memory must not be free again before its supervisor has
    /// seen that there was no room.
    pub(crate) fn hold_memory(&mut self) {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten();
        self.memory = files
            .flatten()
            .map(|file| file.path())
            .find(|path| {
                std::fs::read_link(path).is_ok_and(|target| {
                    target.parent() == Some(&self.run_dir)
                        && target.as_os_str().as_bytes().ends_with(b" (deleted)")
                })
            })
            // The path alone: nothing is read, and no permission is needed.
            .and_then(|path| {
                let mut options = File::options();
                options.read(true).custom_flags(libc::O_PATH).open(path).ok()
            });
    }

    /// Waits for the kernel to end by itself; `None` where it has not by `deadline`, or where its
    /// supervisor was killed.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Option<Ended> {
        if self.ended.is_none()
            && let Ok(Some(SupervisorEvent::Ended { exit, disk_full })) = self.next_event(deadline)
        {
            let exit = KernelExit { exit: Some(exit) };
            self.ended = Some(Ended { exit, disk_full });
        }
        self.ended
    }

    /// Kills what is left of the kernel where its supervisor cannot. That one's death takes the
    /// kernel's own process along, but before Linux 7.2 not those that run its user space.
    fn kill_group(&self) {
        if self.ended.is_none() && self.pid > 0 {
            let _ = nix::sys::signal::killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    /// The supervisor's next message; `None` at the deadline.
    fn next_event(&self, deadline: Instant) -> io::Result<Option<SupervisorEvent>> {
        if !readable(self.socket.as_fd(), deadline)? {
            return Ok(None);
        }
        let mut buffer = vec![0; 64 << 10];
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        codec::decode(&buffer[..length]).map(Some).map_err(io::Error::other)
    }
}

impl Drop for KernelProcess {
    fn drop(&mut self) {
        // The supervisor's signal to clean up. It ends when that is done, which closes its socket.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
        let deadline = Instant::now() + PATIENCE;
        let mut cleaned = false;
        loop {
            match self.next_event(deadline) {
                // Its number may be another process's soon after.
                Ok(Some(SupervisorEvent::Ended { exit, disk_full })) => {
                    self.ended = Some(Ended { exit: KernelExit { exit: Some(exit) }, disk_full });
                }
                // It took too long to say so.
                Ok(Some(SupervisorEvent::Started { pid, .. })) => self.pid = pid,
                Ok(Some(SupervisorEvent::Failed(_) | SupervisorEvent::Unprotected { .. })) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    cleaned = error.kind() == io::ErrorKind::UnexpectedEof;
                    break;
                }
                Ok(None) => break,
            }
        }
        if !cleaned {
            self.kill_group(); // while the supervisor, who collects it, has not seen its end
            let _ = self.supervisor.kill(); // its death takes the kernel along
        }
        let status = self.supervisor.wait();
        if !status.as_ref().is_ok_and(ExitStatus::success) {
            // One that was killed by others has not killed the kernel's processes.
            if cleaned && status.is_ok_and(|status| status.signal().is_some()) {
                self.kill_group();
            }
            // What the dying kernel adds after this is swept up by a later run.
            let _ = std::fs::remove_dir_all(&self.run_dir);
        }
    }
}

/// Waits until there is something to read, or the other end is closed.
fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, or the last millisecond would be spent spinning.
        let timeout =
            PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Executes the agent as for a guest, where nobody asks it for one, so that it ends. Says what kind of
/// file it was executed from; `dir` serves where none in memory can be.
///
/// # Errors
/// [`Error::Supervisor`].
pub(super) fn try_agent(dir: &Path) -> Result<String, Error> {
    let failed = |source| Error::Supervisor { operation: "execute the agent".to_owned(), source };
    let (socket, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| failed(errno.into()))?;
    let program = program(dir)?;
    let mut supervisor = supervisor(program, theirs)?;
    drop(socket);
    let status = supervisor.wait().map_err(failed)?;
    if !status.success() {
        return Err(failed(io::Error::other(format!("it ended with {status}"))));
    }
    let file = std::fs::read_link(format!("/proc/self/fd/{}", program.as_raw_fd()));
    let in_memory = file.is_ok_and(|file| file.as_os_str().as_bytes().starts_with(b"/memfd:"));
    Ok(match in_memory {
        true => "a file in memory".to_owned(),
        false => format!("a file without a name in {}", dir.display()),
    })
}

/// Starts the agent as a supervisor, whose standard input the socket is.
fn supervisor(program: &OwnedFd, socket: OwnedFd) -> Result<Child, Error> {
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command
        .arg(MODE)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    spawn(&mut command)
        .map_err(|source| Error::Supervisor { operation: "execute the agent".to_owned(), source })
    // With the command goes this process's copy of the socket.
}

/// Starts a program that was written a moment ago: while another thread forks, its child has a
/// copy of the descriptor that wrote it, up to its own exec.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => return other,
        }
    }
}

/// The agent's executable, made once per process: a file in memory, which can be executed also
/// where every directory is mounted noexec. Where the host forbids such files to be executed
/// (`vm.memfd_noexec=2`) it is one without a name in `dir`, that of the run directories.
fn program(dir: &Path) -> Result<&'static OwnedFd, Error> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    once(&PROGRAM, || in_memory().or_else(|_| without_name(dir)))
        .map_err(|source| Error::Supervisor { operation: "write the agent".to_owned(), source })
}

/// Makes what is not there yet. A failure is not remembered: what was short (room, descriptors)
/// may be there the next time. Of two that are made at once, one is dropped.
fn once<T>(made: &OnceLock<T>, make: impl FnOnce() -> io::Result<T>) -> io::Result<&T> {
    match made.get() {
        Some(made) => Ok(made),
        None => make().map(|new| made.get_or_init(|| new)),
    }
}

fn in_memory() -> io::Result<OwnedFd> {
    let create = |flags| memory_file(c"uml-test-agent", flags, AGENT);
    // Since Linux 6.3 an executable memory file can be asked for, and by a setting has to be;
    // before, the flag is unknown.
    match create(MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => create(MFdFlags::empty()),
        other => other,
    }
}

fn without_name(dir: &Path) -> io::Result<OwnedFd> {
    let mut writer =
        File::options().write(true).custom_flags(libc::O_TMPFILE).mode(0o700).open(dir)?;
    writer.write_all(AGENT)?;
    // A file that is open for writing cannot be executed.
    Ok(File::open(format!("/proc/self/fd/{}", writer.as_raw_fd()))?.into())
}

/// The size of the agent's executable in bytes.
pub(super) fn agent_size() -> u64 {
    AGENT.len() as u64
}

/// A file in memory with this content, at its beginning.
fn memory_file(name: &CStr, flags: MFdFlags, content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC | flags)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_tried_again_and_a_success_kept() {
        let made = OnceLock::new();
        let full = || Err(io::ErrorKind::StorageFull.into());
        assert_eq!(once(&made, full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(*once(&made, || Ok(1)).unwrap(), 1);
        assert_eq!(*once(&made, || Ok(2)).unwrap(), 1);
        assert_eq!(*once(&made, full).unwrap(), 1);
    }
}
