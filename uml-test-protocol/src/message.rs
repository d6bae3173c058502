//! The messages of the control channel.

use serde::{Deserialize, Serialize};

/// Operating-system bytes (a path, an argument, output): any bytes, no encoding assumed.
pub type Bytes = serde_bytes::ByteBuf;

/// From the host to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Make the guest's world. Sent once, first; answered by [`Event::Ready`] or
    /// [`Event::Refused`].
    Setup(Setup),
    /// Run a program. Answered by [`Event::Started`] or [`Event::SpawnFailed`].
    Spawn(Spawn),
    /// More standard input for a process whose [`Event::StdinReady`] has been seen.
    Stdin {
        /// The process.
        id: u32,
        /// What to write; at most [`crate::frame::CHUNK`] bytes.
        data: Bytes,
        /// Whether this is the last of it: the pipe is closed afterwards.
        end: bool,
    },
    /// Send a signal to a process. A process that has ended is no error.
    Signal {
        /// The process.
        id: u32,
        /// The signal's number.
        signal: i32,
    },
    /// The terminal of a process has another size now. A process without one ignores it.
    Resize {
        /// The process.
        id: u32,
        /// Its new size.
        size: TerminalSize,
    },
    /// Write back what belongs to the host, answer [`Event::Stopping`], power off.
    Shutdown,
}

/// What a guest is set up with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Absolute host paths that stay visible even where the guest mounts a fresh tmpfs over one of
    /// their parents: canonical, but for a link at the end, which is the same link in the guest.
    pub keep: Vec<Bytes>,
    /// Host directories that the guest may write.
    pub rw_dirs: Vec<RwDir>,
    /// Absolute host directory that the guest sees as `/lib/modules`, the kernel's modules in it
    /// under its release.
    pub modules: Option<Bytes>,
    /// Credited to the guest's random number generator, so that nothing in it waits for entropy.
    pub seed: [u8; 32],
    /// The environment that processes start from, `NAME=value`.
    pub env: Vec<Bytes>,
    /// The resource limits that processes start with, where they are not what the guest's kernel starts with.
    pub limits: Vec<Limit>,
    /// The file mode creation mask that processes start with.
    pub umask: u32,
    /// The number that the guest's first process gets, as far as the kernel lets it be chosen.
    pub first_pid: i32,
}

/// A host directory that the guest may write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RwDir {
    /// Absolute, canonical path on the host.
    pub host: Bytes,
    /// Absolute path in the guest. Made if need be.
    pub guest: Bytes,
}

/// A resource limit, in the resource's unit; [`u64::MAX`] is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// What is enforced.
    pub soft: u64,
    /// How far a process may raise that.
    pub hard: u64,
}

/// A resource that a program as root has a limit of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// Open files: one more than the highest descriptor.
    OpenFiles,
    /// The size of the first thread's stack, in bytes.
    Stack,
    /// The size of a core file, in bytes.
    Core,
    /// CPU time of a process, in seconds.
    Cpu,
}

/// A program to run in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// Chosen by the host, unused so far in this guest.
    pub id: u32,
    /// Path, or a name that is looked for along the process's `PATH`.
    pub program: Bytes,
    /// The whole argument vector, `argv[0]` included.
    pub argv: Vec<Bytes>,
    /// How its environment differs from [`Setup::env`].
    pub env: EnvChanges,
    /// Working directory.
    pub cwd: Bytes,
    /// Where standard input comes from.
    pub stdin: SpawnInput,
    /// Whether standard output and error are one pipe, what is written to either being
    /// [`Stream::Stdout`]. On a terminal they are one anyway.
    pub joined: bool,
    /// Present for a test's process: it gets a [`crate::completion`] page with this nonce, and
    /// what it writes outside the test's body arrives as [`Stream::Harness`].
    pub completion: Option<[u8; 16]>,
}

/// Changes to an environment, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvChanges {
    /// Start from nothing.
    pub clear: bool,
    /// Names to unset.
    pub unset: Vec<Bytes>,
    /// Variables to set, `NAME=value`.
    pub set: Vec<Bytes>,
}

