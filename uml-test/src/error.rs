//! Typed errors of the public API.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use uml_test_protocol::Failure;

use crate::outcome::{ChannelEnd, KernelExit, Phase};
use crate::remedy::{ANOTHER_KERNEL, DOCTOR, MEM, how_to_build, killed_by_the_host, of_set_up};
use crate::stream::OutputStream;

/// Why a guest could not be booted, or could not do what was asked of it.
///
/// Its `Debug` is its text with all causes, for tests that `unwrap` it, and with the end of the
/// console of a guest that did not come up.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// This host is none that guests run on.
    #[error("no guest runs here: {reason}")]
    #[non_exhaustive]
    Unsupported {
        /// What it would have to be.
        reason: &'static str,
    },
    /// There is no kernel to boot.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No directory can hold a guest's memory.
    #[error(
        "no directory is fit for a guest's memory of {} MiB: it must be writable, allow executable \
         mappings and have that much room; looked at:\n{looked}\nname another one with UML_TEST_RUN_DIR, or \
         lower {MEM}", mem >> 20
    )]
    #[non_exhaustive]
    RunDirectory {
        /// Guest memory in bytes.
        mem: u64,
        /// Every directory looked at and what is wrong with it.
        looked: String,
    },
    /// A limit of this process's does not allow a guest its files.
    #[error(
        "files may have {} KiB here (RLIMIT_FSIZE), and one that a guest needs has {} KiB: raise that limit \
         (`ulimit -f`, /etc/security/limits.conf, LimitFSIZE= of a service), or lower {MEM} if it is its memory",
        limit >> 10, needed >> 10
    )]
    #[non_exhaustive]
    FileSize {
        /// The limit in bytes.
        limit: u64,
        /// The size of the file in bytes.
        needed: u64,
    },
    /// The supervisor of the kernel process could not be started or does not answer.
    #[error("start the supervisor of the kernel process: {operation}")]
    #[non_exhaustive]
    Supervisor {
        /// What failed.
        operation: String,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// The kernel process could not be started.
    #[error("start the kernel process: {0}")]
    Start(Failure),
    /// The sandbox is required and the host cannot provide it.
    #[error(
        "the sandbox is required, but the guest cannot be kept from writing the host's files: {reason}. \
         {DOCTOR}; with `sandbox = \"auto\"` (UML_TEST_SANDBOX) guests run without that protection"
    )]
    #[non_exhaustive]
    Unprotected {
        /// What is missing.
        reason: String,
    },
    /// The guest ended, or its channel broke, while something was asked of it.
    #[error("the guest is gone while {phase}: {end}{}", another_kernel(*phase, end))]
    #[non_exhaustive]
    Gone {
        /// How far it had come.
        phase: Phase,
        /// What is known of its end.
        end: Box<GuestEnd>,
    },
    /// The time limit passed.
    #[error("the guest was still {phase} after {limit:?}{}", longer_boot(*phase, *of_boot, booted))]
    #[non_exhaustive]
    TimedOut {
        /// What it was doing.
        phase: Phase,
        /// The limit.
        limit: Duration,
        /// Whether that is the limit of the boot alone, and not the guest's own.
        of_boot: bool,
        /// Which kernel it was: its path, and how it was found.
        booted: String,
        /// The end of its console, 64 KiB at most.
        console: String,
    },
    /// The guest could not be set up.
    #[error(
        "the guest could not be set up: {failure}{}; the kernel is {booted}",
        of_set_up(failure)
    )]
    #[non_exhaustive]
    SetUp {
        /// What failed.
        failure: Failure,
        /// Which kernel it was: its path, and how it was found.
        booted: String,
        /// The end of its console, 64 KiB at most.
        console: String,
    },
    /// The guest refused a request.
    #[error("in the guest: {0}")]
    Refused(Failure),
    /// What a program in the guest wrote cannot be written here.
    #[error("write to {stream}")]
    #[non_exhaustive]
    Output {
        /// Which one.
        stream: OutputStream,
        /// Why not; a broken pipe where nobody reads any more.
        #[source]
        source: std::io::Error,
    },
    /// A request cannot be sent: it is too large, or has a number that is no signal's.
    #[error("send a request to the guest: {0}")]
    Request(String),
}

impl Error {
    /// The message of the kernel's panic, quoted from the console, where the guest is
    /// [`Error::Gone`] because of one ([`KernelExit::is_panic`] of [`GuestEnd::kernel`]) and the
    /// console has one.
    pub fn panic_message(&self) -> Option<&str> {
        match self {
            Self::Gone { end, .. } => end.panic_message.as_deref(),
            _ => None,
        }
    }

    /// The end of the console of a guest that did not come up, or is gone.
    pub fn console(&self) -> Option<&str> {
        match self {
            Self::Gone { end, .. } => Some(&end.console),
            Self::SetUp { console, .. }
            | Self::TimedOut { phase: Phase::Booting | Phase::SettingUp, console, .. } => {
                Some(console)
            }
            _ => None,
        }
    }

