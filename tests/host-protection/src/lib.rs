//! Attempts to change the host from where a test's body has power: as root in a guest, and in the
//! place of the kernel process itself, under the supervisor's sandbox.
//!
//! Everything is in `tests/host_protection/`. Each attempt has a directory of its own, compared
//! before and after; the same attempts without the sandbox must change it, or they would prove
//! nothing. Both run as this user and, where this user is root, as an unprivileged one too.
