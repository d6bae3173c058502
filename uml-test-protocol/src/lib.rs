//! What the host and the guest say to each other, and how it is put on a wire.
//!
//! Two conversations, both private to one release of uml-test:
//!
//! - **Control channel**: host process and guest agent, over the guest's first serial line.
//!   [`Request`] goes in, [`Event`] comes out, each in a [`frame`]. The requests that are known
//!   before the boot lie in a file of the guest's first root filesystem
//!   ([`supervision::REQUESTS`]): the kernel reads serial input byte by byte, with a system call
//!   on the host for each.
//! - **Supervision**: host process and the supervisor of its kernel process, over a local
//!   `SOCK_SEQPACKET` socket ([`supervision`]).
//!
//! A third thing is shared without being a message: the [`completion`] page, memory in which a
//! test's process says how its body ended.
//!
//! This crate depends on nothing else in the workspace, does no I/O and knows no process.

pub mod codec;
pub mod completion;
pub mod frame;
mod message;
pub mod supervision;

pub use message::{
    Bytes, EnvChanges, Event, Exit, Failure, Limit, OomKill, Request, Resource, RwDir, Setup,
    Spawn, SpawnInput, Stream, TerminalSettings, TerminalSize, Usage,
};

/// Version of everything in this crate. The agent states it first, in [`Event::Hello`], and a host
/// that was built for another version refuses the guest by naming both.
pub const VERSION: u32 = 6;

/// Directory of this crate's manifest when it was compiled: the source that uml-test's build
/// script compiles into the guest agent.
pub const SOURCE_DIR: &str = env!("CARGO_MANIFEST_DIR");

/// Environment variable that tells a test's process how to reach the agent's completion page:
/// see [`completion::Inheritance`].
pub const GUEST_VARIABLE: &str = "UML_TEST_GUEST";
