//! The `cargo uml` command.
//!
//! `cargo uml setup` builds the kernel that `uml-test` boots and puts it into the user's cache; [`kernel`] owns how,
//! [`kernel::cache`] documents where. stdout carries results only (the kernel's path), stderr everything else.

mod cached;
mod cli;
mod doctor;
mod error;
mod format;
mod kernel;
mod matrix;
mod process;
mod report;
mod setup;

use std::process::ExitCode;

use crate::cli::Command;
use crate::report::Reporter;

fn main() -> ExitCode {
    let reporter = Reporter::new();
    match run(&reporter) {
        Ok(code) => code,
        Err(error) => {
            reporter.error(&error);
            let code = error
                .downcast_ref::<error::Error>()
                .map_or(error::EXIT_FAILURE, error::Error::exit_code);
            ExitCode::from(code)
        }
    }
}

fn run(reporter: &Reporter) -> anyhow::Result<ExitCode> {
    match cli::parse() {
        Command::Setup(arguments) => {
            let kernel = setup::setup(arguments.source.as_deref(), reporter)?;
            reporter.result(&kernel)?;
        }
        Command::Doctor(arguments) => return doctor::run(&arguments, reporter),
        Command::Matrix(arguments) => return matrix::run(arguments, reporter),
    }
    Ok(ExitCode::SUCCESS)
}
