//! The `cargo uml` command.
//!
//! It builds and keeps the kernels that `uml-test` boots, in the user's cache; [`kernel`] owns how, [`kernel::cache`]
//! documents where, [`command`] has what each subcommand does. stdout carries results only (a kernel's path, a
//! listing), stderr everything else.

#[cfg(not(target_os = "linux"))]
compile_error!("cargo uml is for Linux: a User Mode Linux kernel is a process of a Linux host");

mod cli;
mod command;
mod doctor;
mod error;
mod kernel;
mod listing;
mod matrix;
mod package;
mod process;
mod report;
mod run;

use std::process::ExitCode;

use crate::report::Reporter;

fn main() -> ExitCode {
    // For the whole life of the process, also to threads.
    let reporter: &'static Reporter = Box::leak(Box::new(Reporter::new()));
    match command::run(cli::parse(), reporter) {
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
