//! The host's side of the control channel, over anything that reads and writes. Knows no process.
//!
//! A reader thread follows the agent as a state machine; an event that does not fit the state is
//! an error that names the channel, never a test's failure.

mod backlog;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use uml_test_protocol::completion::Completion;
use uml_test_protocol::frame::{CHUNK, Decoder, Encoder, FrameError, WINDOW};
use uml_test_protocol::{
    Bytes, Event, Exit, Failure, OomKill, Request, Setup, Spawn, Stream, Usage, VERSION,
};

use crate::outcome::ChannelEnd;
pub(crate) use backlog::{Backlog, Closing};

/// What a process does.
#[derive(Debug)]
pub(crate) enum ProcessEvent {
    /// It runs.
    Started { pid: i32 },
    /// It could not be started.
    Failed(Failure),
    /// It wrote something.
    Output { stream: Stream, data: Vec<u8> },
    /// It takes more standard input, or takes none any more.
    StdinReady { closed: bool },
    /// It ended.
    Exited {
        exit: Exit,
        completion: Option<Completion>,
        oom: Option<OomKill>,
        other_oom: Option<OomKill>,
        usage: Usage,
    },
}

/// Why waiting ended without what was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// The deadline passed.
    Deadline,
    /// The channel ended.
    Channel(ChannelEnd),
    /// The agent refused.
    Refused(Failure),
    /// The request is too large to be sent, and was not.
    Unsendable(String),
}

/// Who hears of a process.
struct Listener {
    events: Sender<ProcessEvent>,
    backlog: Option<Arc<Backlog>>,
    /// What it is given to read as it takes it; `None` where whoever listens gives it.
    stdin: Option<KnownInput>,
}

/// Input that is known from the beginning.
#[derive(Debug, Default)]
struct KnownInput {
    bytes: Vec<u8>,
    sent: usize,
}

impl KnownInput {
    /// The next piece of it, and whether it is the last.
    fn next(&mut self) -> (Bytes, bool) {
        let end = self.bytes.len().min(self.sent + CHUNK);
        let piece = Bytes::from(&self.bytes[self.sent..end]);
        self.sent = end;
        (piece, end == self.bytes.len())
    }
}

/// What is said before anybody listens: the requests that an agent finds when it starts.
pub(crate) struct Opening {
    encoder: Encoder,
    next_id: u32,
    state: State,
    frames: Vec<u8>,
}

impl Opening {
    /// Has the guest set up.
    ///
    /// # Errors
    /// Where the request is too large.
    pub(crate) fn new(setup: Setup) -> Result<Self, FrameError> {
        let mut encoder = Encoder::default();
        let frames = encoder.encode(&Request::Setup(setup))?;
        Ok(Self { encoder, next_id: 1, state: State::default(), frames })
    }

    /// Asks for a process, as [`Session::spawn`] does later.
    ///
    /// # Errors
    /// Where the request is too large.
    pub(crate) fn spawn(
        &mut self,
        mut spawn: Spawn,
        backlog: Arc<Backlog>,
    ) -> Result<Receiver<ProcessEvent>, FrameError> {
        let (sender, receiver) = channel();
        spawn.id = self.next_id;
        self.frames.extend(self.encoder.encode(&Request::Spawn(spawn))?);
        let listener = Listener { events: sender, backlog: Some(backlog), stdin: None };
        self.state.processes.insert(self.next_id, listener);
        self.next_id += 1;
        Ok(receiver)
    }

    /// The frames, for the file in which the agent finds them.
    pub(crate) fn frames(&self) -> &[u8] {
        &self.frames
    }
}

/// A conversation with an agent.
pub(crate) struct Session {
    shared: Arc<Shared>,
}

struct Writer {
    stream: Box<dyn Write + Send>,
    encoder: Encoder,
    next_id: u32,
    /// Frames, or what is left of them, that wait for the agent to take what was sent before.
    pending: Vec<u8>,
    /// How many bytes may be sent.
    credit: usize,
}

struct Shared {
    /// Locked before `state` where both are.
    writer: Mutex<Writer>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    kernel: Option<String>,
    ready: bool,
    stopping: bool,
    refused: Vec<Failure>,
    processes: HashMap<u32, Listener>,
    end: Option<ChannelEnd>,
}

