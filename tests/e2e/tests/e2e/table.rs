//! Every guest-side fixture and what becomes of it. Data only.

use std::time::Duration;

/// What a run of a fixture is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The test passes.
    Passed,
    /// `skip!`: passes under libtest, ignored by the custom runner.
    Skipped,
    /// `#[ignore]`.
    Ignored,
    /// Not for this kernel: passes under libtest, ignored by the custom runner and so listed.
    Gated,
    /// It fails, and the report says so.
    Fails(Kind),
}

/// What a report's first line says: the outcomes that must never be taken for one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Panicked,
    Errored,
    DidNotPanic,
    WrongPanic,
    EndedEarly,
    FailedLater,
    Skipped,
    Ignored,
    TimedOut,
    KernelPanicked,
    GuestEnded,
    OutOfMemory,
    Infrastructure,
}

impl Kind {
    /// The word that a test's record has for it.
    pub(crate) fn outcome(self) -> &'static str {
        match self {
            Self::Panicked
            | Self::Errored
            | Self::DidNotPanic
            | Self::WrongPanic
            | Self::EndedEarly
            | Self::FailedLater => "failed",
            Self::Skipped => "skipped",
            Self::Ignored => "ignored",
            Self::TimedOut => "timed-out",
            Self::KernelPanicked => "kernel-panicked",
            Self::GuestEnded => "guest-ended",
            Self::OutOfMemory => "out-of-memory",
            Self::Infrastructure => "infrastructure",
        }
    }
}

/// How the first line of each kind begins.
pub(crate) const LEADS: [(Kind, &str); 13] = [
    (Kind::Panicked, "panicked: "),
    (Kind::Errored, "returned an error: "),
    (Kind::DidNotPanic, "did not panic as expected"),
    (Kind::WrongPanic, "panicked with another message than expected"),
    (Kind::EndedEarly, "the test's process ended before the test completed: "),
    (Kind::FailedLater, "the test completed, and then its process failed: "),
    (Kind::Skipped, "skipped: "),
    (Kind::Ignored, "ignored: "),
    (Kind::TimedOut, "timed out: still "),
    (Kind::KernelPanicked, "the guest's kernel panicked"),
    (Kind::GuestEnded, "the guest ended before the test did: "),
    (Kind::OutOfMemory, "out of memory: "),
    (Kind::Infrastructure, "infrastructure failure: "),
];

/// One fixture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its name in the harnesses, without the leading `cases::`.
    pub(crate) name: &'static str,
    pub(crate) expected: Expected,
    /// What the report says besides its kind.
    pub(crate) says: &'static str,
    /// How long it may take when nothing else runs.
    pub(crate) within: Duration,
    /// Whether it has `#[should_panic]`.
    pub(crate) should_panic: bool,
}

impl Row {
    const fn new(name: &'static str, expected: Expected, says: &'static str) -> Self {
        Self { name, expected, says, within: Duration::from_secs(5), should_panic: false }
    }

    const fn passes(name: &'static str) -> Self {
        Self::new(name, Expected::Passed, "")
    }

    const fn fails(name: &'static str, kind: Kind, says: &'static str) -> Self {
        Self::new(name, Expected::Fails(kind), says)
    }

    /// A limit of one second, and two more to say so.
    const fn times_out(name: &'static str) -> Self {
        let row = Self::fails(name, Kind::TimedOut, "timed out: still running after 1s");
        Self { within: Duration::from_secs(3), ..row }
    }

    /// Nothing that is left waits to be waited for.
    const fn without_delay(self) -> Self {
        Self { within: Duration::from_millis(1500), ..self }
    }

    const fn should_panic(self) -> Self {
        Self { should_panic: true, ..self }
    }

    /// Its whole name.
    pub(crate) fn full_name(&self) -> String {
        format!("cases::{}", self.name)
    }
}