/// Standard input of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpawnInput {
    /// `/dev/null`: end of file at once.
    #[default]
    Empty,
    /// A pipe, fed by [`Request::Stdin`].
    Piped,
    /// A terminal of its own, fed by [`Request::Stdin`], which takes standard output and error too
    /// and sends both as [`Stream::Stdout`]. The process leads a session that the terminal
    /// controls. The end of input hangs the terminal up. Without settings it has those that its
    /// kernel gives a new one.
    Terminal(TerminalSize, Option<TerminalSettings>),
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines; 0 where it is not known.
    pub rows: u16,
    /// Characters of a line; 0 where it is not known.
    pub columns: u16,
}

/// What a terminal makes of what is typed and written: the flags and control characters of `struct termios`, with the
/// numbers that they have in Linux on x86-64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TerminalSettings {
    /// `c_iflag`.
    pub input: u32,
    /// `c_oflag`.
    pub output: u32,
    /// `c_lflag`.
    pub local: u32,
    /// `c_cc`.
    pub characters: [u8; 32],
}

/// From the agent to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The first message of a guest.
    Hello {
        /// [`crate::VERSION`] of the agent.
        version: u32,
        /// `uname -r` of the guest's kernel.
        kernel: String,
    },
    /// The agent has taken this many bytes of requests from the channel since the last such event;
    /// the host may send as many more. See [`crate::frame::WINDOW`].
    Received {
        /// How many.
        bytes: u32,
    },
    /// The guest is set up.
    Ready,
    /// A request could not be honoured; the guest goes on.
    Refused(Failure),
    /// A process runs.
    Started {
        /// The process.
        id: u32,
        /// Its pid in the guest.
        pid: i32,
    },
    /// A process could not be started.
    SpawnFailed {
        /// The process.
        id: u32,
        /// Why.
        failure: Failure,
    },
    /// A process wrote something.
    Output {
        /// The process.
        id: u32,
        /// Where it wrote.
        stream: Stream,
        /// What; never empty.
        data: Bytes,
    },
    /// A process takes the next [`Request::Stdin`].
    StdinReady {
        /// The process.
        id: u32,
        /// Whether the process has closed its standard input: nothing more is wanted.
        closed: bool,
    },
    /// A process ended, and all it wrote has been sent.
    Exited {
        /// The process.
        id: u32,
        /// How it ended.
        exit: Exit,
        /// What its completion page says, if it had one.
        completion: Option<crate::completion::Completion>,
        /// Present when the kernel's out-of-memory killer ended it.
        oom: Option<OomKill>,
        /// Another process that it has ended, the last one, where this one did not exit with 0 and
        /// was not the killer's victim itself.
        other_oom: Option<OomKill>,
        /// What it used.
        usage: Usage,
    },
    /// Everything is written back; the guest powers off now.
    Stopping,
    /// The agent is about to die of a defect of its own.
    AgentFailed {
        /// Its panic message.
        message: String,
    },
}

/// The streams of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output; for a test, that of its body.
    Stdout,
    /// Standard error; for a test, that of its body.
    Stderr,
    /// Both streams of a test's process outside the body: the harness's own lines, and what the
    /// dynamic linker or a constructor says when the body never starts.
    Harness,
}

/// An operation that failed in the guest or in the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was tried, as a verb: `mount`, `execute`, `chdir to`.
    pub operation: String,
    /// On what.
    pub path: Bytes,
    /// The error number; 0 where the operating system gave none.
    pub errno: i32,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.operation, String::from_utf8_lossy(&self.path))?;
        match self.errno {
            0 => Ok(()),
            errno => write!(f, ": {}", std::io::Error::from_raw_os_error(errno)),
        }
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// A failure of `operation` on `path`.
    pub fn new(operation: impl Into<String>, path: impl Into<Vec<u8>>, errno: i32) -> Self {
        Self { operation: operation.into(), path: Bytes::from(path.into()), errno }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

/// A victim of the guest's out-of-memory killer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomKill {
    /// Its pid in the guest.
    pub pid: i32,
    /// Its command name, as the kernel logged it.
    pub name: String,
    /// Whether it was a control group that had no memory left, and not the guest.
    pub cgroup: bool,
}

/// What a process used, from `wait4(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// User time in microseconds.
    pub user_us: u64,
    /// System time in microseconds.
    pub system_us: u64,
    /// Largest resident set in KiB.
    pub max_rss_kib: u64,
}
