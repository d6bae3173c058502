//! A process that the host asked for: its pipes, its completion page, its end.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use nix::unistd::{Pid, pipe2};
use uml_test_protocol::completion::Inheritance;
use uml_test_protocol::frame::CHUNK;
use uml_test_protocol::{
    Bytes, EnvChanges, Event, Exit, Failure, GUEST_VARIABLE, Setup, Spawn, SpawnInput, Stream,
    TerminalSize,
};

use super::channel::Channel;
use super::completion::SharedPage;
use super::kernel_log::KernelLog;
use super::setup::Opened;
use super::spawn::{Descriptors, spawn};
use super::terminal;
use crate::wait;

/// Pipe buffers in bytes: few wake-ups for a process that writes much.
const PIPE_SIZE: i32 = 1 << 20;

/// What is on its way from a pipe to the channel. Memory that is clear already: clearing it, as a new vector would,
/// faults in every page of it.
static BUFFER: Mutex<[u8; CHUNK]> = Mutex::new([0; CHUNK]);

/// A running process.
pub(super) struct Process {
    id: u32,
    pid: Pid,
    outputs: Vec<(Stream, File)>,
    stdin: Option<Stdin>,
    /// The agent's end, where all three streams are a terminal.
    terminal: Option<File>,
    /// The other end, so that a process which closes and opens it again finds it as it was.
    _peer: Option<OwnedFd>,
    page: Option<SharedPage>,
}

/// The agent's end of a process's standard input, and what is still to be written.
struct Stdin {
    pipe: File,
    pending: Vec<u8>,
    written: usize,
    /// Whether the pipe is to be closed once everything is written.
    end: bool,
    /// Whether the host has been told that more may come.
    asked: bool,
}

impl Process {
    /// Starts a process from the environment and the limits of `setup`.
    pub(super) fn spawn(wanted: &Spawn, setup: &Setup, opened: &Opened) -> Result<Self, Failure> {
        let mut process = Self {
            id: wanted.id,
            pid: Pid::from_raw(0),
            outputs: Vec::new(),
            stdin: None,
            terminal: None,
            _peer: None,
            page: None,
        };
        let mut env = changed(&setup.env, &wanted.env);
        let limits = &setup.limits;
        let stdin = process.input(wanted.stdin, opened)?;
        match wanted.completion {
            None if process.terminal.is_some() => {
                let standard = [stdin.as_fd(); 3];
                let fds = Descriptors { standard, others: Vec::new(), terminal: true };
                process.pid = spawn(wanted, &env, limits, &fds)?;
            }
            None => {
                let [stdout, stderr] = process.outputs(wanted.joined)?;
                let standard = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
                let fds = Descriptors { standard, others: Vec::new(), terminal: false };
                process.pid = spawn(wanted, &env, limits, &fds)?;
            }
            Some(nonce) => {
                let harness = process.output(Stream::Harness)?;
                let [stdout, stderr] = process.outputs(wanted.joined)?;
                let (page, memory) = SharedPage::create(nonce)?;
                process.page = Some(page);
                let inheritance = Inheritance {
                    page: memory.as_raw_fd(),
                    stdout: stdout.as_raw_fd(),
                    stderr: stderr.as_raw_fd(),
                    nonce,
                };
                env.push(Bytes::from(format!("{GUEST_VARIABLE}={inheritance}").into_bytes()));
                let standard = [stdin.as_fd(), harness.as_fd(), harness.as_fd()];
                let others = vec![memory.as_fd(), stdout.as_fd(), stderr.as_fd()];
                let fds = Descriptors { standard, others, terminal: false };
                process.pid = spawn(wanted, &env, limits, &fds)?;
            }
        }
        Ok(process)
    }

    /// Makes the standard input; the descriptor is for the process.
    fn input(&mut self, wanted: SpawnInput, opened: &Opened) -> Result<OwnedFd, Failure> {
        match wanted {
            SpawnInput::Empty => Ok(opened.null.try_clone().map_err(not_duplicated)?.into()),
            SpawnInput::Piped => {
                let (theirs, ours) = pipe()?;
                set_nonblocking(&ours)?;
                self.stdin = Some(Stdin::new(ours.into()));
                Ok(theirs)
            }
            SpawnInput::Terminal(size, settings) => {
                let (ours, theirs) = terminal::open(size, settings, &opened.terminals)?;
                let copy = || ours.try_clone().map_err(not_duplicated);
                self._peer = Some(theirs.try_clone().map_err(not_duplicated)?);
                self.outputs.push((Stream::Stdout, copy()?));
                self.stdin = Some(Stdin::new(copy()?));
                self.terminal = Some(ours);
                Ok(theirs)
            }
        }
    }

