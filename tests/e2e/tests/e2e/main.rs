//! Every fixture in real guests, through every way of running tests. `README.md` says how to call
//! this and what the variables do.

mod command;
mod fixtures;
mod kernels;
mod killed;
mod left;
mod load;
mod marker;
mod output;
mod places;
mod removal;
mod skips;
mod table;
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

/// How often the guest-side checks are repeated.
const REPEAT: &str = "UML_TEST_E2E_REPEAT";
/// `UML_TEST_TRAPS` for all guests.
const TRAPS: &str = "UML_TEST_E2E_TRAPS";

/// Checks that keep all CPUs busy run alone: the others look at the clock.
static CPUS: RwLock<()> = RwLock::new(());

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let repeat = std::env::var(REPEAT).map_or(1, |times| times.parse().expect("a whole number"));
    left::adopt_orphans();
    // Not for a list, which is asked for often and must be quick.
    let fixtures = if arguments.list {
        None
    } else {
        Some(Arc::new(Fixtures::build(std::env::var(TRAPS).ok())))
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&fixtures, repeat));
    let left = [left::orphans(), left::ownerless_sockets()].concat();
    if !left.is_empty() {
        eprintln!("left behind by all of these:\n{}", left.join("\n"));
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
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
    trials.push(heavy(fixtures, "bulk::custom_with_ptrace".to_owned(), |fixtures| {
        let (way, _) = WAYS[1];
        outcome(verdicts::in_bulk(fixtures, way, &[("UML_TEST_TRAPS", "ptrace")]))
    }));
    trials.extend(through_every_way(fixtures));
    trials.extend(on_the_host(fixtures));
    trials
}

/// A check that is made through each way of running tests.
type EveryWay = fn(&Fixtures, Way) -> Result<(), Problem>;

fn through_every_way(fixtures: &Built) -> Vec<Trial> {
    const CHECKS: &[(&str, EveryWay)] = &[
        ("ignored_on_request", verdicts::ignored_on_request),
        ("skips", skips::table),
        ("kernels", kernels::all),
        ("marker::refused", marker::refused),
        ("marker::refused_with_a_page", marker::refused_with_a_page),
        ("killed::sigkill", |fixtures, way| killed::at_any_moment(fixtures, way, 0)),
        ("killed::sigterm", |fixtures, way| killed::at_any_moment(fixtures, way, 1)),
        ("killed::sigint", |fixtures, way| killed::at_any_moment(fixtures, way, 2)),
        ("killed::with_its_group", killed::with_its_group),
        ("output::a_hundred_megabytes", output::a_hundred_megabytes),
        ("output::a_million_tiny_writes", output::a_million_tiny_writes),
        ("output::odd_bytes", output::odd_bytes),
        ("output::captured", output::captured),
        ("places::unfit", places::unfit),
        ("places::odd_names", places::odd_names),
        ("places::tmpdir_does_not_matter", places::tmpdir_does_not_matter),
    ];
    let mut trials = Vec::new();
    for (check_name, check) in CHECKS {
        for (way, way_name) in WAYS {
            trials.push(light(fixtures, format!("{check_name}::{way_name}"), move |fixtures| {
                outcome(check(fixtures, way))
            }));
        }
    }
    trials
}

fn on_the_host(fixtures: &Built) -> Vec<Trial> {
    let done = |()| Ok(Completion::Completed);
    let mounting = |check: fn(&Fixtures)| {
        move |fixtures: &Fixtures| match places::no_mounts() {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => done(check(fixtures)),
        }
    };
    let name = str::to_owned;
    vec![
        light(fixtures, name("listing::nextest"), |fixtures| outcome(verdicts::listing(fixtures))),
        heavy(fixtures, name("load::one_binary"), move |fixtures| done(load::one_binary(fixtures))),
        heavy(fixtures, name("load::two_binaries"), move |fixtures| {
            done(load::two_binaries(fixtures))
        }),
        heavy(fixtures, name("load::two_cargos"), move |fixtures| done(load::two_cargos(fixtures))),
        light(fixtures, name("places::odd_project"), move |fixtures| {
            done(places::odd_project(fixtures))
        }),
        light(fixtures, name("places::unwritable"), move |fixtures| {
            done(places::unwritable(fixtures))
        }),
        light(fixtures, name("places::noexec"), mounting(places::noexec)),
        light(fixtures, name("places::full_disk"), mounting(places::full_disk)),
        light(fixtures, name("kernels::silent"), move |fixtures| done(kernels::silent(fixtures))),
        light(fixtures, name("removal::of_a_tree"), move |fixtures| {
            done(removal::of_a_tree(fixtures))
        }),
        light(fixtures, name("removal::of_everything"), move |fixtures| {
            done(removal::of_everything(fixtures))
        }),
    ]
}

/// The fixtures; absent where only a list was asked for.
type Built = Option<Arc<Fixtures>>;

type Checked = Result<Completion, Failed>;

fn outcome(result: Result<(), Problem>) -> Checked {
    match result {
        Ok(()) => Ok(Completion::Completed),
        Err(Problem::NoNextest) => Ok(Completion::ignored_with("cargo-nextest is not installed")),
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
