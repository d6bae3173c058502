//! Guests: booting one, running programs in it, ending it.

mod attached;
mod child;
mod command;
pub(crate) mod command_line;
pub(crate) mod console;
mod halt;
mod host;
mod limits;
mod mconsole;
mod opening;
pub(crate) mod paths;
mod process;
mod run_dir;
pub(crate) mod session;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uml_test_protocol::Bytes;
use uml_test_protocol::supervision::{self, Boot, Cpu, Protection};

pub use child::Child;
pub use command::Command;
pub use host::{Host, Place};

pub(crate) use child::next as next_event;
pub(crate) use command::variable;
pub(crate) use opening::{opening, random};

use crate::artifacts::{self, Found};
use crate::builder::VmBuilder;
use crate::cache;
use crate::config::{self, Config, Sandbox};
use crate::error::{Error, GuestEnd};
use crate::outcome::{ChannelEnd, KernelExit, Phase};
use console::Console;
use process::{Ended, KernelProcess};
use session::{Interrupted, Opening, Session};

/// How long a guest may take to power off once it has been asked to and has nothing left to do.
/// It is a matter of milliseconds, but on a host that is loaded many times over.
const POWER_OFF: Duration = Duration::from_secs(15);

/// How long a kernel process may take to end once its channel has closed. It has ended then; a
/// loaded host may be slow to say so.
pub(crate) const KERNEL_END: Duration = Duration::from_secs(5);

/// How long the end of the console's output may take once the kernel process has ended.
/// Everybody who could write to it is dead by then.
const CONSOLE_END: Duration = Duration::from_secs(5);

/// How long a guest may take to write back what belongs to the host.
const WRITE_BACK: Duration = Duration::from_secs(60);

/// How long where its own time limit has passed: whatever hangs there may keep it from that too.
const LATE_WRITE_BACK: Duration = Duration::from_secs(10);

/// A running guest: a Linux kernel of its own, set up and waiting for commands.
///
/// ```
/// use uml_test::Vm;
///
/// # fn main() -> Result<(), uml_test::Error> {
/// let vm = Vm::builder().mem(256 << 20).boot()?;
/// let output = vm.command("ip").args(["link", "show", "lo"]).output()?;
/// assert!(output.status.success());
/// vm.shutdown()?;
/// # Ok(())
/// # }
/// ```
///
/// Everything is as in a `#[uml_test]`: the host's files are there, what is written vanishes,
/// commands run as root. Dropping the value kills the guest, waits for its end, and removes its
/// run directory; [`Vm::shutdown`] also writes back what the guest wrote to its `rw_dir`s.
pub struct Vm {
    // Declared in the order of their end: the kernel's first, so that nothing more is written.
    kernel: std::sync::Mutex<KernelProcess>,
    session: Session,
    console: Console,
    run_dir: PathBuf,
    release: String,
    booted: Found,
    /// In bytes.
    mem: u64,
    started: Instant,
    deadline: Option<(Instant, Duration)>,
    has_rw_dirs: bool,
    boot_limit: Duration,
    /// Whether the limit of its whole life is shorter than that.
    is_short_lived: bool,
}

