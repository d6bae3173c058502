//! Every fixture in real guests, through every way of running tests. `README.md` says how to call
//! this and what the variables do.

mod cached;
mod command;
mod evidence;
mod fixtures;
mod gates;
mod kernels;
mod killed;
mod left;
mod load;
mod marker;
mod output;
mod places;
mod process;
mod protection;
mod records;
mod removal;
mod skips;
mod table;
mod terminal;
mod user;
mod verdicts;
mod ways;

use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use fixtures::Fixtures;
use table::ROWS;
use verdicts::Problem;
use ways::{WAYS, Way};

/// How often each check is made.
const REPEAT: &str = "UML_TEST_E2E_REPEAT";
/// `UML_TEST_TRAPS` for all guests.
const TRAPS: &str = "UML_TEST_E2E_TRAPS";

/// Checks that keep all CPUs busy run alone: the others look at the clock.
static CPUS: RwLock<()> = RwLock::new(());

#[expect(clippy::print_stderr, reason = "what is left is nobody's trial")]
fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let repeat = std::env::var(REPEAT).map_or(1, |times| times.parse().expect("a whole number"));
    left::adopt_orphans();
    hear_interrupts();
    // Not for a list, which is asked for often and must be quick.
    let fixtures = if arguments.list {
        None
    } else {
        Some(Arc::new(Fixtures::build(std::env::var(TRAPS).ok())))
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&fixtures, repeat));
    let left = left::orphans();
    if !left.is_empty() {
        eprintln!("left behind by all of these:\n{}", left.join("\n"));
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// A shell's background job ignores Ctrl-C, and passes that on; the runners that are interrupted
/// here must not.
#[expect(unsafe_code, reason = "signal handlers can be unsafe, this one is the default")]
fn hear_interrupts() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action runs no code of ours.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.expect("SIGINT can be set");
}

fn trials(fixtures: &Built, repeat: usize) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (way, way_name) in WAYS {
        for row in ROWS {
            let name = format!("alone::{way_name}::{}", row.name);
            trials.push(light(fixtures, name, move |fixtures| {
                repeated(repeat, || verdicts::alone(fixtures, way, row))
            }));
        }
        trials.push(heavy(fixtures, format!("bulk::{way_name}"), move |fixtures| {
            repeated(repeat, || verdicts::in_bulk(fixtures, way, &[]))
        }));
    }
    trials.push(heavy(fixtures, "bulk::custom_with_ptrace".to_owned(), move |fixtures| {
        let (way, _) = WAYS[1];
        repeated(repeat, || verdicts::in_bulk(fixtures, way, &[("UML_TEST_TRAPS", "ptrace")]))
    }));
    trials.extend(through_every_way(fixtures, repeat));
    trials.extend(on_the_host(fixtures, repeat));
    trials
}

/// A check that is made through each way of running tests.
type EveryWay = fn(&Fixtures, Way) -> Result<(), Problem>;

fn through_every_way(fixtures: &Built, repeat: usize) -> Vec<Trial> {
    const CHECKS: &[(&str, EveryWay)] = &[
        ("ignored_on_request", verdicts::ignored_on_request),
        ("skips", skips::table),
        ("kernels", kernels::all),
        ("gates::failures", gates::failures),
        ("evidence::kept", evidence::kept),
        ("records::all", records::all),
        ("records::unwritable", records::unwritable),
        ("marker::refused", marker::refused),
        ("marker::refused_with_a_page", marker::refused_with_a_page),
        ("killed::sigkill", |fixtures, way| killed::at_any_moment(fixtures, way, 0)),
        ("killed::sigterm", |fixtures, way| killed::at_any_moment(fixtures, way, 1)),
        ("killed::sigint", |fixtures, way| killed::at_any_moment(fixtures, way, 2)),
        ("killed::at_its_end", killed::at_its_end),
        ("killed::with_its_group", killed::with_its_group),
        ("killed::while_keeping", killed::while_keeping),
        ("killed::while_writing", killed::while_writing),
        ("output::a_hundred_megabytes", output::a_hundred_megabytes),
        ("output::a_million_tiny_writes", output::a_million_tiny_writes),
        ("output::odd_bytes", output::odd_bytes),
        ("output::in_turn", output::in_turn),
        ("output::captured", output::captured),
        ("places::unfit", places::unfit),
        ("places::odd_names", places::odd_names),
        ("places::odd_project", places::odd_project),
        ("places::tmpdir_does_not_matter", places::tmpdir_does_not_matter),
        ("places::unwritable", places::unwritable),
        ("process::traps", process::traps),
        ("process::slots", process::slots),
        ("removal::of_a_tree", removal::of_a_tree),
    ];
    // Ten seconds of work for a CPU, whatever is asked for.
    const ONCE: &[(&str, EveryWay)] = &[("removal::of_everything", removal::of_everything)];
    // With what they need root for.
    const AS_ROOT: &[(&str, &str, EveryWay)] = &[
        ("places::noexec", "mounts on the host", places::noexec),
        ("places::tmpdir", "mounts on the host", places::tmpdir),
        ("places::full_disk", "mounts on the host", places::full_disk),
        ("places::odd_project_in_run", "has a project below /run", places::odd_project_in_run),
    ];
    const ALL_CPUS: &[(&str, EveryWay)] = &[
        ("killed::among_many", killed::among_many),
        ("load::one_binary", load::one_binary),
        ("load::two_cargos", load::two_cargos),
    ];
    let mut trials = Vec::new();
    for (way, way_name) in WAYS {
        let checks = CHECKS.iter().map(|check| (check, repeat));
        for ((name, check), times) in checks.chain(ONCE.iter().map(|check| (check, 1))) {
            trials.push(light(fixtures, format!("{name}::{way_name}"), move |fixtures| {
                repeated(times, || check(fixtures, way))
            }));
        }
        for (name, what, check) in AS_ROOT {
            trials.push(light(fixtures, format!("{name}::{way_name}"), move |fixtures| {
                match user::is_root() {
                    false => Ok(Completion::ignored_with(format!("{what}: needs root"))),
                    true => repeated(repeat, || check(fixtures, way)),
                }
            }));
        }
        for (name, check) in ALL_CPUS {
            trials.push(heavy(fixtures, format!("{name}::{way_name}"), move |fixtures| {
                repeated(repeat, || check(fixtures, way))
            }));
        }
    }
    trials
}

