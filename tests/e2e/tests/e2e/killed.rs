//! Runners that are killed: whatever the moment, guest and run directory are gone in a second.

use std::time::{Duration, Instant};

use nix::errno::Errno;
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

/// How long the test goes on by itself, in seconds: until it is killed, or not at all.
const FOR_LONG: &str = "30";
const NOT_AT_ALL: &str = "0";

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
        one(fixtures, way, SIGNALS[signal], moment, false, FOR_LONG)?;
    }
    Ok(())
}

/// The runner is killed while its guest ends by itself: from the test's end over power-off until
/// what the guest had is removed.
pub(crate) fn at_its_end(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for signal in SIGNALS {
        for moment in (20..=120).step_by(5).map(Duration::from_millis).map(Moment::Booting) {
            one(fixtures, way, signal, moment, false, NOT_AT_ALL)?;
        }
    }
    Ok(())
}

/// The whole process group gets the signal, as from a terminal.
pub(crate) fn with_its_group(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    // nextest puts each test into a group of its own.
    for signal in SIGNALS.into_iter().skip(usize::from(way.is_nextest())) {
        for moment in [10, 25, 40, 150].map(Duration::from_millis) {
            one(fixtures, way, signal, Moment::After(moment), true, FOR_LONG)?;
        }
        one(fixtures, way, signal, Moment::Booting(Duration::ZERO), true, FOR_LONG)?;
    }
    Ok(())
}

fn one(
    fixtures: &Fixtures,
    way: Way,
    signal: Signal,
    moment: Moment,
    group: bool,
    seconds: &str,
) -> Result<(), Problem> {
    let base = Base::new();
    let env = [("E2E_WAIT", seconds)];
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
    let what = format!("{signal} at {moment:?}");
    match if group { killpg(runner, signal) } else { kill(runner, signal) } {
        // nextest has collected it already.
        Err(Errno::ESRCH) if runner != running.pid() && seconds == NOT_AT_ALL => {}
        sent => sent.unwrap(),
    }
    if runner != running.pid() {
        base.assert_empty_after(&what);
    }
    let finished = running.finish_within(Duration::from_secs(12));
    let killed = !finished.status.success();
    assert!(killed || seconds == NOT_AT_ALL, "{what}: {}", finished.text());
    base.assert_empty_after(&what);
    // A supervisor that has not come as far as to make its directory has nothing with the base's
    // name yet. It is this process's child by now.
    let started = Instant::now();
    let adopted = crate::command::adopted();
    while adopted.iter().any(still_runs) {
        assert!(started.elapsed() < START, "{what}: left {adopted:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    base.assert_empty_after(&what);
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
