//! Runners that are killed: whatever the moment, they, guest and run directory are gone in a second.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::command::Running;
use crate::fixtures::Fixtures;
use crate::left::{Base, identified, still_runs};
use crate::load::MANY;
use crate::places::RW_MANIFEST;
use crate::user::Copies;
use crate::verdicts::Problem;
use crate::ways::{Suite, Wanted, Way};

const SIGNALS: [Signal; 3] = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT];

/// How long a guest may take to be there.
const START: Duration = Duration::from_secs(10);

/// How long nextest may take to end, which waits for what it has told to end, and reports.
const NEXTEST: Duration = Duration::from_secs(12);

/// A test that goes on by itself for so many seconds: until it is killed, or not at all.
const WAITS: Wanted<'_> = Wanted {
    only: Some("cases::host::waits_to_be_killed"),
    env: &[("E2E_WAIT", "30")],
    suite: Suite::Cases,
    threads: 1,
    ..MANY
};
const ENDS: Wanted<'_> = Wanted { env: &[("E2E_WAIT", "0")], ..WAITS };

/// When a runner is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its process was started.
    After(Duration),
    /// As soon as so many guests have their run directories, and so long after that.
    Guests(usize, Duration),
}

/// The whole of a guest's start, and some way into the test.
fn moments() -> impl Iterator<Item = Moment> {
    let times = (0..60).step_by(3).chain([80, 120, 200]).map(Duration::from_millis);
    times
        .map(Moment::After)
        .chain([0, 20, 100].map(Duration::from_millis).map(|pause| Moment::Guests(1, pause)))
}

/// Each signal at some moments from before a short test's end until everything is removed.
fn around_the_end(step: usize) -> impl Iterator<Item = (Signal, Moment)> {
    let times = move || (20..=120).step_by(step).map(Duration::from_millis);
    SIGNALS
        .into_iter()
        .flat_map(move |signal| times().map(move |pause| (signal, Moment::Guests(1, pause))))
}

/// The runner alone is killed, as by the out-of-memory killer.
pub(crate) fn at_any_moment(fixtures: &Fixtures, way: Way, signal: usize) -> Result<(), Problem> {
    for moment in moments() {
        Kill::new(WAITS, SIGNALS[signal], moment).of(fixtures, way)?;
    }
    Ok(())
}

/// The runner is killed while its guest ends by itself: from the test's end over power-off until
/// what the guest had is removed.
pub(crate) fn at_its_end(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for (signal, moment) in around_the_end(5) {
        Kill { ends: true, ..Kill::new(ENDS, signal, moment) }.of(fixtures, way)?;
    }
    Ok(())
}

/// The whole process group gets the signal, as from a terminal.
pub(crate) fn with_its_group(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    // nextest puts each test into a group of its own.
    for signal in SIGNALS.into_iter().skip(usize::from(way.is_nextest())) {
        let moments = [10, 25, 40, 150].map(Duration::from_millis).map(Moment::After);
        for moment in moments.into_iter().chain([Moment::Guests(1, Duration::ZERO)]) {
            Kill { group: true, ..Kill::new(WAITS, signal, moment) }.of(fixtures, way)?;
        }
    }
    Ok(())
}

/// The runner is killed with several guests, of which some boot, some run and some end.
pub(crate) fn among_many(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    for signal in SIGNALS {
        for pause in [0, 30, 100, 250].map(Duration::from_millis) {
            Kill::new(MANY, signal, Moment::Guests(4, pause)).of(fixtures, way)?;
        }
    }
    Ok(())
}

/// The runner is killed while it keeps what there is of a failure: some of it is there, or nothing.
pub(crate) fn while_keeping(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    const FILES: [&str; 5] = ["console.log", "harness", "outcome.txt", "stderr", "stdout"];
    let copies = Copies::new(fixtures, Path::new("/tmp"));
    let kept = copies.target().join("uml-test");
    let others = || {
        let mut names = names_in(&copies.target());
        names.retain(|name| name != "uml-test");
        names
    };
    let before = others();
    let wanted = Wanted {
        only: Some("cases::verdicts::asserts"),
        env: &[("UML_TEST_KEEP_RUNS", "20")],
        copies: Some(&copies),
        ..WAITS
    };
    // Left alone, it keeps something.
    way.run(fixtures, &wanted).ok_or(Problem::NoNextest)?;
    assert_eq!(names_in(&kept).len(), 1);
    fs::remove_dir_all(&kept).unwrap();
    for (signal, moment) in around_the_end(20) {
        Kill { ends: true, ..Kill::new(wanted.clone(), signal, moment) }.of(fixtures, way)?;
        let runs = names_in(&kept);
        assert!(runs.len() <= 1, "{signal} at {moment:?}: {runs:?}");
        for run in runs {
            assert!(run.starts_with("cases-verdicts-asserts-"), "{signal} at {moment:?}: {run}");
            let files = names_in(&kept.join(&run));
            let known = files.iter().all(|file| FILES.contains(&&**file));
            assert!(known, "{signal} at {moment:?}: {files:?}");
            fs::remove_dir_all(kept.join(run)).unwrap();
        }
        assert_eq!(others(), before, "{signal} at {moment:?}");
    }
    Ok(())
}

