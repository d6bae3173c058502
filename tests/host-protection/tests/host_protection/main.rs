//! One program: the tests, and, where a test starts it again, what makes the attempts.

mod attempt;
mod files;
mod host;
mod io_uring;
mod scenarios;
mod sys;
mod through;
mod tree;
mod unprivileged;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// First argument in a guest: make the attempts on the directory that follows, and those on the rest
/// of the host through the hostfs of its `/` that comes next.
const IN_GUEST: &str = "attempts-in-guest";
/// Kernel arguments in the kernel's place: where the attempts' directories are, where to report,
/// and what else there is to attack.
const TREE: &str = "attempts-tree=";
const REPORT: &str = "attempts-report=";
const HOST: &str = "attempts-host=";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |key| arguments.iter().find_map(|argument| argument.strip_prefix(key));
    if let [_, mode, tree, root, host] = &arguments[..]
        && mode == IN_GUEST
    {
        let host = host::Host::from_text(host).expect("what the test made");
        let on = |_: &str| Box::new(through::Through { root: root.into(), host: host.clone() });
        print(&attempt::make_all(files::ATTEMPTS, |name| attempt::directory(tree.as_ref(), name)));
        print(&attempt::make_all(through::ATTEMPTS, on));
        return ExitCode::SUCCESS;
    }
    if let (Some(tree), Some(report)) = (value(TREE), value(REPORT)) {
        return in_place_of_the_kernel(tree.as_ref(), report.as_ref(), value(HOST));
    }
    let mut trials: Vec<Trial> =
        scenarios::ALL.iter().map(|(name, run)| Trial::test(*name, || Ok(run()?))).collect();
    if nix::unistd::geteuid().is_root() {
        trials.extend(scenarios::ALL.iter().map(|(name, _)| {
            Trial::test(format!("unprivileged::{name}"), || Ok(unprivileged::run(name)?))
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn in_place_of_the_kernel(tree: &Path, report: &Path, host: Option<&str>) -> ExitCode {
    let mut text = attempt::make_all(files::ATTEMPTS, |name| attempt::directory(tree, name));
    if let Some(host) = host.and_then(host::Host::from_text) {
        text.push_str(&attempt::make_all(host::ATTEMPTS, |_| Box::new(host.clone())));
    }
    match std::fs::write(report, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[expect(clippy::print_stdout, reason = "it is how a program in a guest reports")]
fn print(report: &str) {
    print!("{report}");
}