/// All of them, but for those that need something prepared on the host and those about output.
pub(crate) const ROWS: &[Row] = &[
    Row::passes("verdicts::passes"),
    Row::passes("verdicts::returns_ok"),
    Row::passes("verdicts::panics_as_expected").should_panic(),
    Row::passes("verdicts::panics_as_expected_in_many_words").should_panic(),
    Row::passes("verdicts::panics_somehow").should_panic(),
    Row::fails("verdicts::asserts", Kind::Panicked, "arithmetic of fixtures"),
    Row::fails("verdicts::returns_an_error", Kind::Errored, "the fixture's error"),
    Row::fails("verdicts::does_not_panic", Kind::DidNotPanic, "").should_panic(),
    Row::fails("verdicts::panics_with_another_message", Kind::WrongPanic, "quite another one")
        .should_panic(),
    Row::fails("verdicts::panics_in_a_joined_thread", Kind::Panicked, "in the thread"),
    Row::passes("verdicts::a_lost_threads_panic_is_its_own"),
    Row::new("verdicts::ignored", Expected::Ignored, ""),
    Row::new("verdicts::ignored_and_fails", Expected::Ignored, ""),
    Row::new("verdicts::skips", Expected::Skipped, "needs a flux capacitor"),
    Row::new("verdicts::skips_where_a_panic_is_due", Expected::Skipped, "needs a flux")
        .should_panic(),
    Row::passes("inside::tests_run_where_they_are"),
    Row::passes("inside::guests_do_not_boot_guests"),
    Row::passes("gates::fits"),
    Row::new("gates::is_for_older_kernels", Expected::Gated, "needs kernel <2.6, and this one is"),
    Row::new("gates::lacks_an_option", Expected::Gated, "needs CONFIG_FLUX_CAPACITOR, and"),
    Row::new(
        "gates::is_for_older_kernels_where_a_panic_is_due",
        Expected::Gated,
        "needs kernel <2.6, and this one is",
    )
    .should_panic(),
    Row::fails("ends::exits_0", Kind::EndedEarly, "completed: exit code 0"),
    Row::fails("ends::exits_0_at_once", Kind::EndedEarly, "completed: exit code 0"),
    Row::fails("ends::becomes_another_program", Kind::EndedEarly, "completed: exit code 0"),
    Row::fails("ends::exits_7", Kind::EndedEarly, "completed: exit code 7"),
    Row::fails("ends::exits_101_where_a_panic_is_due", Kind::EndedEarly, "exit code 101")
        .should_panic(),
    Row::fails("ends::aborts", Kind::EndedEarly, "signal 6 (SIGABRT)"),
    Row::fails("ends::aborts_where_a_panic_is_due", Kind::EndedEarly, "signal 6 (SIGABRT)")
        .should_panic(),
    Row::fails("ends::segfaults", Kind::EndedEarly, "signal 11 (SIGSEGV)"),
    Row::fails("ends::overflows_its_stack", Kind::EndedEarly, "signal 6 (SIGABRT)"),
    Row::fails("ends::kills_itself", Kind::EndedEarly, "signal 9 (SIGKILL)"),
    Row::fails("ends::terminates_itself", Kind::EndedEarly, "signal 15 (SIGTERM)"),
    Row::fails("ends::fails_after_returning", Kind::FailedLater, "exit code 9"),
    Row::passes("processes::a_forked_child_returns_first"),
    Row::fails(
        "processes::a_forked_child_returns_and_the_parent_panics",
        Kind::Panicked,
        "the parent's verdict",
    ),
    Row::passes("processes::a_forked_child_panics_and_the_parent_returns"),
    Row::fails(
        "processes::a_forked_child_returns_and_the_parent_exits",
        Kind::EndedEarly,
        "completed: exit code 0",
    ),
    Row::passes("processes::kills_everything"),
    Row::passes("processes::signals_pid_1"),
    Row::passes("processes::closes_every_descriptor"),
    Row::fails(
        "processes::closes_every_descriptor_and_panics",
        Kind::Panicked,
        "said without a descriptor",
    ),
    Row::passes("processes::unmounts_everything"),
    Row::passes("processes::fills_the_overlay"),
    Row::passes("processes::leaves_daemons_behind").without_delay(),
    Row::passes("processes::leaves_a_chatterbox_behind").without_delay(),
    Row::passes("processes::reads_stdin"),
    Row::times_out("hangs::loops"),
    Row::times_out("hangs::sleeps"),
    Row::times_out("hangs::sleeps_where_a_panic_is_due").should_panic(),
    Row::times_out("hangs::stops_itself"),
    Row::times_out("hangs::waits_for_a_filesystem"),
    Row::times_out("hangs::forks_without_end"),
    Row::times_out("hangs::forks_without_end_in_a_large_guest"),
    Row::times_out("hangs::sets_the_clock_back_and_sleeps"),
    Row::passes("hangs::sets_the_clock_back_and_forth"),
    Row::fails("guests::reboots", Kind::GuestEnded, ""),
    Row::fails("guests::powers_off", Kind::GuestEnded, ""),
    Row::fails("guests::powers_off_in_full_flow", Kind::GuestEnded, ""),
    Row::fails("guests::powers_off_by_sysrq", Kind::GuestEnded, ""),
    Row::fails("guests::halts", Kind::GuestEnded, ""),
    Row::fails("guests::powers_off_where_a_panic_is_due", Kind::GuestEnded, "").should_panic(),
    Row::fails("guests::powers_off_after_a_pretended_panic", Kind::GuestEnded, ""),
    Row::fails("guests::crashes_the_kernel", Kind::KernelPanicked, ": sysrq triggered crash"),
    Row::fails("guests::crashes_the_kernel_where_a_panic_is_due", Kind::KernelPanicked, ": sysrq")
        .should_panic(),
    Row::fails("guests::uses_more_memory_than_there_is", Kind::OutOfMemory, "(`glutton`)"),
    Row::fails("guests::uses_more_memory_where_a_panic_is_due", Kind::OutOfMemory, "(`glutton`)")
        .should_panic(),
    Row::fails("guests::uses_more_memory_without_a_log_to_tell", Kind::OutOfMemory, "(`glutton`)"),
    Row::passes("devices::junk_on_every_serial_line"),
    Row::fails("devices::junk_on_every_serial_line_and_panics", Kind::Panicked, "beside the junk"),
    Row::fails(
        "devices::junk_on_the_control_channel",
        Kind::Infrastructure,
        "the control channel (the guest's first serial line)",
    ),
    Row::fails(
        "devices::a_byte_of_junk_on_the_control_channel_and_panics",
        Kind::Infrastructure,
        "the control channel (the guest's first serial line)",
    ),
    Row::fails(
        "devices::junk_on_the_control_channel_where_a_panic_is_due",
        Kind::Infrastructure,
        "the control channel (the guest's first serial line)",
    )
    .should_panic(),
    Row::passes("devices::junk_on_the_console"),
    Row::passes("devices::junk_in_the_kernel_log"),
    Row::fails("devices::kills_itself_after_a_pretended_shortage", Kind::EndedEarly, "(SIGKILL)"),
];

/// The row of a fixture.
pub(crate) fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| name.strip_prefix("cases::") == Some(row.name))
}
