//! One case, one guest, and the facts about it. The only place where guests and tests meet.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use std::os::unix::ffi::OsStrExt;
use uml_test_protocol::completion::Completion;
use uml_test_protocol::{Bytes, EnvChanges, Exit, Failure, Spawn, SpawnInput, Stream};

use crate::case::TestCase;
use crate::config::{self, Config, UnmetGates};
use crate::error::Error;
use crate::guest;
use crate::kernel_image;
use crate::outcome::{ChannelEnd, Facts, Infrastructure, Outcome, Phase, ProcessEnd, judge};
use crate::report::{self, Evidence};
use crate::vm::session::{Backlog, Closing, Interrupted, ProcessEvent};
use crate::vm::{self, Vm, console};

/// A test that has been run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    /// The message that the body panicked with, expected or not.
    pub(crate) panic: Option<String>,
    pub(crate) config: Config,
    pub(crate) evidence: Evidence,
    /// How long it took in all.
    pub(crate) took: Duration,
}

/// Takes the body's output as it comes.
pub(crate) type Output<'o> = &'o mut dyn FnMut(Stream, &[u8]);

/// How long after its time limit a test's output is still looked through for its end.
const LATE: Duration = Duration::from_millis(500);

/// Runs a case in a guest of its own. All that was started for it has ended on return. Where the
/// streams of its body are `joined`, both are standard output, in the order in which they were written.
pub(crate) fn run(case: &TestCase, joined: bool, output: Output<'_>) -> Run {
    let began = Instant::now();
    let mut run = Running {
        facts: Facts::new(),
        pid: None,
        evidence: Evidence::default(),
        config: Config::default(),
        joined,
        output,
    };
    run.attempt(case);
    let Running { facts, mut evidence, config, .. } = run;
    let outcome = judge(&facts, case.should_panic);
    // Outside the body a process has something to say only if it did not come to it.
    if !matches!(&outcome, Outcome::Infrastructure(Infrastructure::BodyNotEntered(_))) {
        evidence.harness = crate::output::Output::default();
    }
    let panic = panic_of(&facts);
    // What did not start has left nothing to keep.
    let started = facts.not_started.is_none() && facts.unmet_gate.is_none();
    if started && !matches!(outcome, Outcome::Passed | Outcome::Skipped { .. }) {
        report::keep(case, &outcome, &mut evidence, config.keep_runs);
    }
    Run { outcome, panic, config, evidence, took: began.elapsed() }
}

/// Runs a case right here, in a guest that this process is in already. Its kernel is no fresh one, and the case's
/// settings of a guest (memory, kernel arguments, time limit) do not hold.
pub(crate) fn run_here(case: &TestCase) -> Run {
    let began = Instant::now();
    let mut facts = Facts::new();
    let manifest_dir = config::manifest_dir(case.manifest_dir);
    let config = match config::resolve(&manifest_dir, &case.overrides, &config::variables()) {
        Ok(config) => config,
        Err(error) => return not_run(report::chain(&error)),
    };
    let unmet = kernel_image::unmet_here(&case.gates).map_err(|error| report::chain(&error));
    match gate_facts(unmet, config.gates) {
        Ok(()) => {
            facts.phase = Phase::Running;
            let completion = guest::run_here(case.body);
            facts.process = Some(ProcessEnd { exit: Exit::Code(0), completion, oom: None });
        }
        Err(Gated::Unmet(reason)) => facts.unmet_gate = Some(reason),
        Err(Gated::NotStarted(error)) => facts.not_started = Some(error),
    }
    let outcome = judge(&facts, case.should_panic);
    let panic = panic_of(&facts);
    Run { outcome, panic, config, evidence: Evidence::default(), took: began.elapsed() }
}

/// The message that the body panicked with.
fn panic_of(facts: &Facts) -> Option<String> {
    match &facts.process {
        Some(ProcessEnd { completion: Completion::Panicked(message), .. }) => Some(message.clone()),
        _ => None,
    }
}

/// Why a test is not started for its gates.
enum Gated {
    /// It is not for this kernel, and that is no failure.
    Unmet(String),
    NotStarted(String),
}