impl Vm {
    /// Starts a kernel.
    pub(crate) fn start(
        config: &Config,
        booted: Found,
        opening: Opening,
        lifetime: Option<Duration>,
    ) -> Result<Self, Error> {
        let kernel = &*booted.linux;
        // A kernel with all checks on does not even boot with what is enough for others.
        let needs = cache::needs(kernel);
        let mem = config.mem.max(needs.mem);
        let config = &Config { mem, ..config.clone() };
        limits::check_file_size(mem)?;
        let run_dir = run_dir::choose(config)?;
        let boot = Boot {
            run_dir: bytes(&run_dir),
            kernel: bytes(kernel),
            argv: command_line::build(kernel, &run_dir, config)
                .iter()
                .map(|argument| Bytes::from(argument.as_bytes()))
                .collect(),
            writable: config.rw_dirs.iter().map(|dir| bytes(&dir.host)).collect(),
            temporary: config
                .rw_dirs
                .iter()
                .filter(|dir| dir.temporary)
                .map(|dir| bytes(&dir.host))
                .collect(),
            sandbox: match config.sandbox {
                Sandbox::Auto => supervision::Sandbox::Auto,
                Sandbox::Require => supervision::Sandbox::Require,
                Sandbox::Off => supervision::Sandbox::Off,
            },
            cpu: cpu(),
            host_pid: std::process::id() as i32,
        };
        let boot_limit = needs.boot_limit(config.boot_timeout);
        let started = Instant::now();
        let (process, connections) = KernelProcess::start(&boot, opening.frames())?;
        cache::touch(kernel);
        let failed = |source| Error::Supervisor { operation: "start a thread".to_owned(), source };
        let console = Console::drain(connections.console).map_err(failed)?;
        console.log_to(&console::log_path(&run_dir));
        let writer = connections.control.try_clone().map_err(failed)?;
        let session = Session::start(opening, connections.control, writer).map_err(failed)?;
        Ok(Self {
            kernel: process.into(),
            session,
            console,
            run_dir,
            release: String::new(),
            booted,
            mem,
            started,
            // A limit beyond the clock's range is none.
            deadline: lifetime.and_then(|limit| Some((started.checked_add(limit)?, limit))),
            has_rw_dirs: !config.rw_dirs.is_empty(),
            boot_limit: lifetime.map_or(boot_limit, |limit| limit.min(boot_limit)),
            is_short_lived: lifetime.is_some_and(|limit| limit < boot_limit),
        })
    }

    /// How long the guest may take from its start until it is set up.
    pub(crate) fn boot_limit(&self) -> Duration {
        self.boot_limit
    }

    /// Waits until the guest is set up.
    pub(crate) fn wait_ready(&mut self) -> Result<(), (Interrupted, Phase)> {
        let deadline = self.started.checked_add(self.boot_limit).unwrap_or_else(never);
        self.release = self.session.hello(deadline).map_err(|error| (error, Phase::Booting))?;
        self.lock_kernel().hold_memory();
        self.session.ready(deadline).map_err(|error| (error, Phase::SettingUp))
    }

    /// A guest as the package's configuration and the `UML_TEST_*` variables describe it.
    pub fn builder() -> VmBuilder {
        VmBuilder::new()
    }

