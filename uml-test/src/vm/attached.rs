//! A program in a guest on this process's own standard input, output and error.

use std::io::{self, Read, Write};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use nix::sys::signal::{SigSet, Signal};
use uml_test_protocol::frame::CHUNK;
use uml_test_protocol::{Bytes, Request, Spawn, Stream};

use super::Vm;
use super::child::{exit_status, receive};
use super::session::{Backlog, Interrupted, ProcessEvent};
use crate::error::Error;
use crate::outcome::{ChannelEnd, Phase};

/// What happens to the program, or is typed for it.
enum Happening {
    /// All that it wrote before is written.
    Guest(ProcessEvent),
    /// No more of the guest's.
    Gone,
    /// What it wrote can't be written.
    Failed(Error),
    Input(Vec<u8>),
}

/// Runs a program to its end. What it writes is written at once, in the order of each stream.
pub(super) fn run(vm: &Vm, spawn: Spawn) -> Result<ExitStatus, Error> {
    let explain = |interrupted| vm.explain(interrupted, Phase::Running);
    let thread = |source| Error::Supervisor { operation: "start a thread".to_owned(), source };
    let backlog = Closing(Backlog::new());
    let (id, events) = vm.session().spawn(spawn, Some(backlog.0.clone())).map_err(explain)?;
    let (sender, happenings) = channel();
    // Neither thread is waited for: one may be writing to a pipe that nobody reads when the time
    // limit passes, the other reading from a terminal when the program ends.
    let (theirs, taken) = (sender.clone(), backlog.0.clone());
    std::thread::Builder::new()
        .name("uml-test program".to_owned())
        .spawn(move || follow(&events, &taken, &theirs))
        .map_err(thread)?;
    let (ask, asked) = channel();
    std::thread::Builder::new()
        .name("uml-test input".to_owned())
        .spawn(move || read_input(&asked, &sender))
        .map_err(thread)?;
    loop {
        match receive(&happenings, vm.deadline()) {
            Ok(Happening::Guest(event)) => match event {
                ProcessEvent::Failed(failure) => return Err(Error::Refused(failure)),
                // An error: the thread has seen the end of the input.
                ProcessEvent::StdinReady { closed: false } => drop(ask.send(())),
                ProcessEvent::Exited { exit, .. } => return Ok(exit_status(exit)),
                ProcessEvent::Started { .. }
                | ProcessEvent::StdinReady { closed: true }
                | ProcessEvent::Output { .. } => {}
            },
            Ok(Happening::Input(data)) => {
                let end = data.is_empty();
                let data = Bytes::from(data);
                let sent = vm.session().request(&Request::Stdin { id, data, end });
                sent.map_err(explain)?;
            }
            Ok(Happening::Failed(error)) => return Err(error),
            Ok(Happening::Gone) | Err(RecvTimeoutError::Disconnected) => {
                let end = vm.session().end().unwrap_or(ChannelEnd::Closed);
                return Err(explain(Interrupted::Channel(end)));
            }
            Err(RecvTimeoutError::Timeout) => return Err(explain(Interrupted::Deadline)),
        }
    }
}

/// Lets the session go on when nobody takes the output any more.
struct Closing(Arc<Backlog>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Writes what the program writes, and passes everything else on.
fn follow(events: &Receiver<ProcessEvent>, backlog: &Backlog, to: &Sender<Happening>) {
    for event in events {
        let happening = match event {
            ProcessEvent::Output { stream, data } => match write(stream, &data) {
                Ok(()) => {
                    backlog.taken(data.len());
                    continue;
                }
                Err(error) => Happening::Failed(error),
            },
            other => Happening::Guest(other),
        };
        if to.send(happening).is_err() {
            return; // nobody listens any more
        }
    }
    let _ = to.send(Happening::Gone);
}

/// Reads only when asked, so that the program's own pace is the input's.
fn read_input(asked: &Receiver<()>, to: &Sender<Happening>) {
    // A job in the background gets an error for its terminal, and is not stopped.
    let mut stopping = SigSet::empty();
    stopping.add(Signal::SIGTTIN);
    let _ = stopping.thread_block();
    let mut buffer = vec![0; CHUNK];
    for () in asked {
        let length = loop {
            match io::stdin().read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal that is gone or another job's, or a directory: nothing more to read.
                read => break read.unwrap_or(0),
            }
        };
        if to.send(Happening::Input(buffer[..length].to_vec())).is_err() || length == 0 {
            return;
        }
    }
}

fn write(stream: Stream, data: &[u8]) -> Result<(), Error> {
    let (written, name) = match stream {
        Stream::Stderr => (io::stderr().write_all(data), "standard error"),
        // Flushed, as the standard library keeps what comes after the last line.
        Stream::Stdout | Stream::Harness => {
            let mut stdout = io::stdout().lock();
            (stdout.write_all(data).and_then(|()| stdout.flush()), "standard output")
        }
    };
    written.map_err(|source| Error::Output { stream: name, source })
}