    /// Makes the pipes of standard output and error, or one for both; the write ends are for the process.
    fn outputs(&mut self, joined: bool) -> Result<[OwnedFd; 2], Failure> {
        let stdout = self.output(Stream::Stdout)?;
        let stderr = match joined {
            true => stdout.try_clone().map_err(not_duplicated)?,
            false => self.output(Stream::Stderr)?,
        };
        Ok([stdout, stderr])
    }

    /// Makes an output pipe; the write end is for the process.
    fn output(&mut self, stream: Stream) -> Result<OwnedFd, Failure> {
        let (ours, theirs) = pipe()?;
        set_nonblocking(&ours)?;
        // A guest short of memory has smaller pipes; nothing depends on their size.
        let _ = fcntl(&ours, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
        self.outputs.push((stream, File::from(ours)));
        Ok(theirs)
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: i32) -> Result<(), Failure> {
        #[expect(unsafe_code, reason = "nix knows no real-time signals")]
        // SAFETY: kill(2) touches no memory.
        let code = unsafe { libc::kill(self.pid.as_raw(), signal) };
        Errno::result(code).map(drop).map_err(|errno| {
            Failure::new(format!("send signal {signal} to"), self.pid.to_string(), errno as i32)
        })
    }

    /// Takes more standard input.
    pub(super) fn feed(&mut self, data: Vec<u8>, end: bool) {
        if let Some(stdin) = &mut self.stdin {
            stdin.pending = data;
            stdin.written = 0;
            stdin.end = end;
            stdin.asked = false;
        }
    }

    /// Gives its terminal another size, if it has one.
    pub(super) fn resize(&self, size: TerminalSize) -> Result<(), Failure> {
        self.terminal.as_ref().map_or(Ok(()), |terminal| terminal::resize(terminal, size))
    }

    /// What to wait for.
    pub(super) fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let outputs = self.outputs.iter().map(|(_, pipe)| (pipe.as_fd(), PollFlags::POLLIN));
        // Not once the host has been asked for more: an idle pipe is always ready.
        let stdin = self
            .stdin
            .iter()
            .filter(|stdin| !stdin.asked)
            .map(|stdin| (stdin.pipe.as_fd(), PollFlags::POLLOUT));
        outputs.chain(stdin)
    }

    /// Moves what can be moved without waiting: one read of each output, one write of the input.
    pub(super) fn pump(&mut self, channel: &mut Channel) -> Result<(), Failure> {
        let id = self.id;
        let mut ended = Vec::new();
        for (at, (stream, pipe)) in self.outputs.iter_mut().enumerate() {
            if let Transfer::Ended = forward(id, *stream, pipe, channel)? {
                ended.push(at);
            }
        }
        for at in ended.into_iter().rev() {
            self.outputs.remove(at);
        }
        self.pump_stdin(channel)
    }

    fn pump_stdin(&mut self, channel: &mut Channel) -> Result<(), Failure> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        let id = self.id;
        while stdin.written < stdin.pending.len() {
            match stdin.pipe.write(&stdin.pending[stdin.written..]) {
                Ok(length) => stdin.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.stdin = None;
                    return channel.send(&Event::StdinReady { id, closed: true });
                }
            }
        }
        if stdin.end {
            self.stdin = None;
            // The last of its copies: the kernel hangs it up.
            if self.terminal.take().is_some() {
                self.outputs.clear();
            }
            return Ok(());
        }
        if !stdin.asked {
            stdin.asked = true;
            channel.send(&Event::StdinReady { id, closed: false })?;
        }
        Ok(())
    }

    /// Reports a process that has ended: first what it wrote, then how it ended.
    ///
    /// What its own descendants write later is lost: waiting for the pipes to close would let a
    /// daemon that a test left behind hold up its verdict.
    pub(super) fn finish(
        mut self,
        exit: Exit,
        kernel_log: Option<&KernelLog>,
        channel: &mut Channel,
    ) -> Result<(), Failure> {
        let id = self.id;
        for (stream, pipe) in &mut self.outputs {
            // What is in it now: a child that goes on writing must not hold up the verdict. A terminal does not say how
            // much that is, and holds less than a pipe.
            let mut left =
                if self.terminal.is_some() { PIPE_SIZE as usize } else { buffered(pipe) };
            while left > 0 {
                match forward(id, *stream, pipe, channel)? {
                    Transfer::Moved(length) => left = left.saturating_sub(length),
                    Transfer::Empty | Transfer::Ended => break,
                }
            }
        }
        // Before the pid is given free: it is what the kernel's log names the victim by.
        let oom = match exit {
            Exit::Signal(libc::SIGKILL) => {
                kernel_log.and_then(|log| log.oom_kill_of(self.pid.as_raw()))
            }
            _ => None,
        };
        let other_oom = match (exit, &oom) {
            (Exit::Code(0), _) | (_, Some(_)) => None,
            _ => kernel_log.and_then(KernelLog::last_oom_kill),
        };
        let (exit, usage) = wait::collect(self.pid)?;
        let completion = self.page.as_ref().map(SharedPage::read);
        channel.send(&Event::Exited { id, exit, completion, oom, other_oom, usage })
    }
}