    /// A command to run in the guest, in the manner of [`std::process::Command`].
    ///
    /// A name without a slash is looked for along the `PATH` of the command's environment, in the
    /// guest.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command<'_> {
        Command::new(self, program.as_ref())
    }

    /// What was booted, for a failure's text.
    pub(crate) fn booted(&self) -> &Found {
        &self.booted
    }

    /// `uname -r` of the guest's kernel.
    pub fn kernel_release(&self) -> &str {
        &self.release
    }

    /// The end of what the guest wrote to its console, 64 KiB at most. It is complete once an
    /// [`Error::Gone`] was returned: the call trace of a panic is there.
    pub fn console(&self) -> String {
        self.console.tail()
    }

    /// Powers the guest off as [`Vm::shutdown`] does, and writes all that it wrote to its console into
    /// a file, from the beginning, 4 MiB at most. So it does where the guest is gone already.
    ///
    /// How the guest ended is as of [`Vm::shutdown`]; the second result is that of writing the file.
    pub fn shutdown_with_console(self, path: &Path) -> (Result<(), Error>, std::io::Result<()>) {
        let log = self.console.log();
        let stopped = self.stop();
        // The last of it may still be on its way.
        self.console.wait(CONSOLE_END);
        let saved = match log {
            Some(log) => console::copy_log(&log, path),
            None => std::fs::write(path, self.console()),
        };
        (stopped, saved)
    }

    /// The guest's directory on the host, gone when the guest is.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// What keeps this guest from changing its host.
    pub(crate) fn protection(&self) -> Protection {
        self.lock_kernel().protection().clone()
    }

    /// Writes back what the guest wrote to its `rw_dir`s, powers it off, and waits for its end.
    ///
    /// # Errors
    /// [`Error::Refused`] where writing back failed, [`Error::TimedOut`] where it took more than a
    /// minute, or ten seconds once the guest's own time limit has passed, and [`Error::Gone`] where
    /// the guest had ended before, or ends in another way than by powering off. The guest is gone in
    /// any case.
    pub fn shutdown(self) -> Result<(), Error> {
        self.stop()
    }

    fn stop(&self) -> Result<(), Error> {
        let limit = self.stop_limit();
        let written = self.session.shut_down(Instant::now() + limit);
        written.and_then(|()| self.wait_powered_off()).map_err(|interrupted| match interrupted {
            Interrupted::Deadline => self.timed_out(Phase::Stopping, limit),
            other => self.explain(other, Phase::Stopping),
        })
    }

    /// Has the guest write back its `rw_dir`s; it powers off afterwards.
    pub(crate) fn write_back(&self) -> Result<(), Interrupted> {
        self.session.shut_down(Instant::now() + self.stop_limit())
    }

    /// How long the guest may take from now until it has nothing left to do but to power off.
    fn stop_limit(&self) -> Duration {
        match (self.has_rw_dirs, Instant::now() < self.deadline()) {
            (true, true) => WRITE_BACK,
            (true, false) => LATE_WRITE_BACK,
            (false, _) => POWER_OFF,
        }
    }

    /// Waits for the end of a guest that powers off. One that is only slow to go is no error:
    /// everything is written back.
    pub(crate) fn wait_powered_off(&self) -> Result<(), Interrupted> {
        let ended = self.kernel_ended(Instant::now() + POWER_OFF);
        match ended.map(|ended| ended.exit.exit) {
            Some(Some(uml_test_protocol::Exit::Code(0))) | None => Ok(()),
            Some(_) => Err(Interrupted::Channel(ChannelEnd::Closed)),
        }
    }

    /// Where in the guest's kernel a process, its threads and its children are, as far as the
    /// kernel answers in time: evidence of a hang.
    ///
    /// Numbers are given in turn, and nothing else starts processes in a guest: those after a
    /// process's own are its threads and children.
    pub(crate) fn kernel_stacks(&self, pid: i32) -> String {
        const TASKS: i32 = 8;
        const PATIENCE: Duration = Duration::from_millis(800);
        const FOR_ONE: Duration = Duration::from_millis(250);
        let deadline = Instant::now() + PATIENCE;
        let mut stacks = String::new();
        for task in pid..pid + TASKS {
            let left = deadline.saturating_duration_since(Instant::now()).min(FOR_ONE);
            let before = self.console.count();
            let answer = match mconsole::ask(&self.run_dir, &format!("stack {task}"), left) {
                Ok(answer) => answer,
                // Each line is a datagram. Ten of them can wait to be read
                // (`net.unix.max_dgram_qlen`), and what comes then, the last line at worst, is
                // lost: where this process waits for a CPU.
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => String::new(),
                Err(error) if error.kind() == std::io::ErrorKind::Other => continue, // there is none
                Err(_) => break,
            };
            // The console has every line.
            let printed = self.console_since(before);
            let stack = if printed.len() > answer.len() { printed } else { answer };
            if stack.trim().is_empty() {
                break; // the kernel itself hangs
            }
            stacks.push_str(&format!("task {task}:\n{}\n", stack.trim()));
        }
        stacks
    }

    /// What the console has got since then, when no more comes.
    fn console_since(&self, before: u64) -> String {
        const PAUSE: Duration = Duration::from_millis(10);
        const PAUSES: usize = 10;
        for _ in 0..PAUSES {
            let count = self.console.count();
            std::thread::sleep(PAUSE);
            if self.console.count() == count {
                break;
            }
        }
        self.console.since(before)
    }

    /// Whether the host has no room for more of the guest's memory now.
    pub(crate) fn is_disk_full(&self) -> bool {
        run_dir::is_full(&self.run_dir)
    }

    /// The console's log, as a file that outlives the guest.
    pub(crate) fn console_log(&self) -> Option<std::fs::File> {
        self.console.log()
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The kernel's end, if it comes by itself within `limit`; the console is complete then.
    pub(crate) fn wait_ended(&self, limit: Duration) -> Option<Ended> {
        let ended = self.kernel_ended(Instant::now() + limit);
        if ended.is_some() {
            self.console.wait(CONSOLE_END);
        }
        ended
    }

    /// The kernel's end, if it comes by itself until `deadline`.
    fn kernel_ended(&self, deadline: Instant) -> Option<Ended> {
        let mut ended = self.lock_kernel().wait(deadline)?;
        if ended.exit.is_panic() {
            self.console.wait(CONSOLE_END);
            if halt::had_halted(&self.release, &self.console()) {
                ended.exit = KernelExit::POWERED_OFF;
            }
        }
        Some(ended)
    }

    /// The guest's time limit, or the end of time.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline.map_or_else(never, |(deadline, _)| deadline)
    }

    /// Turns an interruption into an error with everything that is known.
    pub(crate) fn explain(&self, interrupted: Interrupted, phase: Phase) -> Error {
        match interrupted {
            Interrupted::Refused(failure) => Error::Refused(failure),
            Interrupted::Unsendable(why) => Error::Request(why),
            Interrupted::Deadline => {
                let limit = self.deadline.map_or(Duration::MAX, |(_, limit)| limit);
                self.timed_out(phase, limit)
            }
            Interrupted::Channel(channel) => {
                // Where somebody else writes to the channel the kernel goes on.
                let patience = match channel {
                    ChannelEnd::Closed => KERNEL_END,
                    ChannelEnd::Corrupted(_) | ChannelEnd::AgentFailed(_) => Duration::ZERO,
                };
                let ended = self.wait_ended(patience);
                // What the console says is no proof: anybody in the guest can write there.
                let panicked = ended.is_some_and(|ended| ended.exit.is_panic());
                let panic_message = panicked.then(|| console::panic_message(&self.console()));
                Error::Gone {
                    phase,
                    end: Box::new(GuestEnd {
                        channel,
                        kernel: ended.map(|ended| ended.exit),
                        disk_full: ended.is_some_and(|ended| ended.disk_full),
                        panic_message: panic_message.flatten(),
                        console: self.console(),
                        mem: self.mem,
                        booted: self.booted.to_string(),
                    }),
                }
            }
        }
    }

    fn timed_out(&self, phase: Phase, limit: Duration) -> Error {
        let (booted, console) = (self.booted.to_string(), self.console());
        let of_boot = matches!(phase, Phase::Booting | Phase::SettingUp) && !self.is_short_lived;
        Error::TimedOut { phase, limit, of_boot, booted, console }
    }

    fn lock_kernel(&self) -> std::sync::MutexGuard<'_, KernelProcess> {
        self.kernel.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vm")
            .field("kernel_release", &self.release)
            .field("run_dir", &self.run_dir)
            .finish_non_exhaustive()
    }
}