/// A check of its own kind, which panics where it does not pass.
type OnTheHost = fn(&Fixtures);

fn on_the_host(fixtures: &Built, repeat: usize) -> Vec<Trial> {
    const CHECKS: &[(&str, OnTheHost)] = &[
        ("cached::names", cached::names),
        ("cached::last_used", cached::last_used),
        ("cached::modules", cached::modules),
        ("kernels::along_path", kernels::along_path),
        ("kernels::silent", kernels::silent),
        ("output::without_measure", output::without_measure),
        ("places::rw_dir", places::rw_dir),
        ("process::limits", process::limits),
        ("protection::without_landlock", protection::without_landlock),
        ("terminal::interrupts", terminal::interrupts),
        ("verdicts::kernel_stacks", verdicts::kernel_stacks),
    ];
    const ALL_CPUS: &[(&str, bool)] =
        &[("load::two_binaries::direct", false), ("load::two_binaries::nextest", true)];
    let mut trials = vec![light(fixtures, "listing::nextest".to_owned(), move |fixtures| {
        repeated(repeat, || verdicts::listing(fixtures))
    })];
    trials.extend(ALL_CPUS.iter().map(|(name, nextest)| {
        heavy(fixtures, (*name).to_owned(), move |fixtures| {
            repeated(repeat, || load::two_binaries(fixtures, *nextest))
        })
    }));
    trials.extend(CHECKS.iter().map(|(name, check)| {
        light(fixtures, (*name).to_owned(), move |fixtures| {
            repeated(repeat, || {
                check(fixtures);
                Ok(())
            })
        })
    }));
    trials
}

/// The fixtures; absent where only a list was asked for.
type Built = Option<Arc<Fixtures>>;

type Checked = Result<Completion, Failed>;

fn outcome(result: Result<(), Problem>) -> Checked {
    match result {
        Ok(()) => Ok(Completion::Completed),
        Err(Problem::NoNextest) => {
            let reason = "cargo-nextest is not installed";
            match std::env::var_os("CI") {
                Some(_) => Err(format!("{reason}, and in CI this has to run").into()),
                None => Ok(Completion::ignored_with(reason)),
            }
        }
        Err(Problem::Wrong(what)) => Err(what.into()),
    }
}

/// Does a check so many times, and tells of every time that it did not pass.
fn repeated(times: usize, check: impl Fn() -> Result<(), Problem>) -> Checked {
    let mut problems = Vec::new();
    for time in 1..=times {
        match check() {
            Ok(()) => {}
            Err(Problem::NoNextest) => return outcome(Err(Problem::NoNextest)),
            Err(Problem::Wrong(what)) => problems.push(format!("run {time} of {times}: {what}")),
        }
    }
    if problems.is_empty() { Ok(Completion::Completed) } else { Err(problems.join("\n").into()) }
}

/// A check that leaves a CPU free.
fn light(
    fixtures: &Built,
    name: String,
    check: impl FnOnce(&Fixtures) -> Checked + Send + 'static,
) -> Trial {
    let fixtures = fixtures.clone();
    Trial::ignorable_test(name, move || {
        let _shared = CPUS.read().unwrap_or_else(PoisonError::into_inner);
        check(fixtures.as_deref().expect("built, as this is no list"))
    })
}

/// A check that takes all CPUs.
fn heavy(
    fixtures: &Built,
    name: String,
    check: impl FnOnce(&Fixtures) -> Checked + Send + 'static,
) -> Trial {
    let fixtures = fixtures.clone();
    Trial::ignorable_test(name, move || {
        let _whole = CPUS.write().unwrap_or_else(PoisonError::into_inner);
        check(fixtures.as_deref().expect("built, as this is no list"))
    })
}