impl Stdin {
    fn new(pipe: File) -> Self {
        Self { pipe, pending: Vec::new(), written: 0, end: false, asked: false }
    }
}

enum Transfer {
    Moved(usize),
    Empty,
    Ended,
}

/// Sends one chunk of a pipe's content.
fn forward(
    id: u32,
    stream: Stream,
    pipe: &mut File,
    channel: &mut Channel,
) -> Result<Transfer, Failure> {
    let mut buffer = BUFFER.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match pipe.read(&mut *buffer) {
            Ok(0) => return Ok(Transfer::Ended),
            Ok(length) => {
                let data = Bytes::from(&buffer[..length]);
                channel.send(&Event::Output { id, stream, data })?;
                return Ok(Transfer::Moved(length));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Transfer::Empty),
            // A terminal that no process has open any more.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(Transfer::Ended),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                return Err(Failure::new("read from", "a process's pipe", errno));
            }
        }
    }
}

/// How many bytes lie in a pipe.
fn buffered(pipe: &File) -> usize {
    nix::ioctl_read_bad!(bytes_to_read, libc::FIONREAD as libc::Ioctl, libc::c_int);
    let mut bytes = 0;
    #[expect(unsafe_code, reason = "ioctls have no safe wrapper")]
    // SAFETY: the call writes one integer.
    let asked = unsafe { bytes_to_read(pipe.as_raw_fd(), &mut bytes) };
    // A pipe always knows; as much as it can hold is the answer that loses nothing.
    asked.map_or(PIPE_SIZE as usize, |_| bytes.max(0) as usize)
}

/// The environment `base` with these changes.
fn changed(base: &[Bytes], changes: &EnvChanges) -> Vec<Bytes> {
    fn name_of(variable: &[u8]) -> &[u8] {
        variable.split(|byte| *byte == b'=').next().unwrap_or_default()
    }
    let gone = |variable: &Bytes| {
        let name = name_of(variable);
        changes.unset.iter().any(|unset| **unset == *name)
            || changes.set.iter().any(|set| name_of(set) == name)
    };
    let kept = base.iter().filter(|variable| !changes.clear && !gone(variable));
    kept.chain(&changes.set).cloned().collect()
}

fn not_duplicated(error: std::io::Error) -> Failure {
    Failure::new("duplicate", "a descriptor", error.raw_os_error().unwrap_or_default())
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    pipe2(OFlag::O_CLOEXEC).map_err(|errno| Failure::new("create", "a pipe", errno as i32))
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), Failure> {
    // O_NONBLOCK belongs to the open file, and each end of a pipe is one of its own: the process
    // keeps a blocking end.
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map(drop)
        .map_err(|errno| Failure::new("set non-blocking", fd.as_raw_fd().to_string(), errno as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(variables: &[&str]) -> Vec<Bytes> {
        variables.iter().map(|variable| Bytes::from(variable.as_bytes())).collect()
    }

    #[test]
    fn changes_apply_to_whole_names() {
        let base = list(&["A=1", "AB=2", "C=3"]);
        let changes = EnvChanges { clear: false, unset: list(&["A"]), set: list(&["C=4", "D="]) };
        assert_eq!(changed(&base, &changes), list(&["AB=2", "C=4", "D="]));
        let cleared = EnvChanges { clear: true, ..changes };
        assert_eq!(changed(&base, &cleared), list(&["C=4", "D="]));
    }
}