/// Boots a guest and waits until it is set up.
pub(crate) fn boot(
    config: &Config,
    manifest_dir: &Path,
    lifetime: Option<Duration>,
) -> Result<Vm, Error> {
    if crate::guest::is_inside() {
        return Err(Error::Unsupported {
            reason: "this is a guest already, and guests do not nest",
        });
    }
    let mut config = config.clone();
    config::rw_dirs::check(&mut config)?;
    let kernel = kernel(&config)?;
    let opening = opening(&config, &kernel.linux, manifest_dir)?;
    let mut vm = Vm::start(&config, kernel, opening, lifetime)?;
    match vm.wait_ready() {
        Ok(()) => Ok(vm),
        Err((Interrupted::Deadline, phase)) => Err(vm.timed_out(phase, vm.boot_limit())),
        Err((Interrupted::Refused(failure), _)) => {
            Err(Error::SetUp { failure, booted: vm.booted.to_string(), console: vm.console() })
        }
        Err((other, phase)) => Err(vm.explain(other, phase)),
    }
}

/// The kernel to boot, with an absolute path.
///
/// # Errors
/// As [`artifacts::kernel`].
pub(crate) fn kernel(config: &Config) -> Result<Found, Error> {
    let mut found = artifacts::kernel(config)?;
    found.linux = std::path::absolute(&found.linux).unwrap_or(found.linux);
    Ok(found)
}

/// As far away as nobody's patience goes, near enough for clock arithmetic.
fn never() -> Instant {
    Instant::now() + Duration::from_secs(10 * 365 * 86_400)
}

/// nextest numbers the places in which tests run at once; else the supervisors settle it.
fn cpu() -> Cpu {
    config::variable("NEXTEST_TEST_GLOBAL_SLOT")
        .and_then(|slot| slot.to_str()?.parse().ok())
        .map_or(Cpu::LeastUsed, Cpu::Slot)
}

fn bytes(path: &Path) -> Bytes {
    Bytes::from(path.as_os_str().as_bytes())
}
