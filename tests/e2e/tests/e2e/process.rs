//! The kernel process as the host sees it: what settings come to there.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{Running, run};
use crate::fixtures::Fixtures;
use crate::killed::awaited;
use crate::left::Base;
use crate::verdicts::Problem;
use crate::ways::{Wanted, Way, by_way_of};

/// The way to intercept system calls is the variable's: what "in both modes" rests on.
pub(crate) fn traps(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for (traps, argument) in [("ptrace", "off"), ("seccomp", "on"), ("auto", "auto")] {
        let kernel = Kernel::of(fixtures, way, ("UML_TEST_TRAPS", traps))?;
        let argument = format!("seccomp={argument}");
        assert!(kernel.arguments.contains(&argument), "{argument} not in {:?}", kernel.arguments);
    }
    Ok(())
}

/// Of nextest's places, each has a CPU.
pub(crate) fn slots(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).collect();
    // nextest itself says which one it is.
    let slots = if way.is_nextest() { 1 } else { 2 * cpus.len() };
    for slot in 0..slots {
        let kernel = Kernel::of(fixtures, way, ("NEXTEST_TEST_GLOBAL_SLOT", &slot.to_string()))?;
        assert_eq!(kernel.cpus, cpus[slot % cpus.len()].to_string(), "slot {slot}");
    }
    Ok(())
}

/// A body has the umask and the limits of whoever runs the tests.
pub(crate) fn limits(fixtures: &Fixtures) {
    let base = Base::new();
    let (name, env) = ("cases::host::has_its_callers_limits", [("E2E_LIMITS", "0027 64")]);
    let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
    let (command, _) = Way::Custom.command(fixtures, &base, &wanted).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 027; ulimit -Sn 64; exec \"$@\"", "sh"]);
    let finished = run(&mut by_way_of(shell, &command), Duration::from_secs(60));
    assert!(finished.text().contains("1 passed"), "{}", finished.text());
}

struct Kernel {
    arguments: Vec<String>,
    /// The CPUs that it may run on, as `proc(5)` has them.
    cpus: String,
}

impl Kernel {
    /// Looks at one that runs with this variable, and ends it.
    fn of(fixtures: &Fixtures, way: Way, variable: (&str, &str)) -> Result<Self, Problem> {
        let base = Base::new();
        let env = [("E2E_WAIT", "30"), variable];
        let name = "cases::host::waits_to_be_killed";
        let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
        let Some((mut command, _)) = way.command(fixtures, &base, &wanted) else {
            return Err(Problem::NoNextest);
        };
        let running = Running::start(&mut command);
        let pid = awaited("a guest", || base.kernels().first().copied());
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let (line, status) = (read("cmdline"), read("status"));
        kill(running.pid(), Signal::SIGTERM).unwrap();
        running.finish_within(Duration::from_secs(12));
        base.assert_empty();
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Ok(Self {
            arguments: line.split('\0').map(str::to_owned).collect(),
            cpus: cpus.unwrap().trim().to_owned(),
        })
    }
}
