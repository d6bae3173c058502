//! A program in a guest on this process's own standard input, output and error.

use std::io::{self, Read, Write};
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use uml_test_protocol::frame::CHUNK;
use uml_test_protocol::{Bytes, Request, Spawn, Stream};

use super::Vm;
use super::child::exit_status;
use super::session::{Interrupted, ProcessEvent};
use crate::error::Error;
use crate::outcome::{ChannelEnd, Phase};

/// What happens to the program, or is typed for it.
enum Happening {
    Guest(ProcessEvent),
    /// No more of the guest's.
    Gone,
    Input(Vec<u8>),
}

/// Runs a program to its end. What it writes is written at once, in the order of each stream.
pub(super) fn run(vm: &Vm, spawn: Spawn) -> Result<ExitStatus, Error> {
    let explain = |interrupted| vm.explain(interrupted, Phase::Running);
    let thread = |source| Error::Supervisor { operation: "start a thread".to_owned(), source };
    let (id, events) = vm.session().spawn(spawn).map_err(explain)?;
    let (sender, happenings) = channel();
    let theirs = sender.clone();
    std::thread::Builder::new()
        .name("uml-test program".to_owned())
        .spawn(move || forward(&events, &theirs))
        .map_err(thread)?;
    let (ask, asked) = channel();
    // Not waited for: it may be reading from a terminal when the program ends.
    std::thread::Builder::new()
        .name("uml-test input".to_owned())
        .spawn(move || read_input(&asked, &sender))
        .map_err(thread)?;
    loop {
        let left = vm.deadline().saturating_duration_since(Instant::now());
        let event = match happenings.recv_timeout(left) {
            Ok(Happening::Guest(event)) => event,
            Ok(Happening::Input(data)) => {
                let end = data.is_empty();
                let data = Bytes::from(data);
                let sent = vm.session().request(&Request::Stdin { id, data, end });
                sent.map_err(explain)?;
                continue;
            }
            Ok(Happening::Gone) | Err(RecvTimeoutError::Disconnected) => {
                let end = vm.session().end().unwrap_or(ChannelEnd::Closed);
                return Err(explain(Interrupted::Channel(end)));
            }
            Err(RecvTimeoutError::Timeout) => return Err(explain(Interrupted::Deadline)),
        };
        match event {
            ProcessEvent::Started { .. } | ProcessEvent::StdinReady { closed: true } => {}
            ProcessEvent::Failed(failure) => return Err(Error::Refused(failure)),
            ProcessEvent::Output { stream, data } => write(stream, &data)?,
            // An error: the thread has seen the end of the input.
            ProcessEvent::StdinReady { closed: false } => drop(ask.send(())),
            ProcessEvent::Exited { exit, .. } => return Ok(exit_status(exit)),
        }
    }
}

fn forward(events: &Receiver<ProcessEvent>, to: &Sender<Happening>) {
    for event in events {
        if to.send(Happening::Guest(event)).is_err() {
            return; // nobody listens any more
        }
    }
    let _ = to.send(Happening::Gone);
}

/// Reads only when asked, so that the program's own pace is the input's.
fn read_input(asked: &Receiver<()>, to: &Sender<Happening>) {
    let mut buffer = vec![0; CHUNK];
    for () in asked {
        let length = loop {
            match io::stdin().read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal that is gone, or a directory: nothing more to read.
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
