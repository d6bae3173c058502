//! What keeps a guest from its host, and a guest's processes from outliving it.
//!
//! `tests/host_protection/` makes attempts to change the host from where a test's body has power:
//! as root in a guest, and in the place of the kernel process itself, under the supervisor's
//! sandbox. Each attempt has a directory of its own, compared before and after; the same attempts
//! without the sandbox must change it, or they would prove nothing. All run as this user and,
//! where this user is root, as an unprivileged one too. `SHOW_ATTEMPTS=1` prints what each said.
//!
//! `tests/faults/` boots guests from test runners in odd surroundings, and harms supervisors.
