use super::*;

const LIMIT: Duration = Duration::from_secs(3);

fn process(completion: Completion, exit: Exit) -> Facts {
    Facts {
        phase: Phase::Stopping,
        process: Some(ProcessEnd { exit, completion, oom: None }),
        ..Facts::new()
    }
}

fn running() -> Facts {
    Facts { phase: Phase::Running, ..Facts::new() }
}

fn kernel(exit: Exit) -> Option<KernelExit> {
    Some(KernelExit { exit: Some(exit) })
}

/// Every completion, every way to exit, every expectation.
fn all_process_facts() -> Vec<(Facts, ShouldPanic)> {
    let completions = [
        Completion::NotStarted,
        Completion::Entered,
        Completion::Returned,
        Completion::Panicked("boom".into()),
        Completion::Errored("bad".into()),
        Completion::Skipped("why".into()),
    ];
    let exits = [Exit::Code(0), Exit::Code(101), Exit::Code(7), Exit::Signal(9), Exit::Signal(11)];
    let expectations = [ShouldPanic::No, ShouldPanic::Any, ShouldPanic::Containing("oo")];
    let mut all = Vec::new();
    for completion in &completions {
        for exit in exits {
            for expected in expectations {
                all.push((process(completion.clone(), exit), expected));
            }
        }
    }
    all
}

#[test]
fn only_three_kinds_of_facts_are_a_pass() {
    let passed: Vec<_> = all_process_facts()
        .into_iter()
        .filter(|(facts, expected)| judge(facts, *expected) == Outcome::Passed)
        .map(|(facts, expected)| {
            let process = facts.process.unwrap();
            (process.completion, process.exit, expected)
        })
        .collect();
    let boom = || Completion::Panicked("boom".into());
    let (any, containing) = (ShouldPanic::Any, ShouldPanic::Containing("oo"));
    assert_eq!(
        passed,
        [
            (Completion::Returned, Exit::Code(0), ShouldPanic::No),
            (boom(), Exit::Code(0), any),
            (boom(), Exit::Code(0), containing),
            (boom(), Exit::Code(101), any),
            (boom(), Exit::Code(101), containing),
        ]
    );
}

