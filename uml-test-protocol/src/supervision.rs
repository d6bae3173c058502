//! The conversation with the supervisor of a kernel process.
//!
//! The supervisor is the agent's binary in its host mode. It is started with one end of a
//! `SOCK_SEQPACKET` pair as standard input. The host sends one [`Boot`] together with three
//! descriptors (`SCM_RIGHTS`): the guest's end of the control channel, the write end of the
//! console, and a file with the first requests. When the socket or the host process ends, the supervisor kills the kernel, removes
//! the run directory, and exits.

use serde::{Deserialize, Serialize};

use crate::{Bytes, Exit, Failure};

/// The agent's first argument in its host mode.
pub const MODE: &str = "supervise";

/// Descriptor of the control channel in the kernel process.
pub const CONTROL_FD: i32 = 3;
/// Descriptor of the console in the kernel process.
pub const CONSOLE_FD: i32 = 4;

/// Directory inside the run directory that is the guest's first root filesystem; the agent lies in
/// it as [`AGENT`].
pub const ROOT_DIR: &str = "root";
/// The agent's name in [`ROOT_DIR`].
pub const AGENT: &str = "init";
/// In [`ROOT_DIR`], the frames of the requests that the agent handles first.
pub const REQUESTS: &str = "requests";

/// A kernel to boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Directory to create for this guest: it must not exist, its parent must.
    pub run_dir: Bytes,
    /// The kernel's executable.
    pub kernel: Bytes,
    /// Its argument vector, `argv[0]` included.
    pub argv: Vec<Bytes>,
    /// Host paths that the kernel process may write besides the run directory.
    pub writable: Vec<Bytes>,
    /// Those of them that go with the host process: they are removed where it ends before it has done so.
    pub temporary: Vec<Bytes>,
    /// What to do about the sandbox.
    pub sandbox: Sandbox,
    /// Which CPU to run on.
    pub cpu: Cpu,
    /// The host process, whose end is the supervisor's signal to clean up.
    pub host_pid: i32,
}

/// With less room than this, in bytes, the filesystem of a run directory counts as full: one page
/// more of the guest's memory and the kernel process is killed.
pub const FULL: u64 = 256 << 10;

/// Whether the kernel process is kept from writing the host's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    /// As far as the host's kernel can.
    #[default]
    Auto,
    /// Wholly, or the guest is not booted.
    Require,
    /// Not at all.
    Off,
}

/// Where the kernel process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cpu {
    /// On the allowed CPU that the fewest guests of this user run on.
    #[default]
    LeastUsed,
    /// On the allowed CPU with this number, modulo how many there are.
    Slot(u64),
    /// Wherever the host's scheduler puts it.
    Any,
}

/// From the supervisor to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SupervisorEvent {
    /// The kernel process runs.
    Started {
        /// Its pid.
        pid: i32,
        /// What protects the host.
        protection: Protection,
    },
    /// It could not be started.
    Failed(Failure),
    /// The sandbox was required and the host cannot provide it.
    Unprotected {
        /// What is missing.
        reason: String,
    },
    /// It ended.
    Ended {
        /// How.
        exit: Exit,
        /// Whether the run directory's filesystem had no room left for the guest's memory then.
        disk_full: bool,
    },
}

/// What keeps a kernel process from changing its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// Landlock's version as applied; 0 where it is off or the host has none.
    pub landlock_abi: i32,
    /// Whether the filter on metadata system calls is in place.
    pub seccomp: bool,
}