    /// Whether the guest never ran anything.
    fn is_of_boot(&self) -> bool {
        match self {
            Self::Gone { phase, .. } | Self::TimedOut { phase, .. } => {
                matches!(phase, Phase::Booting | Phase::SettingUp)
            }
            Self::SetUp { .. } => true,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        match self.console().filter(|_| self.is_of_boot()) {
            Some(console) => {
                let lines: Vec<&str> = console.lines().collect();
                let last = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
                write!(f, "\n---- last lines of the guest's console ----\n{}", last.join("\n"))
            }
            None => Ok(()),
        }
    }
}

/// How much of a console is shown, in lines.
const CONSOLE_LINES: usize = 30;

/// Memory in bytes that all kernels but those with checks on boot with. Some need half of it, or less.
const ENOUGH: u64 = 64 << 20;

/// What to do about a guest that ended before it was up.
fn another_kernel(phase: Phase, end: &GuestEnd) -> String {
    let memory = match end.mem < ENOUGH {
        true => format!("With its {} MiB of memory it may lack more: raise {MEM}. ", end.mem >> 20),
        false => String::new(),
    };
    match phase {
        Phase::Booting | Phase::SettingUp => format!(
            "; the end of its console says why. {memory}{DOCTOR}. If it is the kernel: \
             {ANOTHER_KERNEL}. The kernel is {}",
            end.booted
        ),
        Phase::Running | Phase::Stopping => String::new(),
    }
}

/// What to do about a guest that is not up in time.
fn longer_boot(phase: Phase, of_boot: bool, booted: &str) -> String {
    let limit = if of_boot { "UML_TEST_BOOT_TIMEOUT" } else { "the guest's time limit" };
    match phase {
        Phase::Booting | Phase::SettingUp => format!(
            "; raise {limit} if the host is that slow, or \
             choose another kernel: `cargo uml kernel list` (from the cargo-uml package) has them. \
             The kernel is {booted}"
        ),
        Phase::Running | Phase::Stopping => String::new(),
    }
}

/// What is known of a guest's end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GuestEnd {
    /// How the control channel ended.
    pub channel: ChannelEnd,
    /// How the kernel process ended, if it ended by itself.
    pub kernel: Option<KernelExit>,
    /// Whether the host had no room for guest memory then.
    pub disk_full: bool,
    /// The kernel's panic message, quoted from the console; `None` where the kernel did not end
    /// by a panic.
    pub panic_message: Option<String>,
    /// The end of its console, 64 KiB at most.
    pub console: String,
    /// The guest's memory in bytes.
    pub mem: u64,
    /// Which kernel it was: its path, and how it was found.
    pub booted: String,
}

impl std::fmt::Display for GuestEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.channel {
            ChannelEnd::Closed => f.write_str("its control channel closed")?,
            ChannelEnd::Corrupted(found) => write!(f, "its control channel carried {found}")?,
            ChannelEnd::AgentFailed(message) => write!(f, "its agent failed: {message}")?,
        }
        if let Some(kernel) = &self.kernel {
            write!(f, "; kernel process: {kernel}{}", killed_by_the_host(*kernel))?;
        }
        if let Some(message) = &self.panic_message {
            write!(f, "; kernel panic: {message}")?;
        }
        if self.disk_full {
            f.write_str(
                "; the run directory's filesystem is full: free some of it, or name a larger one \
                 with UML_TEST_RUN_DIR",
            )?;
        }
        Ok(())
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A manifest could not be read.
    #[error("read the manifest {}", path.display())]
    #[non_exhaustive]
    Read {
        /// The manifest.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A manifest has settings that are none, or of the wrong kind.
    #[error("in {}: {message}", path.display())]
    #[non_exhaustive]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, where, and what would be right.
        message: String,
    },
    /// A value does not fit its setting.
    #[error("{place}: expected {expected}, found `{found}`")]
    #[non_exhaustive]
    Value {
        /// The variable, or the manifest and key.
        place: String,
        /// What would be right.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A variable that looks like a setting and is none.
    #[error("unknown variable {name}; known are {known}")]
    #[non_exhaustive]
    UnknownVariable {
        /// Its name.
        name: String,
        /// All there are.
        known: String,
    },
    /// A directory that the guest shall write does not exist, or is none.
    #[error("rw_dir {}: not a directory on the host", path.display())]
    #[non_exhaustive]
    RwDir {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Arc<std::io::Error>,
    },
}

/// Why there is no kernel to boot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// None of the places has one.
    #[error(
        "no User Mode Linux kernel found; looked at:\n{looked}\n`cargo uml setup` (from the \
         cargo-uml package) builds one, or UML_TEST_KERNEL names one"
    )]
    #[non_exhaustive]
    NotFound {
        /// Every place looked at.
        looked: String,
    },
    /// No cached kernel has that name.
    #[error(
        "no kernel is named `{name}` (from {origin}); looked at {looked}, the names there are: \
         {known}; `{}` (from the cargo-uml package) builds one{file}",
        how_to_build(name)
    )]
    #[non_exhaustive]
    UnknownName {
        /// The name.
        name: String,
        /// Where it stands.
        origin: String,
        /// Where names are looked up.
        looked: String,
        /// All there are.
        known: String,
        /// What is to be said of a file of that name.
        file: String,
    },
    /// The one that was named cannot be used.
    #[error(
        "{} (from {origin}) is no User Mode Linux kernel for this host: {reason}; {}", path.display(),
        ANOTHER_KERNEL
    )]
    #[non_exhaustive]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Where it was named.
        origin: String,
        /// What it is instead.
        reason: String,
    },
}
