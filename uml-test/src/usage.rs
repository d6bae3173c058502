//! What a program in a guest used.

use std::time::Duration;

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
