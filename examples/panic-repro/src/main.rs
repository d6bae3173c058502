//! `example-panic-repro SCRIPT`: does the kernel survive it? For `git bisect run`, say, with the
//! kernel on trial in `UML_TEST_KERNEL`.
//!
//! The status is 0 where it does, 1 where it panics (its console goes to standard output), and 125,
//! "this one can't be tested", where that can't be told.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it is for")]

use std::process::ExitCode;
use std::time::Duration;

use example_panic_repro::{Verdict, reproduce};
use uml_test::Vm;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: example-panic-repro SCRIPT");
        return ExitCode::from(125);
    };
    // The guest sees the host's files, the script among them.
    let path = std::path::Path::new(&path);
    if let Err(error) = std::fs::File::open(path) {
        eprintln!("cannot read {}: {error}", path.display());
        return ExitCode::from(125);
    }
    // A name without a slash the shell would look for on PATH.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let script = format!(". '{}'", path.display().to_string().replace('\'', r"'\''"));
    match reproduce(Vm::builder(), &script, Duration::from_secs(60)) {
        Ok(Verdict::Survived(output)) => {
            println!("survived: {}", output.status);
            ExitCode::SUCCESS
        }
        Ok(Verdict::Panicked(panic)) => {
            println!("{panic}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cannot tell: {error}");
            ExitCode::from(125)
        }
    }
}