impl Session {
    /// Starts listening.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub(crate) fn start(
        opening: Opening,
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> std::io::Result<Self> {
        let Opening { encoder, next_id, state, frames: _ } = opening;
        let writer = Writer {
            stream: Box::new(writer),
            encoder,
            next_id,
            pending: Vec::new(),
            credit: WINDOW,
        };
        let shared = Arc::new(Shared {
            writer: Mutex::new(writer),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("uml-test session".to_owned())
            .spawn(move || theirs.listen(reader))?;
        Ok(Self { shared })
    }

    /// Waits for the agent's first words; the guest's kernel release.
    pub(crate) fn hello(&self, deadline: Instant) -> Result<String, Interrupted> {
        self.wait(deadline, |state| state.kernel.clone())
    }

    /// Waits until the guest is set up.
    pub(crate) fn ready(&self, deadline: Instant) -> Result<(), Interrupted> {
        self.wait_or_refusal(deadline, |state| state.ready.then_some(()))
    }

    /// Asks for a process; its events come through the receiver, which is disconnected when the
    /// process or the channel has ended. Where `stdin` is given the process gets that to read, and
    /// nobody hears that it is ready for it.
    pub(crate) fn spawn(
        &self,
        mut spawn: Spawn,
        backlog: Option<Arc<Backlog>>,
        stdin: Option<Vec<u8>>,
    ) -> Result<(u32, Receiver<ProcessEvent>), Interrupted> {
        let (sender, receiver) = channel();
        let mut writer = self.shared.writer();
        let id = writer.next_id;
        writer.next_id += 1;
        spawn.id = id;
        let stdin = stdin.map(|bytes| KnownInput { bytes, sent: 0 });
        let mut state = self.shared.lock();
        // Nobody would ever tell the listener anything.
        if let Some(end) = &state.end {
            return Err(Interrupted::Channel(end.clone()));
        }
        state.processes.insert(id, Listener { events: sender, backlog, stdin });
        drop(state);
        self.shared.send(&mut writer, &Request::Spawn(spawn)).inspect_err(|_| {
            self.shared.lock().processes.remove(&id);
        })?;
        Ok((id, receiver))
    }

    /// Has what belongs to the host written back; the guest powers off afterwards.
    pub(crate) fn shut_down(&self, deadline: Instant) -> Result<(), Interrupted> {
        self.shared.lock().refused.clear(); // of earlier requests
        self.request(&Request::Shutdown)?;
        // A directory that could not be written back does not keep the agent from the others.
        self.wait(deadline, |state| state.stopping.then_some(()))?;
        match self.shared.lock().refused.first() {
            Some(failure) => Err(Interrupted::Refused(failure.clone())),
            None => Ok(()),
        }
    }

    /// Sends a request that has no answer of its own.
    pub(crate) fn request(&self, request: &Request) -> Result<(), Interrupted> {
        let mut writer = self.shared.writer();
        match self.end() {
            Some(end) => Err(Interrupted::Channel(end)),
            None => self.shared.send(&mut writer, request),
        }
    }

    /// How the channel ended, if it has.
    pub(crate) fn end(&self) -> Option<ChannelEnd> {
        self.shared.lock().end.clone()
    }

    /// Waits, and takes a refusal for the answer.
    fn wait_or_refusal<T>(
        &self,
        deadline: Instant,
        ready: impl Fn(&State) -> Option<T>,
    ) -> Result<T, Interrupted> {
        let found = self.wait(deadline, |state| {
            ready(state).map(Ok).or_else(|| state.refused.first().cloned().map(Err))
        })?;
        found.map_err(|failure| {
            self.shared.lock().refused.clear();
            Interrupted::Refused(failure)
        })
    }

    fn wait<T>(
        &self,
        deadline: Instant,
        ready: impl Fn(&State) -> Option<T>,
    ) -> Result<T, Interrupted> {
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = ready(&state) {
                return Ok(found);
            }
            if let Some(end) = &state.end {
                return Err(Interrupted::Channel(end.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Interrupted::Deadline);
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Writer {
    /// Sends as much as may be sent. Never waits: so little always has room in the socket.
    fn flush(&mut self) -> std::io::Result<()> {
        let length = self.pending.len().min(self.credit);
        if length > 0 {
            self.stream.write_all(&self.pending[..length])?;
            self.pending.drain(..length);
            self.credit -= length;
        }
        Ok(())
    }
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, writer: &mut Writer, request: &Request) -> Result<(), Interrupted> {
        let frame = writer
            .encoder
            .encode(request)
            .map_err(|error| Interrupted::Unsendable(error.to_string()))?;
        writer.pending.extend_from_slice(&frame);
        match writer.flush() {
            Ok(()) => Ok(()),
            // The guest's end is closed; the reader knows more, or will in a moment.
            Err(_) => {
                Err(Interrupted::Channel(self.lock().end.clone().unwrap_or(ChannelEnd::Closed)))
            }
        }
    }

    /// The agent has taken so many bytes.
    fn received(&self, bytes: u32) -> Result<(), ChannelEnd> {
        let mut writer = self.writer();
        writer.credit = writer.credit.saturating_add(bytes as usize);
        if writer.credit > WINDOW {
            return Err(ChannelEnd::Corrupted("the receipt of more than was sent".to_owned()));
        }
        writer.flush().map_err(|_| ChannelEnd::Closed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, mut reader: impl Read) {
        let end = self.read_events(&mut reader);
        let mut state = self.lock();
        state.end = Some(end);
        // Whoever waits for one of these learns that nothing more will come.
        state.processes.clear();
        self.changed.notify_all();
    }

    fn read_events(&self, reader: &mut impl Read) -> ChannelEnd {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; CHUNK + 4096];
        loop {
            match reader.read(&mut buffer) {
                // Also in the middle of a message: the guest died, and that is no junk.
                Ok(0) => return ChannelEnd::Closed,
                Ok(length) => decoder.push(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return ChannelEnd::Closed,
            }
            loop {
                match decoder.next_message() {
                    Ok(Some(event)) => {
                        if let Err(end) = self.follow(event) {
                            return end;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return ChannelEnd::Corrupted(error.to_string()),
                }
            }
        }
    }

    /// Moves the state machine by one event.
    fn follow(&self, event: Event) -> Result<(), ChannelEnd> {
        if let Event::Received { bytes } = event {
            return self.received(bytes);
        }
        let mut state = self.lock();
        let known = state.kernel.is_some();
        let out_of_place = |what: &str| Err(ChannelEnd::Corrupted(format!("{what}, out of place")));
        match event {
            Event::Hello { .. } if known => return out_of_place("a second hello"),
            Event::Hello { version, .. } if version != VERSION => {
                return Err(ChannelEnd::Corrupted(format!(
                    "an agent of protocol version {version}, expected version {VERSION}"
                )));
            }
            Event::Hello { kernel, .. } => state.kernel = Some(kernel),
            Event::AgentFailed { message } => return Err(ChannelEnd::AgentFailed(message)),
            _ if !known => return out_of_place("an event before the hello"),
            Event::Received { .. } => {} // above: it concerns no state
            Event::Ready if state.ready => return out_of_place("a second ready"),
            Event::Ready => state.ready = true,
            Event::Refused(failure) => state.refused.push(failure),
            Event::Stopping => state.stopping = true,
            Event::Started { id, pid } => {
                return state.deliver(id, ProcessEvent::Started { pid });
            }
            Event::SpawnFailed { id, failure } => {
                state.deliver(id, ProcessEvent::Failed(failure))?;
                state.processes.remove(&id);
                return Ok(());
            }
            Event::Output { id, stream, data } => {
                let data = data.into_vec();
                let length = data.len();
                let backlog = state.processes.get(&id).and_then(|found| found.backlog.clone());
                state.deliver(id, ProcessEvent::Output { stream, data })?;
                drop(state); // others need it while this waits
                if let Some(backlog) = backlog {
                    backlog.add(length);
                }
                return Ok(());
            }
            Event::StdinReady { id, closed } => {
                let listener = state.processes.get_mut(&id);
                let Some(stdin) = listener.and_then(|found| found.stdin.as_mut()) else {
                    return state.deliver(id, ProcessEvent::StdinReady { closed });
                };
                if closed {
                    return Ok(());
                }
                let (data, end) = stdin.next();
                drop(state); // the writer is locked first
                // Where the guest's end is closed, what it said before is still to be read.
                let _ = self.send(&mut self.writer(), &Request::Stdin { id, data, end });
                return Ok(());
            }
            Event::Exited { id, exit, completion, oom, other_oom, usage } => {
                let event = ProcessEvent::Exited { exit, completion, oom, other_oom, usage };
                state.deliver(id, event)?;
                state.processes.remove(&id);
                return Ok(());
            }
        }
        self.changed.notify_all();
        Ok(())
    }
}

impl State {
    fn deliver(&mut self, id: u32, event: ProcessEvent) -> Result<(), ChannelEnd> {
        match self.processes.get(&id) {
            // A receiver that is gone belongs to somebody who does not want to know.
            Some(listener) => {
                let _ = listener.events.send(event);
                Ok(())
            }
            None => Err(ChannelEnd::Corrupted(format!("an event of unknown process {id}"))),
        }
    }
}

#[cfg(test)]
mod tests;
