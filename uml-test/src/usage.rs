//! What is known of a program in a guest once it has ended: how it did, and what it used.

use std::process::ExitStatus;
use std::time::Duration;

use uml_test_protocol::OomKill;

/// How a program ended whose output was passed on while it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramEnd {
    /// As `wait(2)` gives it.
    pub status: ExitStatus,
    /// What the guest's kernel says of the program, if it killed it for lack of memory.
    pub oom: Option<OomKill>,
    /// The last other process that it killed so, where the program did not exit with 0 and `oom` is
    /// `None`. Whether that has to do with the program's end is not known.
    pub other_oom: Option<OomKill>,
}

/// What a program used, from the guest's `wait4(2)`: it and those of its children that it waited
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Time in user space.
    pub user: Duration,
    /// Time in the guest's kernel.
    pub system: Duration,
    /// Largest resident set, in KiB.
    pub max_rss_kib: u64,
}

impl From<uml_test_protocol::Usage> for Usage {
    fn from(used: uml_test_protocol::Usage) -> Self {
        Self {
            user: Duration::from_micros(used.user_us),
            system: Duration::from_micros(used.system_us),
            max_rss_kib: used.max_rss_kib,
        }
    }
}
