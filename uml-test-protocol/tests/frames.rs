//! The decoder against garbage, truncation, oversize and its own encoder.

use proptest::prelude::*;
use uml_test_protocol::completion::Completion;
use uml_test_protocol::frame::{Decoder, Encoder, FrameError, MAX_PAYLOAD};
use uml_test_protocol::{Bytes, Event, Exit, Request, Spawn, Stream, Usage};

fn event() -> impl Strategy<Value = Event> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..5000).prop_map(Bytes::from);
    prop_oneof![
        Just(Event::Ready),
        (any::<u32>(), ".*").prop_map(|(version, kernel)| Event::Hello { version, kernel }),
        (any::<u32>(), bytes()).prop_map(|(id, data)| Event::Output {
            id,
            stream: Stream::Stderr,
            data
        }),
        (any::<u32>(), any::<i32>(), ".*").prop_map(|(id, code, message)| Event::Exited {
            id,
            exit: Exit::Code(code),
            completion: Some(Completion::Panicked(message)),
            oom: None,
            other_oom: None,
            usage: Usage::default(),
        }),
    ]
}

fn stream(events: &[Event]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    events.iter().flat_map(|event| encoder.encode(event).unwrap()).collect()
}

fn drain(decoder: &mut Decoder) -> Result<Vec<Event>, FrameError> {
    let mut out = Vec::new();
    while let Some(event) = decoder.next_message()? {
        out.push(event);
    }
    Ok(out)
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_messages(
        events in proptest::collection::vec(event(), 0..8),
        piece in 1usize..4000,
    ) {
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        for part in stream(&events).chunks(piece) {
            decoder.push(part);
            got.extend(drain(&mut decoder).unwrap());
        }
        prop_assert_eq!(got, events);
    }

    #[test]
    fn garbage_is_no_message(bytes in proptest::collection::vec(any::<u8>(), 4..4000)) {
        prop_assume!(bytes[..4] != *b"umlt");
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let first = decoder.next_message::<Event>();
        prop_assert!(matches!(first, Err(FrameError::Magic { .. })), "{:?}", first);
    }

    #[test]
    fn a_truncated_stream_gives_a_prefix_and_no_error(
        events in proptest::collection::vec(event(), 1..6),
        keep in any::<prop::sample::Index>(),
    ) {
        let bytes = stream(&events);
        let mut decoder = Decoder::default();
        decoder.push(&bytes[..keep.index(bytes.len())]);
        let got = drain(&mut decoder).unwrap();
        prop_assert!(got.len() < events.len());
        prop_assert_eq!(&events[..got.len()], &got[..]);
    }

    #[test]
    fn one_changed_byte_never_changes_a_message(
        events in proptest::collection::vec(event(), 1..6),
        at in any::<prop::sample::Index>(),
        flip in 1u8..=255,
    ) {
        let mut bytes = stream(&events);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let mut got = Vec::new();
        // Stops at an error, or waits for bytes that a larger length field promises.
        while let Ok(Some(event)) = decoder.next_message::<Event>() {
            got.push(event);
        }
        prop_assert!(got.len() < events.len());
        prop_assert_eq!(&events[..got.len()], &got[..]);
    }

    #[test]
    fn junk_written_between_frames_is_found(
        events in proptest::collection::vec(event(), 2..6),
        junk in proptest::collection::vec(any::<u8>(), 1..100),
        place in any::<prop::sample::Index>(),
    ) {
        let mut encoder = Encoder::default();
        let place = 1 + place.index(events.len() - 1);
        let mut decoder = Decoder::default();
        for (at, event) in events.iter().enumerate() {
            if at == place {
                decoder.push(&junk);
            }
            decoder.push(&encoder.encode(event).unwrap());
        }
        let mut got = Vec::new();
        while let Ok(Some(event)) = decoder.next_message::<Event>() {
            got.push(event);
        }
        prop_assert_eq!(&events[..place], &got[..]);
    }
}

#[test]
fn a_length_over_the_limit_allocates_nothing() {
    let mut frame = b"umlt".to_vec();
    frame.extend_from_slice(&u32::MAX.to_le_bytes());
    frame.extend_from_slice(&[0; 8]);
    let mut decoder = Decoder::default();
    decoder.push(&frame);
    let error = decoder.next_message::<Event>().unwrap_err();
    assert_eq!(error.to_string(), "a message of 4294967295 bytes is over the limit of 8388608");
}

#[test]
fn a_message_over_the_limit_is_refused_and_costs_no_sequence_number() {
    let mut encoder = Encoder::default();
    let huge = Request::Spawn(Spawn {
        argv: vec![Bytes::from(vec![b'x'; MAX_PAYLOAD])],
        ..Spawn::default()
    });
    assert!(matches!(encoder.encode(&huge), Err(FrameError::TooLong { .. })));
    let mut decoder = Decoder::default();
    decoder.push(&encoder.encode(&Request::Shutdown).unwrap());
    assert_eq!(decoder.next_message::<Request>().unwrap(), Some(Request::Shutdown));
}

#[test]
fn a_lost_and_a_repeated_frame_are_found() {
    let mut encoder = Encoder::default();
    let first = encoder.encode(&Event::Ready).unwrap();
    let second = encoder.encode(&Event::Stopping).unwrap();
    for (frames, expected, found) in [([&second, &first], 0, 1), ([&first, &first], 1, 0)] {
        let mut decoder = Decoder::default();
        frames.iter().for_each(|frame| decoder.push(frame));
        let error = loop {
            match decoder.next_message::<Event>() {
                Ok(Some(_)) => {}
                other => break other.unwrap_err(),
            }
        };
        assert_eq!(error.to_string(), format!("expected frame number {expected}, found {found}"));
    }
}
