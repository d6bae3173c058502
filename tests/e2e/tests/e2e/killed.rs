//! Runners that are killed: whatever the moment, guest and run directory are gone in a second.

use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};

use crate::command::Running;
use crate::fixtures::Fixtures;
use crate::left::Base;
use crate::verdicts::Problem;
use crate::ways::{Wanted, Way};

const SIGNALS: [Signal; 3] = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT];

/// The whole of a guest's start, and some way into the test.
fn moments() -> impl Iterator<Item = Duration> {
    (0..60).step_by(3).chain([80, 120, 200]).map(Duration::from_millis)
}

/// The runner alone is killed, as by the out-of-memory killer.
pub(crate) fn at_any_moment(fixtures: &Fixtures, way: Way, signal: usize) -> Result<(), Problem> {
    // nextest, killed, leaves every test that runs; told to end, it ends them.
    let signal = if way.is_nextest() { signal.max(1) } else { signal };
    for moment in moments() {
        one(fixtures, way, SIGNALS[signal], moment, false)?;
    }
    Ok(())
}

/// The whole process group gets the signal, as from a terminal.
pub(crate) fn with_its_group(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for signal in SIGNALS.into_iter().skip(usize::from(way.is_nextest())) {
        for moment in [10, 25, 40, 150] {
            one(fixtures, way, signal, Duration::from_millis(moment), true)?;
        }
    }
    Ok(())
}

fn one(
    fixtures: &Fixtures,
    way: Way,
    signal: Signal,
    moment: Duration,
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
    std::thread::sleep(moment);
    if group { killpg(running.pid(), signal) } else { kill(running.pid(), signal) }.unwrap();
    let finished = running.finish(Duration::from_secs(12));
    assert!(!finished.status.success(), "{signal} after {moment:?}: {}", finished.text());
    base.assert_empty();
    Ok(())
}
