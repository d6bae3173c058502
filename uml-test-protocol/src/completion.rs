//! The completion page: memory in which a test's process says how its body ended.
//!
//! The agent makes the page, the test's process inherits it as a descriptor and maps it before
//! the body runs. A mapping outlives the body closing every descriptor, and it is bound to one
//! process: a forked copy that returns from the body too has another pid and a wiped token
//! (`uml_test::guest` checks both).

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Size of the page's memory in bytes.
pub const SIZE: usize = 64 << 10;

const MAGIC: u64 = u64::from_le_bytes(*b"umltdone");
/// The longest message that a page holds, in bytes.
pub const MESSAGE: usize = SIZE - 40;

/// How a test's body ended, as far as its process said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completion {
    /// No process took the page: the body was never entered.
    NotStarted,
    /// The body was entered and never left.
    Entered,
    /// The body returned `()` or `Ok(())`.
    Returned,
    /// The body panicked with this message.
    Panicked(String),
    /// The body returned `Err`; its `Debug` text.
    Errored(String),
    /// The body asked to be skipped, with this reason.
    Skipped(String),
}

/// The shared memory. Every field is atomic, so that using it is safe whatever the other process
/// writes; a value out of range reads as [`Completion::Entered`].
#[repr(C)]
#[derive(Debug)]
pub struct Page {
    magic: AtomicU64,
    nonce: [AtomicU64; 2],
    state: AtomicU32,
    message_length: AtomicU32,
    message: [AtomicU8; MESSAGE],
    _rest: [AtomicU8; SIZE - MESSAGE - 32],
}

const _: () = assert!(size_of::<Page>() == SIZE);

const NOT_STARTED: u32 = 0;
const ENTERED: u32 = 1;
const RETURNED: u32 = 2;
const PANICKED: u32 = 3;
const ERRORED: u32 = 4;
const SKIPPED: u32 = 5;

impl Page {
    /// Agent: marks fresh (zeroed) memory as a page.
    pub fn initialise(&self, nonce: [u8; 16]) {
        for (field, half) in self.nonce.iter().zip(halves(nonce)) {
            field.store(half, Ordering::Relaxed);
        }
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Test's process: takes the page, once. `false` if this is no page, it has another nonce, or
    /// it was taken before.
    pub fn enter(&self, nonce: [u8; 16]) -> bool {
        self.magic.load(Ordering::Acquire) == MAGIC
            && self.nonce.iter().zip(halves(nonce)).all(|(f, h)| f.load(Ordering::Relaxed) == h)
            && self
                .state
                .compare_exchange(NOT_STARTED, ENTERED, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    /// Test's process: says how the body ended. A message too long for the page is cut at a
    /// character's boundary.
    pub fn complete(&self, completion: &Completion) {
        let (state, message) = match completion {
            Completion::NotStarted => return,
            Completion::Entered => (ENTERED, ""),
            Completion::Returned => (RETURNED, ""),
            Completion::Panicked(message) => (PANICKED, message.as_str()),
            Completion::Errored(message) => (ERRORED, message.as_str()),
            Completion::Skipped(reason) => (SKIPPED, reason.as_str()),
        };
        let length = floor_char_boundary(message, MESSAGE);
        for (slot, byte) in self.message.iter().zip(&message.as_bytes()[..length]) {
            slot.store(*byte, Ordering::Relaxed);
        }
        self.message_length.store(length as u32, Ordering::Relaxed);
        self.state.store(state, Ordering::Release);
    }

    /// Agent: what the page says.
    pub fn read(&self) -> Completion {
        let state = self.state.load(Ordering::Acquire);
        let length = (self.message_length.load(Ordering::Relaxed) as usize).min(MESSAGE);
        let message = || {
            let bytes: Vec<u8> =
                self.message[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        match state {
            NOT_STARTED => Completion::NotStarted,
            RETURNED => Completion::Returned,
            PANICKED => Completion::Panicked(message()),
            ERRORED => Completion::Errored(message()),
            SKIPPED => Completion::Skipped(message()),
            _ => Completion::Entered,
        }
    }
}

fn halves(nonce: [u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(nonce);
    [number as u64, (number >> 64) as u64]
}

fn floor_char_boundary(text: &str, limit: usize) -> usize {
    let mut at = text.len().min(limit);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// What a test's process inherits from the agent: the value of [`crate::GUEST_VARIABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inheritance {
    /// Descriptor of the completion page.
    pub page: i32,
    /// Descriptor of the body's standard output.
    pub stdout: i32,
    /// Descriptor of the body's standard error.
    pub stderr: i32,
    /// What the page must hold for this process to be the one that was meant.
    pub nonce: [u8; 16],
}

impl std::fmt::Display for Inheritance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { page, stdout, stderr, nonce } = self;
        write!(f, "{page}:{stdout}:{stderr}:{:032x}", u128::from_le_bytes(*nonce))
    }
}

impl std::str::FromStr for Inheritance {
    type Err = MalformedInheritance;

    fn from_str(text: &str) -> Result<Self, MalformedInheritance> {
        let parse = || {
            let mut fields = text.split(':');
            let mut number = || fields.next()?.parse().ok().filter(|fd: &i32| *fd > 2);
            let (page, stdout, stderr) = (number()?, number()?, number()?);
            let nonce = fields.next().filter(|hex| hex.len() == 32)?;
            let nonce = u128::from_str_radix(nonce, 16).ok()?.to_le_bytes();
            fields.next().is_none().then_some(Self { page, stdout, stderr, nonce })
        };
        parse().ok_or_else(|| MalformedInheritance(text.to_owned()))
    }
}

/// The variable holds something else.
#[derive(Debug, thiserror::Error)]
#[error("expected three descriptors and a nonce, found `{0}`")]
pub struct MalformedInheritance(String);
