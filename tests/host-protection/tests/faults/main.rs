//! Test runners in odd surroundings, and supervisors that come to harm: the guest must work or be
//! refused with an error, and nothing may be left behind.
//!
//! Each surrounding spoils its process, so each test starts this program again as the runner.

mod surroundings;
mod sys;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use wait_timeout::ChildExt;

use surroundings::{ALL, Surrounding};

/// First argument of a runner; the surrounding's name follows.
const RUNNER: &str = "runner";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, name] = &arguments[..]
        && mode == RUNNER
    {
        let surrounding = ALL.iter().find(|one| one.name == name).expect("a surrounding's name");
        (surrounding.run)();
        return ExitCode::SUCCESS;
    }
    let root = nix::unistd::geteuid().is_root();
    let trials = ALL.iter().map(|surrounding| {
        let namespaces = surrounding.outside.is_some();
        let ignored = namespaces && !root;
        let trial = Trial::test(surrounding.name, || Ok(test(surrounding)?));
        trial.with_ignored_flag(ignored).with_kind(if namespaces { "as root" } else { "" })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// Runs the surrounding in a process of its own.
///
/// # Errors
/// What the runner printed, or left behind.
fn test(Surrounding { name, outside, .. }: &Surrounding) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("start a runner: {error}");
    // On the filesystem that guests' memory is best on.
    let base = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let dir = tempfile::Builder::new().prefix("hp-").tempdir_in(base).map_err(failed)?;
    let place = dir.path().join("run");
    fs::create_dir(&place).map_err(failed)?;
    let output = fs::File::create(dir.path().join("output")).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = match outside {
        None => Command::new(&program),
        Some(script) => {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]);
            command.arg(format!("{script} exec \"$0\" \"$@\"")).arg(&program);
            command
        }
    };
    let mut child = command
        .args([RUNNER, name])
        .env("UML_TEST_RUN_DIR", &place)
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output)
        .spawn()
        .map_err(failed)?;
    let ended = child.wait_timeout(Duration::from_secs(60)).map_err(failed)?;
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let output = fs::read(dir.path().join("output")).map_err(failed)?;
    let output = String::from_utf8_lossy(&output);
    let left: Vec<_> = fs::read_dir(&place).map_err(failed)?.flatten().collect();
    match ended {
        Some(status) if status.success() && left.is_empty() => Ok(()),
        Some(status) => Err(format!("runner: {status}; left behind: {left:?}\n{output}")),
        None => Err(format!("the runner hangs; left behind: {left:?}\n{output}")),
    }
}
