use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;

/// The agent's side, played by the test.
struct Agent {
    stream: UnixStream,
    encoder: Encoder,
    decoder: Decoder,
}

fn connect() -> (Session, Agent) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let opening = Opening::new(Setup::default()).unwrap();
    let mut decoder = Decoder::default();
    decoder.push(opening.frames());
    assert_eq!(decoder.next_message().unwrap(), Some(Request::Setup(Setup::default())));
    let session = Session::start(opening, ours.try_clone().unwrap(), ours).unwrap();
    (session, Agent { stream: theirs, encoder: Encoder::default(), decoder })
}

impl Agent {
    fn say(&mut self, event: &Event) {
        let frame = self.encoder.encode(event).unwrap();
        self.stream.write_all(&frame).unwrap();
    }

    fn hear(&mut self) -> Request {
        loop {
            if let Some(request) = self.decoder.next_message().unwrap() {
                return request;
            }
            let mut buffer = [0; 1024];
            let length = self.stream.read(&mut buffer).unwrap();
            self.decoder.push(&buffer[..length]);
        }
    }

    /// Reads so many bytes, and looks whether there are more.
    fn take(&mut self, length: usize) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        self.stream.read_exact(&mut vec![0; length]).unwrap();
        self.stream.read(&mut [0]).is_ok()
    }

    fn hello(&mut self) {
        self.say(&Event::Hello { version: VERSION, kernel: "7.2".into() });
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn exited(id: u32) -> Event {
    let exit = Exit::Code(0);
    let usage = Usage::default();
    Event::Exited { id, exit, completion: None, oom: None, other_oom: None, usage }
}

/// How the channel ended after the agent said this.
fn end_after(say: impl FnOnce(&mut Agent)) -> ChannelEnd {
    let (session, mut agent) = connect();
    say(&mut agent);
    match session.wait(soon(), |_| None::<()>) {
        Err(Interrupted::Channel(end)) => end,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_process_is_followed_from_start_to_end() {
    let (session, mut agent) = connect();
    agent.hello();
    assert_eq!(session.hello(soon()).unwrap(), "7.2");
    let (id, events) = session.spawn(Spawn::default(), None, None).unwrap();
    assert!(matches!(agent.hear(), Request::Spawn(spawn) if spawn.id == id));
    agent.say(&Event::Started { id, pid: 7 });
    agent.say(&Event::Output { id, stream: Stream::Stdout, data: Bytes::from(b"hi".to_vec()) });
    agent.say(&exited(id));
    let kinds: Vec<_> = events.iter().collect();
    assert!(
        matches!(
            &kinds[..],
            [
                ProcessEvent::Started { pid: 7 },
                ProcessEvent::Output { stream: Stream::Stdout, .. },
                ProcessEvent::Exited { exit: Exit::Code(0), .. }
            ]
        ),
        "{kinds:?}"
    );
}

#[test]
fn processes_do_not_hear_each_other() {
    let (session, mut agent) = connect();
    agent.hello();
    let (first, first_events) = session.spawn(Spawn::default(), None, None).unwrap();
    let (second, second_events) = session.spawn(Spawn::default(), None, None).unwrap();
    assert_ne!(first, second);
    agent.say(&Event::Started { id: second, pid: 2 });
    agent.say(&Event::Started { id: first, pid: 1 });
    let pid = |events: &Receiver<ProcessEvent>| match events.recv().unwrap() {
        ProcessEvent::Started { pid } => pid,
        other => panic!("{other:?}"),
    };
    assert_eq!((pid(&first_events), pid(&second_events)), (1, 2));
}

#[test]
fn a_refusal_answers_the_request_it_belongs_to() {
    let (session, mut agent) = connect();
    agent.hello();
    session.hello(soon()).unwrap();
    let failure = Failure::new("mount overlay on", "/x", 19);
    agent.say(&Event::Refused(failure.clone()));
    assert_eq!(session.ready(soon()), Err(Interrupted::Refused(failure)));
    agent.say(&Event::Stopping);
    assert_eq!(session.shut_down(soon()), Ok(()), "an old refusal answers nothing new");
}

#[test]
fn the_end_of_the_channel_wakes_everyone() {
    let (session, mut agent) = connect();
    agent.hello();
    let (_, events) = session.spawn(Spawn::default(), None, None).unwrap();
    drop(agent);
    assert!(events.recv().is_err());
    let closed = Err(Interrupted::Channel(ChannelEnd::Closed));
    assert_eq!(session.shut_down(soon()), closed);
}

#[test]
fn a_silent_agent_costs_no_more_than_the_deadline() {
    let (session, _agent) = connect();
    let started = Instant::now();
    let deadline = started + Duration::from_millis(50);
    assert_eq!(session.hello(deadline), Err(Interrupted::Deadline));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn what_is_out_of_place_ends_the_channel() {
    let corrupted = |end| match end {
        ChannelEnd::Corrupted(found) => found,
        ChannelEnd::Closed | ChannelEnd::AgentFailed(_) => panic!("{end:?}"),
    };
    let found = corrupted(end_after(|agent| agent.say(&Event::Ready)));
    assert_eq!(found, "an event before the hello, out of place");
    let found = corrupted(end_after(|agent| {
        agent.hello();
        agent.hello();
    }));
    assert_eq!(found, "a second hello, out of place");
    let found = corrupted(end_after(|agent| {
        agent.hello();
        agent.say(&exited(99));
    }));
    assert_eq!(found, "an event of unknown process 99");
    let found = corrupted(end_after(|agent| {
        agent.say(&Event::Hello { version: VERSION + 1, kernel: String::new() });
    }));
    assert!(found.contains(&format!("version {}, expected version {VERSION}", VERSION + 1)));
    let found = corrupted(end_after(|agent| agent.stream.write_all(b"login: ").unwrap()));
    assert!(found.starts_with("expected the start of a frame, found"), "{found}");
}

#[test]
fn a_dying_agent_is_heard() {
    let end = end_after(|agent| {
        agent.hello();
        agent.say(&Event::AgentFailed { message: "index out of bounds".into() });
    });
    assert_eq!(end, ChannelEnd::AgentFailed("index out of bounds".into()));
}

#[test]
fn a_truncated_message_is_an_end_and_no_junk() {
    let end = end_after(|agent| {
        agent.hello();
        let frame = agent.encoder.encode(&Event::Ready).unwrap();
        agent.stream.write_all(&frame[..frame.len() - 1]).unwrap();
        agent.stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    assert_eq!(end, ChannelEnd::Closed);
}

#[test]
fn no_more_is_sent_than_the_agent_has_room_for() {
    let (session, mut agent) = connect();
    agent.hello();
    let data = Bytes::from(vec![b'x'; 3 * WINDOW]);
    session.request(&Request::Stdin { id: 1, data, end: true }).unwrap();
    assert!(!agent.take(WINDOW), "more than the window was sent");
    agent.say(&Event::Received { bytes: 1000 });
    assert!(!agent.take(1000), "more than was taken was sent");
    agent.say(&Event::Received { bytes: WINDOW as u32 });
    assert!(!agent.take(WINDOW), "more than the window was sent");
}

#[test]
fn a_receipt_of_more_than_was_sent_is_an_error() {
    let end = end_after(|agent| {
        agent.hello();
        agent.say(&Event::Received { bytes: 1 });
    });
    assert!(
        matches!(&end, ChannelEnd::Corrupted(found) if found.contains("more than was sent")),
        "{end:?}"
    );
}

#[test]
fn a_process_of_the_opening_is_heard_like_any_other() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut opening = Opening::new(Setup::default()).unwrap();
    let events = opening.spawn(Spawn::default(), Backlog::new()).unwrap();
    let mut decoder = Decoder::default();
    decoder.push(opening.frames());
    let session = Session::start(opening, ours.try_clone().unwrap(), ours).unwrap();
    let mut agent = Agent { stream: theirs, encoder: Encoder::default(), decoder };
    assert!(matches!(agent.hear(), Request::Setup(_)));
    let Request::Spawn(first) = agent.hear() else { panic!() };
    let (later, _) = session.spawn(Spawn::default(), None, None).unwrap();
    assert!(matches!(agent.hear(), Request::Spawn(spawn) if spawn.id == later));
    assert_ne!(first.id, later);
    agent.hello();
    agent.say(&Event::Started { id: first.id, pid: 3 });
    assert!(matches!(events.recv().unwrap(), ProcessEvent::Started { pid: 3 }));
}

#[test]
fn a_full_backlog_waits_for_whoever_takes_it() {
    for release in [|backlog: &Backlog| backlog.taken(1), |backlog: &Backlog| backlog.close()] {
        let backlog = Backlog::new();
        backlog.add(Backlog::MOST);
        let (done, added) = channel();
        let adder = std::thread::spawn({
            let backlog = Arc::clone(&backlog);
            move || {
                backlog.add(1);
                done.send(()).unwrap();
            }
        });
        assert!(added.recv_timeout(Duration::from_millis(50)).is_err(), "it did not wait");
        release(&backlog);
        added.recv_timeout(Duration::from_secs(5)).unwrap();
        adder.join().unwrap();
    }
}

#[test]
fn nothing_is_asked_of_an_agent_that_is_gone() {
    let (session, mut agent) = connect();
    agent.hello();
    session.hello(soon()).unwrap();
    let (_, events) = session.spawn(Spawn::default(), None, None).unwrap();
    agent.stream.write_all(&[0xff; 64]).unwrap();
    // Its end of the socket stays open: writing there would succeed.
    while events.recv().is_ok() {}
    let gone = |result| matches!(result, Err(Interrupted::Channel(ChannelEnd::Corrupted(_))));
    assert!(gone(session.spawn(Spawn::default(), None, None).map(drop)));
    assert!(gone(session.request(&Request::Shutdown)));
}

#[test]
fn known_input_is_given_as_it_is_taken() {
    let (session, mut agent) = connect();
    agent.hello();
    let input = vec![b'x'; 10];
    let (id, events) = session.spawn(Spawn::default(), None, Some(input)).unwrap();
    assert!(matches!(agent.hear(), Request::Spawn(_)));
    agent.say(&Event::StdinReady { id, closed: false });
    let Request::Stdin { data, end, .. } = agent.hear() else { panic!("no input") };
    assert_eq!((data.len(), end), (10, true));
    agent.say(&Event::StdinReady { id, closed: true });
    agent.say(&exited(id));
    assert!(matches!(events.recv().unwrap(), ProcessEvent::Exited { .. }));
}
