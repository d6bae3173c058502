//! The completion page and its hand-over.

use uml_test_protocol::completion::{Completion, Inheritance, Page, SIZE};

/// Zeroed memory, as a fresh memfd has it.
fn page() -> Box<Page> {
    #[expect(unsafe_code, reason = "the page is made of zeroed shared memory in real use too")]
    // SAFETY: a page consists of atomic integers, for which all-zero bytes are a value.
    unsafe {
        Box::new(std::mem::zeroed())
    }
}

const NONCE: [u8; 16] = *b"0123456789abcdef";

#[test]
fn only_the_right_nonce_enters_and_only_once() {
    let page = page();
    assert!(!page.enter([0; 16]), "uninitialised memory is no page");
    page.initialise(NONCE);
    assert!(!page.enter([0; 16]));
    assert_eq!(page.read(), Completion::NotStarted);
    assert!(page.enter(NONCE));
    assert_eq!(page.read(), Completion::Entered);
    assert!(!page.enter(NONCE), "a second process must not take it");
}

#[test]
fn every_completion_is_read_as_written() {
    for completion in [
        Completion::Returned,
        Completion::Panicked("a ≠ b".into()),
        Completion::Errored("Os { code: 1 }".into()),
        Completion::Skipped(String::new()),
    ] {
        let page = page();
        page.initialise(NONCE);
        assert!(page.enter(NONCE));
        page.complete(&completion);
        assert_eq!(page.read(), completion);
    }
}

#[test]
fn a_long_message_is_cut_at_a_character() {
    let page = page();
    page.initialise(NONCE);
    page.complete(&Completion::Panicked("é".repeat(SIZE)));
    let Completion::Panicked(message) = page.read() else { panic!() };
    assert!(message.len() > SIZE - 100 && message.chars().all(|c| c == 'é'));
}

#[test]
fn inheritance_is_parsed_as_printed_and_nothing_else() {
    let given = Inheritance { page: 20, stdout: 21, stderr: 22, nonce: NONCE };
    assert_eq!(given.to_string().parse::<Inheritance>().unwrap(), given);
    for bad in ["", "1", "20:21:22", "20:21:22:zz", "0:1:2:00000000000000000000000000000000"] {
        let error = bad.parse::<Inheritance>().unwrap_err();
        assert!(error.to_string().contains(&format!("found `{bad}`")), "{error}");
    }
}