fn gate_facts(unmet: Result<Option<String>, String>, gates: UnmetGates) -> Result<(), Gated> {
    match (unmet, gates) {
        (Ok(None), _) => Ok(()),
        (Ok(Some(reason)), UnmetGates::Ignore) => Err(Gated::Unmet(reason)),
        (Ok(Some(reason)), UnmetGates::Require) => Err(Gated::NotStarted(format!(
            "{reason}; a failure because UML_TEST_GATES is `require`"
        ))),
        (Err(error), _) => Err(Gated::NotStarted(error)),
    }
}

/// A run that could not begin.
pub(crate) fn not_run(error: String) -> Run {
    Run {
        outcome: Outcome::Infrastructure(Infrastructure::NotStarted { error }),
        panic: None,
        config: Config::default(),
        evidence: Evidence::default(),
        took: Duration::ZERO,
    }
}

/// Why a test is not for the kernel that it would run on; `None` where it is.
///
/// # Errors
/// Where that cannot be decided.
pub(crate) fn unmet_gate(case: &TestCase, config: &Config) -> Result<Option<String>, String> {
    if case.gates.is_none() {
        return Ok(None);
    }
    let kernel = vm::kernel(config).map_err(|error| report::chain(&error))?;
    kernel_image::unmet(&case.gates, &kernel.linux).map_err(|error| report::chain(&error))
}

/// Said of a failure, as what the guest's memory has no room for fails in the guest, and not always
/// by the kernel's end.
const DISK_FULL: &str = "when the test ended the filesystem of the run directory had no room left for the guest's \
     memory: this may be why it failed (UML_TEST_RUN_DIR names another place)";

struct Running<'o> {
    facts: Facts,
    /// The test's process in the guest.
    pid: Option<i32>,
    evidence: Evidence,
    config: Config,
    joined: bool,
    output: Output<'o>,
}

