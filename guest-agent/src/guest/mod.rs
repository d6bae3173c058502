//! PID 1 of a guest: one thread, one loop over the control channel, the children's pipes and
//! `SIGCHLD`.
//!
//! Everything happens in this process. PID 1 is the one process that survives a test's
//! `kill(-1, SIGKILL)`, ignores every signal it has no handler for, and is never picked by the
//! out-of-memory killer.

mod channel;
mod completion;
mod kernel_log;
mod modules;
mod mounts;
mod name;
mod proc;
mod process;
mod setup;
mod spawn;
mod terminal;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use uml_test_protocol::{Event, Failure, Request, Setup, VERSION};

use channel::Channel;
use process::Process;
use setup::Opened;

use crate::wait;

/// Runs the guest; returns only by powering off.
pub(crate) fn run() -> ! {
    let mut channel = match Channel::open() {
        Ok(channel) => channel,
        Err(failure) => die(&failure.to_string()),
    };
    // A defect here must reach the host as one; the kernel's own "attempted to kill init" panic
    // would look like a panic that the test provoked.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        match Agent::start(&mut channel).and_then(|mut agent| agent.serve()) {
            Ok(()) => None,
            Err(failure) => Some(failure.to_string()),
        }
    }));
    let complaint = match outcome {
        Ok(complaint) => complaint,
        Err(payload) => Some(match payload.downcast_ref::<String>() {
            Some(message) => message.clone(),
            None => (*payload.downcast_ref::<&str>().unwrap_or(&"unknown panic")).to_owned(),
        }),
    };
    if let Some(message) = complaint {
        // The channel may be what failed: then the console, below, is all there is.
        let told = channel.send(&Event::AgentFailed { message: message.clone() }).is_ok();
        channel.drain();
        outlast_power_off(told);
        // So that nobody takes this for a power-off by the test, even if the channel failed.
        let _ = std::fs::write("/proc/exitcode", "1");
        die(&message);
    }
    channel.drain();
    power_off()
}

/// Never returns in a guest that something else is powering off.
///
/// Such a kernel closes its serial lines, which is no failure of theirs, and goes on to schedule.
fn outlast_power_off(told: bool) {
    // Waits for the lock that reboot(2) holds to the end, and does nothing else: PID 1 gets no
    // Ctrl-Alt-Del here.
    let _ = nix::sys::reboot::set_cad_enabled(false);
    if !told {
        // Sysrq powers off without that lock, from a worker thread.
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Says why on the console and ends the guest.
#[expect(clippy::print_stderr, reason = "the console is PID 1's standard error")]
fn die(message: &str) -> ! {
    eprintln!("uml-test agent: {message}");
    power_off()
}

fn power_off() -> ! {
    match nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF) {
        Ok(never) => match never {},
        // Ending PID 1 panics the kernel: the one other way to end the guest.
        Err(_) => std::process::exit(1),
    }
}

struct Agent<'c> {
    channel: &'c mut Channel,
    child_signals: SignalFd,
    processes: HashMap<u32, Process>,
    /// What it was asked to be set up with.
    setup: Setup,
    /// Why the guest is not fit for any process.
    unfit: Option<Failure>,
    /// There once it is set up.
    opened: Option<Opened>,
    stopping: bool,
}

impl<'c> Agent<'c> {
    fn start(channel: &'c mut Channel) -> Result<Self, Failure> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().map_err(|e| Failure::new("block", "SIGCHLD", e as i32))?;
        let child_signals =
            SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
                .map_err(|e| Failure::new("create", "signalfd", e as i32))?;
        let kernel = nix::sys::utsname::uname()
            .map(|names| names.release().to_string_lossy().into_owned())
            .unwrap_or_default();
        channel.send(&Event::Hello { version: VERSION, kernel })?;
        Ok(Self {
            channel,
            child_signals,
            processes: HashMap::new(),
            setup: Setup::default(),
            unfit: None,
            opened: None,
            stopping: false,
        })
    }