#[test]
fn without_a_report_of_the_processs_end_nothing_is_a_pass() {
    let channels = [
        None,
        Some(ChannelEnd::Closed),
        Some(ChannelEnd::Corrupted("junk".into())),
        Some(ChannelEnd::AgentFailed("oops".into())),
    ];
    let kernels = [
        None,
        kernel(Exit::Code(0)),
        kernel(Exit::Code(1)),
        kernel(Exit::Signal(6)),
        kernel(Exit::Signal(9)),
    ];
    for phase in [Phase::Booting, Phase::SettingUp, Phase::Running, Phase::Stopping] {
        for channel in &channels {
            for kernel in kernels {
                for passed_limit in [None, Some(LIMIT)] {
                    for disk_full in [false, true] {
                        for expected in [ShouldPanic::No, ShouldPanic::Any] {
                            let facts = Facts {
                                phase,
                                channel: channel.clone(),
                                kernel,
                                passed_limit,
                                disk_full,
                                ..Facts::new()
                            };
                            let outcome = judge(&facts, expected);
                            assert!(
                                !matches!(
                                    outcome,
                                    Outcome::Passed | Outcome::Skipped { .. } | Outcome::Failed(_)
                                ),
                                "{outcome:?} from {facts:?}"
                            );
                            let early = phase < Phase::Running;
                            assert!(
                                !early || matches!(outcome, Outcome::Infrastructure(_)),
                                "{outcome:?} is blamed on a test that had not begun: {facts:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_test_that_ends_its_process_has_failed_whatever_the_code() {
    for (exit, words) in [
        (Exit::Code(0), "exit code 0"),
        (Exit::Code(7), "exit code 7"),
        (Exit::Signal(11), "killed by signal 11 (SIGSEGV)"),
        (Exit::Signal(40), "killed by signal 40"),
    ] {
        for expected in [ShouldPanic::No, ShouldPanic::Any] {
            let outcome = judge(&process(Completion::Entered, exit), expected);
            assert_eq!(outcome, Outcome::Failed(TestFailure::EndedEarly(exit)));
            assert_eq!(
                outcome.to_string(),
                format!("the test's process ended before the test completed: {words}")
            );
        }
    }
}

#[test]
fn failures_carry_their_messages() {
    let of =
        |completion, expected| judge(&process(completion, Exit::Code(101)), expected).to_string();
    let panicked = || Completion::Panicked("boom".into());
    assert_eq!(of(panicked(), ShouldPanic::No), "panicked: boom");
    assert_eq!(
        of(Completion::Errored("EPERM".into()), ShouldPanic::No),
        "returned an error: EPERM"
    );
    assert_eq!(of(Completion::Returned, ShouldPanic::Any), "did not panic as expected");
    assert_eq!(
        of(panicked(), ShouldPanic::Containing("bang")),
        "panicked with another message than expected\n expected to contain: bang\n message: boom"
    );
    assert_eq!(
        of(Completion::Returned, ShouldPanic::No),
        "the test completed, and then its process failed: exit code 101"
    );
}

#[test]
fn a_kernels_end_is_told_apart_by_its_status() {
    let of = |exit| judge(&Facts { kernel: kernel(exit), ..running() }, ShouldPanic::No);
    assert_eq!(of(Exit::Code(0)), Outcome::GuestEnded);
    assert_eq!(of(Exit::Signal(6)), Outcome::KernelPanicked { message: None });
    for exit in [Exit::Code(1), Exit::Signal(9), Exit::Signal(11)] {
        let died = Infrastructure::KernelDied(KernelExit { exit: Some(exit) });
        let hints = died.to_string().contains("shortage of memory");
        assert_eq!(hints, exit == Exit::Signal(9), "{died}");
        assert_eq!(of(exit), Outcome::Infrastructure(died));
    }
}

#[test]
fn the_console_changes_no_verdict() {
    let with = |facts: Facts| Facts { panic_message: Some("forged".into()), ..facts };
    for facts in [
        process(Completion::Returned, Exit::Code(0)),
        process(Completion::Entered, Exit::Code(0)),
        Facts { kernel: kernel(Exit::Code(0)), ..running() },
        Facts { passed_limit: Some(LIMIT), ..running() },
    ] {
        let plain = judge(&facts, ShouldPanic::No);
        assert_eq!(judge(&with(facts), ShouldPanic::No), plain);
    }
    let panic = Facts { kernel: kernel(Exit::Signal(6)), ..running() };
    let outcome = judge(&with(panic), ShouldPanic::No);
    assert_eq!(outcome.to_string(), "the guest's kernel panicked: forged", "it is quoted, though");
}

#[test]
fn a_panic_while_powering_off_spoils_a_pass_and_hides_no_failure() {
    let with_panic = |facts: Facts| Facts { kernel: kernel(Exit::Signal(6)), ..facts };
    let passed = with_panic(process(Completion::Returned, Exit::Code(0)));
    assert_eq!(judge(&passed, ShouldPanic::No), Outcome::KernelPanicked { message: None });
    let failed = with_panic(process(Completion::Panicked("boom".into()), Exit::Code(101)));
    assert_eq!(
        judge(&failed, ShouldPanic::No),
        Outcome::Failed(TestFailure::Panicked("boom".into()))
    );
}

#[test]
fn time_limits_name_their_phase() {
    let at = |phase| {
        judge(&Facts { phase, passed_limit: Some(LIMIT), ..Facts::new() }, ShouldPanic::Any)
    };
    assert_eq!(at(Phase::Running), Outcome::TimedOut { phase: Phase::Running, limit: LIMIT });
    assert_eq!(
        at(Phase::Running).to_string(),
        "timed out: still running after 3s; if it needs longer, give it that with `timeout = \"…\"` or \
         UML_TEST_TIMEOUT"
    );
    let booting = Infrastructure::BootTimedOut { phase: Phase::Booting, limit: LIMIT };
    assert_eq!(at(Phase::Booting), Outcome::Infrastructure(booting));
}

#[test]
fn a_full_disk_explains_a_panic_while_powering_off() {
    let ends = |disk_full| {
        let facts = process(Completion::Returned, Exit::Code(0));
        let kernel = kernel(Exit::Signal(PANIC_SIGNAL));
        judge(&Facts { kernel, disk_full, ..facts }, ShouldPanic::No)
    };
    assert_eq!(ends(true), Outcome::Infrastructure(Infrastructure::HostOutOfSpace));
    assert_eq!(ends(false), Outcome::KernelPanicked { message: None });
}

#[test]
fn a_full_disk_explains_a_dead_kernel_but_no_power_off() {
    let full = |exit| Facts { kernel: kernel(exit), disk_full: true, ..running() };
    let space = Outcome::Infrastructure(Infrastructure::HostOutOfSpace);
    assert_eq!(judge(&full(Exit::Signal(7)), ShouldPanic::No), space);
    assert_eq!(judge(&full(Exit::Signal(6)), ShouldPanic::No), space);
    assert_eq!(judge(&full(Exit::Code(0)), ShouldPanic::No), Outcome::GuestEnded);
}

#[test]
fn the_out_of_memory_killers_victim_is_named() {
    let mut facts = process(Completion::Entered, Exit::Signal(9));
    if let Some(process) = &mut facts.process {
        process.oom = Some(OomKill { pid: 42, name: "hungry".into(), cgroup: false });
    }
    let text = judge(&facts, ShouldPanic::Any).to_string();
    assert!(
        text.starts_with(
            "out of memory: the guest's kernel killed the test's process 42 (`hungry`)"
        ),
        "{text}"
    );
}

#[test]
fn a_missing_filesystem_comes_with_its_remedy() {
    let refused = Some(Failure::new("mount overlay on", "/stage/root", 19));
    let facts = Facts { phase: Phase::SettingUp, refused, ..Facts::new() };
    let text = judge(&facts, ShouldPanic::No).to_string();
    assert!(text.contains("mount overlay on /stage/root: No such device"), "{text}");
    assert!(text.contains("those of `cargo uml` have: `cargo uml kernel build`"), "{text}");
}

#[test]
fn a_pass_whose_files_are_lost_is_none() {
    let why = "write back an rw_dir: No space left on device (os error 28)";
    let lost = |facts: Facts| Facts { writes_lost: Some(why.into()), ..facts };
    let passed = judge(&lost(process(Completion::Returned, Exit::Code(0))), ShouldPanic::No);
    assert_eq!(passed, Outcome::Infrastructure(Infrastructure::WritesLost { why: why.into() }));
    let failed = lost(process(Completion::Panicked("boom".into()), Exit::Code(101)));
    assert_eq!(
        judge(&failed, ShouldPanic::No),
        Outcome::Failed(TestFailure::Panicked("boom".into()))
    );
}

#[test]
fn a_gated_test_is_ignored_whatever_it_was_to_do() {
    let reason = || "needs kernel >=6.7, and this one is 6.1.0".to_owned();
    let facts = Facts { unmet_gate: Some(reason()), ..Facts::new() };
    for expected in [ShouldPanic::No, ShouldPanic::Any, ShouldPanic::Containing("oo")] {
        let outcome = judge(&facts, expected);
        assert_eq!(outcome, Outcome::Ignored { reason: reason() });
        assert_eq!(outcome.to_string(), format!("ignored: {}", reason()));
    }
}
