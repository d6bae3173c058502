//! Runners that are killed: whatever the moment, guest and run directory are gone in a second.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::command::Running;
use crate::fixtures::Fixtures;
use crate::left::{Base, still_runs};
use crate::verdicts::Problem;
use crate::ways::{Wanted, Way};

const SIGNALS: [Signal; 3] = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT];

/// How long a guest may take to be there.
const START: Duration = Duration::from_secs(10);

/// When a runner is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after it was started.
    After(Duration),
    /// As soon as the guest's kernel runs, and so long after that.
    Booting(Duration),
}

/// The whole of a guest's start, and some way into the test.
fn moments() -> impl Iterator<Item = Moment> {
    let times = (0..60).step_by(3).chain([80, 120, 200]).map(Duration::from_millis);
    times.map(Moment::After).chain([0, 20, 100].map(Duration::from_millis).map(Moment::Booting))
}

/// The runner alone is killed, as by the out-of-memory killer.
pub(crate) fn at_any_moment(fixtures: &Fixtures, way: Way, signal: usize) -> Result<(), Problem> {
    for moment in moments() {
        one(fixtures, way, SIGNALS[signal], moment, false)?;
    }
    Ok(())
}

/// The whole process group gets the signal, as from a terminal.
pub(crate) fn with_its_group(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    // nextest puts each test into a group of its own.
    for signal in SIGNALS.into_iter().skip(usize::from(way.is_nextest())) {
        for moment in [10, 25, 40, 150].map(Duration::from_millis) {
            one(fixtures, way, signal, Moment::After(moment), true)?;
        }
        one(fixtures, way, signal, Moment::Booting(Duration::ZERO), true)?;
    }
    Ok(())
}

fn one(
    fixtures: &Fixtures,
    way: Way,
    signal: Signal,
    moment: Moment,
    group: bool,
) -> Result<(), Problem> {
    let base = Base::new();
    let env = [("E2E_WAIT", "1")];
    let name = "cases::host::waits_to_be_killed";
    let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
    let Some((mut command, _)) = way.command(fixtures, &base, &wanted) else {
        return Err(Problem::NoNextest);
    };
    let running = Running::start(&mut command);
    // nextest, killed, leaves every test that runs; told to end, it ends them. What has the guest
    // is the test's own process.
    let runner = match way.is_nextest() && signal == Signal::SIGKILL {
        true => awaited("a test's process", || child_with(running.pid(), "--exact")),
        false => running.pid(),
    };
    let pause = match moment {
        Moment::After(pause) => pause,
        Moment::Booting(pause) => {
            awaited("a guest", || (!base.kernels().is_empty()).then_some(()));
            pause
        }
    };
    std::thread::sleep(pause);
    if group { killpg(runner, signal) } else { kill(runner, signal) }.unwrap();
    if runner != running.pid() {
        base.assert_empty();
    }
    let finished = running.finish_within(Duration::from_secs(12));
    assert!(!finished.status.success(), "{signal} at {moment:?}: {}", finished.text());
    base.assert_empty();
    // A supervisor that has not come as far as to make its directory has nothing with the base's
    // name yet. It is this process's child by now.
    let started = Instant::now();
    let adopted = crate::command::adopted();
    while adopted.iter().any(still_runs) {
        assert!(started.elapsed() < START, "{signal} at {moment:?}: left {adopted:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    base.assert_empty();
    Ok(())
}

/// Asks again and again until there is something.
pub(crate) fn awaited<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(started.elapsed() < START, "no {what} after {START:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The child of a process that has this among its arguments.
fn child_with(parent: Pid, argument: &str) -> Option<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<i32> = children
        .flat_map(|line| line.split(' ').flat_map(str::parse).collect::<Vec<_>>())
        .collect();
    children.into_iter().find_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        line.split(|byte| *byte == 0)
            .any(|word| word == argument.as_bytes())
            .then_some(Pid::from_raw(pid))
    })
}