    fn serve(&mut self) -> Result<(), Failure> {
        loop {
            while let Some(request) = self.channel.next()? {
                self.handle(request)?;
            }
            if self.stopping {
                return Ok(());
            }
            let wakeups = self.wait()?;
            if wakeups.channel {
                self.channel.receive()?;
            }
            for id in wakeups.processes {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.pump(self.channel)?;
                }
            }
            if wakeups.children {
                while let Ok(Some(_)) = self.child_signals.read_signal() {}
                self.reap()?;
            }
        }
    }

    /// Blocks until something can be done.
    fn wait(&self) -> Result<Wakeups, Failure> {
        let mut ids = Vec::new();
        let mut fds = vec![
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.child_signals.as_fd(), PollFlags::POLLIN),
        ];
        for (id, process) in &self.processes {
            for (fd, interest) in process.interests() {
                ids.push(*id);
                fds.push(PollFd::new(fd, interest));
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(Failure::new("poll", "the agent's descriptors", errno as i32));
            }
        }
        let fired = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let mut processes: Vec<u32> =
            ids.iter().zip(&fds[2..]).filter(|(_, fd)| fired(fd)).map(|(id, _)| *id).collect();
        processes.dedup();
        Ok(Wakeups { channel: fired(&fds[0]), children: fired(&fds[1]), processes })
    }

    fn handle(&mut self, request: Request) -> Result<(), Failure> {
        match request {
            Request::Setup(wanted) => match setup::set_up(&wanted) {
                Ok(opened) => {
                    self.opened = Some(opened);
                    self.setup = wanted;
                    self.channel.send(&Event::Ready)
                }
                Err(failure) => {
                    self.unfit = Some(failure.clone());
                    self.channel.send(&Event::Refused(failure))
                }
            },
            Request::Spawn(wanted) => {
                let id = wanted.id;
                if let Some(failure) = self.unfit.clone() {
                    return self.channel.send(&Event::SpawnFailed { id, failure });
                }
                if self.processes.contains_key(&id) {
                    let failure = Failure::new("start process", id.to_string(), libc::EEXIST);
                    return self.channel.send(&Event::SpawnFailed { id, failure });
                }
                let Some(opened) = &self.opened else {
                    let failure = Failure::new("start a process before", "set-up", libc::EPROTO);
                    return self.channel.send(&Event::SpawnFailed { id, failure });
                };
                match Process::spawn(&wanted, &self.setup, opened) {
                    Ok(process) => {
                        self.channel.send(&Event::Started { id, pid: process.pid().as_raw() })?;
                        self.processes.insert(id, process);
                        Ok(())
                    }
                    Err(failure) => self.channel.send(&Event::SpawnFailed { id, failure }),
                }
            }
            Request::Stdin { id, data, end } => match self.processes.get_mut(&id) {
                Some(process) => {
                    process.feed(data.into_vec(), end);
                    process.pump(self.channel)
                }
                // It ended while the data was on its way, as writers of pipes must expect.
                None => Ok(()),
            },
            Request::Signal { id, signal } => match self.processes.get(&id) {
                Some(process) => match process.signal(signal) {
                    Ok(()) => Ok(()),
                    Err(failure) => self.channel.send(&Event::Refused(failure)),
                },
                None => Ok(()),
            },
            Request::Resize { id, size } => {
                match self.processes.get(&id).map_or(Ok(()), |process| process.resize(size)) {
                    Ok(()) => Ok(()),
                    Err(failure) => self.channel.send(&Event::Refused(failure)),
                }
            }
            Request::Shutdown => {
                for (dir, path) in self.opened.iter().flat_map(|opened| &opened.rw_dirs) {
                    // Only the host's directories matter beyond this guest's life. A plain sync()
                    // would wait for whatever else is mounted, a hung FUSE server included.
                    if let Err(errno) = nix::unistd::syncfs(dir) {
                        let failure = Failure::new("write back", path.to_vec(), errno as i32);
                        self.channel.send(&Event::Refused(failure))?;
                    }
                }
                self.stopping = true;
                self.channel.send(&Event::Stopping)
            }
        }
    }

    /// Collects every child that has ended, orphans included.
    fn reap(&mut self) -> Result<(), Failure> {
        while let Some((pid, exit)) = wait::peek_any()? {
            let id = self.processes.iter().find(|(_, process)| process.pid() == pid);
            match id.map(|(id, _)| *id).and_then(|id| self.processes.remove(&id)) {
                Some(process) => {
                    let log = self.opened.as_ref().map(|opened| &opened.kernel_log);
                    process.finish(exit, log, self.channel)?;
                }
                None => wait::collect(pid).map(drop)?,
            }
        }
        Ok(())
    }
}

/// What there is to do.
struct Wakeups {
    channel: bool,
    children: bool,
    processes: Vec<u32>,
}