impl Running<'_> {
    fn attempt(&mut self, case: &TestCase) {
        let manifest_dir = config::manifest_dir(case.manifest_dir);
        match config::resolve(&manifest_dir, &case.overrides, &config::variables()) {
            Ok(config) => self.config = config,
            Err(error) => return self.facts.not_started = Some(report::chain(&error)),
        }
        match gate_facts(unmet_gate(case, &self.config), self.config.gates) {
            Ok(()) => {}
            Err(Gated::Unmet(reason)) => return self.facts.unmet_gate = Some(reason),
            Err(Gated::NotStarted(error)) => return self.facts.not_started = Some(error),
        }
        let started = vm::kernel(&self.config).and_then(|kernel| {
            let mut opening = vm::opening(&self.config, &kernel.linux, &manifest_dir)?;
            let spawn = test_process(case, self.joined);
            let backlog = Closing(Backlog::new());
            let events = opening
                .spawn(spawn, backlog.0.clone())
                .map_err(|error| Error::Request(error.to_string()))?;
            Ok((Vm::start(&self.config, kernel, opening, None)?, events, backlog))
        });
        let (mut vm, events, backlog) = match started {
            Ok(started) => started,
            Err(error) => return self.facts.not_started = Some(report::chain(&error)),
        };
        match vm.wait_ready() {
            Ok(()) => {
                self.evidence.kernel = Some(vm.kernel_release().to_owned());
                report::warn_unprotected(&vm.protection(), self.config.sandbox);
                report::warn_traps(vm.kernel_release(), self.config.traps);
                self.facts.phase = Phase::Running;
                match self.follow(&events, backlog, &vm) {
                    Ok(()) => self.stop(&vm),
                    Err(interrupted) => self.interrupted(interrupted, &vm, self.config.timeout),
                }
            }
            Err((interrupted, phase)) => {
                self.evidence.kernel = Some(vm.booted().to_string());
                self.facts.phase = phase;
                self.interrupted(interrupted, &vm, vm.boot_limit());
            }
        }
        self.gather(&vm);
    }

    /// Follows the test's process to its end.
    fn follow(
        &mut self,
        events: &Receiver<ProcessEvent>,
        backlog: Closing,
        vm: &Vm,
    ) -> Result<(), Interrupted> {
        let deadline = Instant::now() + self.config.timeout;
        loop {
            let event = match vm::next_event(events, vm, deadline) {
                // What has come in time and was not looked at yet, the end above all.
                Err(Interrupted::Deadline) => match events.try_recv() {
                    Ok(event) if deadline.elapsed() < LATE => event,
                    Ok(_) | Err(_) => return Err(Interrupted::Deadline),
                },
                other => other?,
            };
            match event {
                ProcessEvent::Started { pid } => self.pid = Some(pid),
                ProcessEvent::StdinReady { .. } => {}
                ProcessEvent::Failed(failure) => return Err(Interrupted::Refused(failure)),
                ProcessEvent::Output { stream, data } => {
                    backlog.0.taken(data.len());
                    if stream == Stream::Harness {
                        self.evidence.harness.push(stream, data);
                    } else {
                        (self.output)(stream, &data);
                        self.evidence.output.push(stream, data);
                    }
                }
                ProcessEvent::Exited { exit, completion, oom, .. } => {
                    let completion = completion.unwrap_or(Completion::NotStarted);
                    if vm.is_disk_full() {
                        self.evidence.notes.push(DISK_FULL.to_owned());
                    }
                    self.facts.process = Some(ProcessEnd { exit, completion, oom });
                    return Ok(());
                }
            }
        }
    }

    /// The verdict's facts are in; what happens while the guest powers off may add to them.
    fn stop(&mut self, vm: &Vm) {
        self.facts.phase = Phase::Stopping;
        if let Err(interrupted) = vm.write_back() {
            let why = match &interrupted {
                Interrupted::Refused(failure) => failure.to_string(),
                Interrupted::Unsendable(why) => why.clone(),
                Interrupted::Deadline => "the guest did not answer in time".to_owned(),
                Interrupted::Channel(_) => "the guest ended first".to_owned(),
            };
            if self.config.rw_dirs.is_empty() {
                self.evidence.notes.push(format!("while shutting down: {why}"));
            } else {
                self.facts.writes_lost = Some(why);
            }
            if let Interrupted::Channel(_) = interrupted {
                self.note_kernel_end(vm);
            }
        } else if vm.wait_powered_off().is_err() {
            self.note_kernel_end(vm);
        }
    }

    fn interrupted(&mut self, interrupted: Interrupted, vm: &Vm, limit: Duration) {
        match interrupted {
            Interrupted::Deadline => {
                self.facts.passed_limit = Some(limit);
                // The kernel writes stacks to the console too, which is to show what was before.
                self.evidence.console = vm.console();
                self.evidence.kernel_stacks = self.pid.map(|pid| vm.kernel_stacks(pid));
            }
            Interrupted::Refused(failure) => self.facts.refused = Some(failure),
            Interrupted::Unsendable(why) => self.facts.refused = Some(Failure::new(why, "", 0)),
            Interrupted::Channel(end) => {
                if end == ChannelEnd::Closed {
                    self.note_kernel_end(vm);
                }
                self.facts.channel = Some(end);
            }
        }
    }

    fn note_kernel_end(&mut self, vm: &Vm) {
        if let Some(ended) = vm.wait_ended(vm::KERNEL_END) {
            self.facts.kernel = Some(ended.exit);
            self.facts.disk_full = ended.disk_full;
        }
    }

    /// Takes what the guest's end would take away.
    fn gather(&mut self, vm: &Vm) {
        if self.evidence.kernel_stacks.is_none() {
            self.evidence.console = vm.console();
        }
        self.evidence.console_log = vm.console_log();
        self.facts.panic_message = console::panic_message(&self.evidence.console);
    }
}

/// The process that runs the case: this very program, told to run this one test.
fn test_process(case: &TestCase, joined: bool) -> Spawn {
    // A program that cannot be found is refused by the agent, with the name that was tried.
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let program = Bytes::from(program.as_os_str().as_bytes());
    let name = case.name();
    // --include-ignored: without it, an ignored test that was asked for would run nothing and
    // succeed. One thread: nothing else writes while the body's streams are in place.
    let arguments = [&*name, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"];
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    Spawn {
        id: 0, // given by the session
        argv: std::iter::once(program.clone())
            .chain(arguments.iter().map(|argument| Bytes::from(argument.as_bytes())))
            .collect(),
        program,
        env: EnvChanges::default(),
        cwd: Bytes::from(cwd.as_os_str().as_bytes()),
        stdin: SpawnInput::Empty,
        joined,
        completion: Some(vm::random()),
    }
}