/// The runner is killed while what a test wrote for the host is written: some of it is there, or
/// nothing, and nothing else.
pub(crate) fn while_writing(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let copies = Copies::new(fixtures, Path::new("/tmp"));
    let dir = copies.package_dir();
    let given = dir.join("given");
    fs::create_dir(&given).unwrap();
    fs::write(dir.join("Cargo.toml"), RW_MANIFEST).unwrap();
    let env = [("E2E_PLACE", dir.to_str().unwrap())];
    let wanted = Wanted {
        only: Some("cases::host::writes_for_the_host"),
        env: &env,
        copies: Some(&copies),
        ..WAITS
    };
    // Left alone, it writes.
    way.run(fixtures, &wanted).ok_or(Problem::NoNextest)?;
    assert_eq!(names_in(&given), ["kept"]);
    fs::remove_file(given.join("kept")).unwrap();
    for (signal, moment) in around_the_end(20) {
        Kill { ends: true, ..Kill::new(wanted.clone(), signal, moment) }.of(fixtures, way)?;
        let what = format!("{signal} at {moment:?}");
        assert_eq!(names_in(&dir), ["Cargo.toml", "given"], "{what}");
        for name in names_in(&given) {
            assert_eq!(name, "kept", "{what}");
            let bytes = fs::read(given.join(&name)).unwrap();
            // Zeros are what has no place in the file yet.
            let known = bytes.iter().all(|byte| [0, 7].contains(byte));
            assert!(known && bytes.len() <= 4 << 20, "{what}: {}", bytes.len());
            fs::remove_file(given.join(name)).unwrap();
        }
    }
    Ok(())
}

/// The names in a directory, in order; none where there is no directory.
fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What is run, and how it is killed.
struct Kill<'k> {
    wanted: Wanted<'k>,
    signal: Signal,
    moment: Moment,
    /// Whether the signal goes to the whole process group.
    group: bool,
    /// Whether it ends by itself, which may be before the signal.
    ends: bool,
}

impl<'k> Kill<'k> {
    fn new(wanted: Wanted<'k>, signal: Signal, moment: Moment) -> Self {
        Self { wanted, signal, moment, group: false, ends: false }
    }

    fn of(&self, fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
        let base = Base::new();
        let Some((mut command, _)) = way.command(fixtures, &base, &self.wanted) else {
            return Err(Problem::NoNextest);
        };
        let running = Running::start(&mut command);
        // What has the guest is the test's own process.
        let tests = || match way.is_nextest() {
            true => children(running.pid()),
            false => vec![running.pid()],
        };
        let pause = match self.moment {
            Moment::After(pause) => {
                if way.is_nextest() {
                    awaited("a test's process", || {
                        tests().into_iter().find(|test| has_argument(*test, "--exact"))
                    });
                }
                pause
            }
            Moment::Guests(count, pause) => {
                let begun = identity(running.pid());
                let ended = || !begun.as_ref().is_some_and(still_runs);
                // On a loaded machine a short test's may have come and gone between two looks.
                let there = || names_in(base.path()).len() >= count || (self.ends && ended());
                awaited("a guest", || there().then_some(()));
                pause
            }
        };
        std::thread::sleep(pause);
        let what = format!("{} at {:?}", self.signal, self.moment);
        let sent = Instant::now();
        let killed: Vec<_>;
        // nextest, killed, leaves every test that runs; told to end, it ends them.
        if way.is_nextest() && self.signal == Signal::SIGKILL {
            stop(running.pid());
            killed = tests().into_iter().filter_map(identity).collect();
            for test in tests().into_iter().chain([running.pid()]) {
                kill(test, Signal::SIGKILL).unwrap();
            }
        } else {
            killed = tests().into_iter().filter_map(identity).collect();
            let send = if self.group { killpg } else { kill };
            send(running.pid(), self.signal).unwrap();
        }
        base.assert_empty_since(sent, &what, &killed);
        let finished = running.finish_within(NEXTEST);
        assert!(!finished.status.success() || self.ends, "{what}: {}", finished.text());
        // A supervisor that has not come as far as to make its directory has nothing with the
        // base's name yet. It is this process's child by now.
        let started = Instant::now();
        let adopted = crate::command::adopted();
        while adopted.iter().any(still_runs) {
            assert!(started.elapsed() < START, "{what}: left {adopted:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        base.assert_empty_after(&what);
        Ok(())
    }
}

/// Stops a child, so that it has no more children than it has; where it has ended, nothing.
fn stop(child: Pid) {
    kill(child, Signal::SIGSTOP).unwrap();
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(child), flags).unwrap();
}

fn identity(process: Pid) -> Option<(u32, String)> {
    identified(process.as_raw() as u32)
}

/// Asks again and again until there is something.
pub(crate) fn awaited<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(started.elapsed() < START, "{what} is not there after {START:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split(' ').flat_map(str::parse).collect::<Vec<_>>())
        .map(Pid::from_raw)
        .collect()
}

fn has_argument(process: Pid, argument: &str) -> bool {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
}
