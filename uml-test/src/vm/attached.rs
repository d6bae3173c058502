//! A program in a guest whose output is passed on while it runs, and which may have this process's
//! own standard input, or a terminal.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use nix::sys::signal::{SigSet, Signal};
use uml_test_protocol::frame::CHUNK;
use uml_test_protocol::{Bytes, Request, Spawn, Stream, TerminalSize};

use super::Vm;
use super::child::{exit_status, receive};
use super::session::{Backlog, Closing, Interrupted, ProcessEvent};
use crate::error::Error;
use crate::outcome::{ChannelEnd, Phase};
use crate::stream::{self, Direction, OutputStream};
use crate::usage::ProgramEnd;

/// Where a program's input comes from.
pub(super) enum Input {
    /// This process's standard input.
    Inherited,
    /// These bytes, and then the end.
    Given(Vec<u8>),
}

/// What happens to the program, or is typed for it.
enum Happening {
    /// All that it wrote before is written.
    Guest(ProcessEvent),
    /// No more of the guest's.
    Gone,
    /// What it wrote can't be written.
    Failed(Error),
    Input(Vec<u8>),
    Resized(TerminalSize),
}

/// Runs a program to its end. What it writes is passed on at once, in the order of each stream.
/// `resized` says when its terminal, if it has one, has another size.
pub(super) fn run(
    vm: &Vm,
    spawn: Spawn,
    input: Input,
    output: impl FnMut(OutputStream, &[u8]) -> io::Result<()> + Send + 'static,
    resized: Option<Receiver<TerminalSize>>,
) -> Result<ProgramEnd, Error> {
    let explain = |interrupted| vm.explain(interrupted, Phase::Running);
    let backlog = Closing(Backlog::new());
    let (stdin, reads) = match input {
        Input::Given(bytes) => (Some(bytes), false),
        Input::Inherited => (None, true),
    };
    let listening = vm.session().spawn(spawn, Some(backlog.0.clone()), stdin);
    let (id, events) = listening.map_err(explain)?;
    let (sender, happenings) = channel();
    // No thread is waited for: one may be writing to a pipe that nobody reads when the time
    // limit passes, another reading from a terminal when the program ends.
    let (theirs, taken) = (sender.clone(), backlog.0.clone());
    start("uml-test program", move || follow(&events, output, &taken, &theirs))?;
    if let Some(resized) = resized {
        let theirs = sender.clone();
        start("uml-test terminal", move || {
            for size in resized {
                if theirs.send(Happening::Resized(size)).is_err() {
                    return;
                }
            }
        })?;
    }
    let (ask, asked) = channel();
    if reads {
        let theirs = sender.clone();
        start("uml-test input", move || read_input(&asked, &theirs))?;
    }
    drop(sender);
    let send = |data: Vec<u8>, end: bool| {
        let request = Request::Stdin { id, data: Bytes::from(data), end };
        vm.session().request(&request).map_err(explain)
    };
    loop {
        match receive(&happenings, vm.deadline()) {
            Ok(Happening::Guest(event)) => match event {
                ProcessEvent::Failed(failure) => return Err(Error::Refused(failure)),
                // An error: the thread has seen the end of the input.
                ProcessEvent::StdinReady { closed: false } => drop(ask.send(())),
                ProcessEvent::Exited { exit, oom, other_oom, .. } => {
                    return Ok(ProgramEnd { status: exit_status(exit), oom, other_oom });
                }
                ProcessEvent::Started { .. }
                | ProcessEvent::StdinReady { closed: true }
                | ProcessEvent::Output { .. } => {}
            },
            Ok(Happening::Input(data)) => {
                let end = data.is_empty();
                send(data, end)?;
            }
            Ok(Happening::Resized(size)) => {
                vm.session().request(&Request::Resize { id, size }).map_err(explain)?;
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

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started
        .map(drop)
        .map_err(|source| Error::Supervisor { operation: "start a thread".to_owned(), source })
}

/// Passes on what the program writes, and everything else too.
fn follow(
    events: &Receiver<ProcessEvent>,
    mut output: impl FnMut(OutputStream, &[u8]) -> io::Result<()>,
    backlog: &Backlog,
    to: &Sender<Happening>,
) {
    for event in events {
        let happening = match event {
            ProcessEvent::Output { stream, data } => {
                let stream = match stream {
                    Stream::Stderr => OutputStream::Stderr,
                    Stream::Stdout | Stream::Harness => OutputStream::Stdout,
                };
                match output(stream, &data) {
                    Ok(()) => {
                        backlog.taken(data.len());
                        continue;
                    }
                    Err(source) => Happening::Failed(Error::Output { stream, source }),
                }
            }
            other => Happening::Guest(other),
        };
        let failed = matches!(happening, Happening::Failed(_));
        if to.send(happening).is_err() || failed {
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
        let read =
            stream::patiently(&mut io::stdin(), Direction::In, |stdin| stdin.read(&mut buffer));
        // A terminal that is gone or another job's, or a directory: nothing more to read.
        let length = read.unwrap_or(0);
        if to.send(Happening::Input(buffer[..length].to_vec())).is_err() || length == 0 {
            return;
        }
    }
}
