//! A program that runs in a guest.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use uml_test_protocol::{Exit, Request, Spawn, Stream};

use super::Vm;
use super::session::{Interrupted, ProcessEvent};
use crate::error::Error;
use crate::outcome::{ChannelEnd, Phase};
use crate::usage::Usage;

/// A running program in a guest. Dropping the value leaves it running; the guest's end ends it.
///
/// It gets its input, and can write, whether it is waited for or not; what it writes meanwhile is kept
/// in this process's memory, without a limit. For a program that writes without end and is not
/// waited for, have its output redirected in the guest.
#[derive(Debug)]
pub struct Child<'vm> {
    vm: &'vm Vm,
    id: u32,
    pid: i32,
    events: Receiver<ProcessEvent>,
    /// Whether anybody will want what it writes.
    pub(super) keeps_output: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<ExitStatus>,
    usage: Option<Usage>,
}

impl<'vm> Child<'vm> {
    pub(super) fn start(vm: &'vm Vm, spawn: Spawn, stdin: Option<Vec<u8>>) -> Result<Self, Error> {
        let gone = |interrupted| vm.explain(interrupted, Phase::Running);
        let (id, events) = vm.session().spawn(spawn, None, stdin).map_err(gone)?;
        let mut child = Self {
            vm,
            id,
            pid: 0,
            events,
            keeps_output: true,
            stdout: Vec::new(),
            stderr: Vec::new(),
            status: None,
            usage: None,
        };
        while child.pid == 0 && child.status.is_none() {
            child.step()?;
        }
        Ok(child)
    }

    /// Its pid in the guest.
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// What it used; `None` before its end was waited for.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Kills it with SIGKILL. One that has ended is no error.
    ///
    /// # Errors
    /// [`Error::Gone`] where the guest is.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.signal(9)
    }

    /// Sends it a signal by its number, from 1 to 64. One that has ended is no error.
    ///
    /// # Errors
    /// [`Error::Request`] for another number, [`Error::Gone`] where the guest is.
    pub fn signal(&mut self, signal: i32) -> Result<(), Error> {
        if !(1..=64).contains(&signal) {
            let what = format!("signal {signal}: expected a number from 1 to 64");
            return Err(Error::Request(what));
        }
        self.request(&Request::Signal { id: self.id, signal })
    }

    /// What it wrote to standard output, as far as it was waited for: with [`Child::wait`] to the
    /// end, its own or the guest's.
    pub fn stdout(&self) -> &[u8] {
        &self.stdout
    }

    /// As [`Child::stdout`], for standard error.
    pub fn stderr(&self) -> &[u8] {
        &self.stderr
    }

    /// Waits for its end. What it writes is kept for [`Child::wait_with_output`] and
    /// [`Child::stdout`], in this process's memory.
    ///
    /// # Errors
    /// [`Error::Gone`] where the guest ended first, [`Error::TimedOut`] where it has not ended and
    /// the guest's time limit has passed.
    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            match self.step() {
                Err(Error::TimedOut { .. }) if self.has_ended()? => {}
                other => other?,
            }
        }
    }

    /// Whether its end has come, and only nobody has looked.
    fn has_ended(&mut self) -> Result<bool, Error> {
        // What writes without end goes on doing so.
        const LONG: Duration = Duration::from_millis(500);
        let begin = Instant::now();
        while self.status.is_none() && begin.elapsed() < LONG {
            match self.events.try_recv() {
                Ok(event) => self.follow(event)?,
                Err(_) => break,
            }
        }
        Ok(self.status.is_some())
    }

    /// Its end, if it has come; does not wait. Its output is taken meanwhile, so that it does not
    /// wait for anybody to read.
    ///
    /// # Errors
    /// As [`Child::wait`]; a time limit of the guest's has to have passed.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        // What writes without end must not keep its caller here.
        const AT_ONCE: usize = 256;
        for _ in 0..AT_ONCE {
            if self.status.is_some() {
                break;
            }
            match self.events.try_recv() {
                Ok(event) => self.follow(event)?,
                Err(TryRecvError::Empty) if Instant::now() < self.vm.deadline() => break,
                // Both are said by waiting, which does not take long now.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => self.step()?,
            }
        }
        Ok(self.status)
    }

    /// Waits for its end, and returns everything it wrote.
    ///
    /// What its own children write after its end is not waited for.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait_with_output(mut self) -> Result<Output, Error> {
        let status = self.wait()?;
        Ok(Output { status, stdout: self.stdout, stderr: self.stderr })
    }

    /// Takes the next event.
    fn step(&mut self) -> Result<(), Error> {
        match next(&self.events, self.vm, self.vm.deadline()) {
            Ok(event) => self.follow(event),
            Err(interrupted) => Err(self.vm.explain(interrupted, Phase::Running)),
        }
    }

    fn follow(&mut self, event: ProcessEvent) -> Result<(), Error> {
        match event {
            ProcessEvent::Started { pid } => self.pid = pid,
            ProcessEvent::Failed(failure) => return Err(Error::Refused(failure)),
            ProcessEvent::Output { .. } if !self.keeps_output => {}
            ProcessEvent::Output { stream: Stream::Stderr, data } => self.stderr.extend(data),
            ProcessEvent::Output { stream: Stream::Stdout | Stream::Harness, data } => {
                self.stdout.extend(data);
            }
            ProcessEvent::StdinReady { .. } => {} // the session gives what there is
            ProcessEvent::Exited { exit, usage, .. } => {
                self.usage = Some(usage.into());
                self.status = Some(exit_status(exit));
            }
        }
        Ok(())
    }

    fn request(&self, request: &Request) -> Result<(), Error> {
        let sent = self.vm.session().request(request);
        sent.map_err(|interrupted| self.vm.explain(interrupted, Phase::Running))
    }
}

/// As `wait(2)` gives it.
pub(super) fn exit_status(exit: Exit) -> ExitStatus {
    ExitStatus::from_raw(match exit {
        Exit::Code(code) => (code & 0xff) << 8,
        Exit::Signal(signal) => signal,
    })
}

/// A process's next event. Past the deadline there is none, also where more are waiting: what
/// writes without end is in time for nothing.
pub(crate) fn next(
    events: &Receiver<ProcessEvent>,
    vm: &Vm,
    deadline: Instant,
) -> Result<ProcessEvent, Interrupted> {
    receive(events, deadline).map_err(|error| match error {
        RecvTimeoutError::Timeout => Interrupted::Deadline,
        RecvTimeoutError::Disconnected => {
            Interrupted::Channel(vm.session().end().unwrap_or(ChannelEnd::Closed))
        }
    })
}

pub(super) fn receive<T>(events: &Receiver<T>, deadline: Instant) -> Result<T, RecvTimeoutError> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(RecvTimeoutError::Timeout),
        left => events.recv_timeout(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_events_does_not_outrun_the_deadline() {
        let (sender, events) = std::sync::mpsc::channel();
        sender.send(1).unwrap();
        assert_eq!(receive(&events, Instant::now()), Err(RecvTimeoutError::Timeout));
        assert_eq!(receive(&events, Instant::now() + Duration::from_secs(5)), Ok(1));
        drop(sender);
        let later = Instant::now() + Duration::from_secs(5);
        assert_eq!(receive(&events, later), Err(RecvTimeoutError::Disconnected));
    }
}
