//! The subcommands: what each does with the cache, and what it prints.

mod adopt;
mod build;
mod completions;
mod remove;
mod select;
pub(crate) mod setup;

use std::process::ExitCode;

use crate::cli::{Command, KernelCommand};
use crate::doctor;
use crate::kernel::cache::Cache;
use crate::listing;
use crate::matrix;
use crate::report::Reporter;
use crate::run;

/// Runs a parsed command line.
pub(crate) fn run(command: Command, reporter: &'static Reporter) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup(arguments) => {
            let kernel = setup::setup(&Cache::locate()?, arguments.source.as_deref(), reporter)?;
            reporter.result(&kernel)?;
        }
        Command::Kernel(command) => kernel(command, &Cache::locate()?, reporter)?,
        Command::Completions { shell } => reporter.text(&completions::script(shell))?,
        Command::Doctor(arguments) => return doctor::run(&arguments, reporter),
        Command::Matrix(arguments) => return matrix::run(arguments, reporter),
        Command::Test(cargo) => match run::cargo::run("test", cargo.arguments, reporter)? {},
        Command::Bench(cargo) => match run::cargo::run("bench", cargo.arguments, reporter)? {},
        Command::Run(cargo) => match run::cargo::run("run", cargo.arguments, reporter)? {},
        Command::Nextest(cargo) => match run::cargo::run("nextest", cargo.arguments, reporter)? {},
        Command::LlvmCov(cargo) => match run::cargo::run("llvm-cov", cargo.arguments, reporter)? {},
        Command::Exec(arguments) => run::exec(&arguments, reporter),
        Command::Shell(arguments) => run::shell(&arguments, reporter),
        Command::Runner(arguments) => run::runner(&arguments, reporter),
    }
    Ok(ExitCode::SUCCESS)
}

fn kernel(command: KernelCommand, cache: &Cache, reporter: &Reporter) -> anyhow::Result<()> {
    match command {
        KernelCommand::Build(arguments) => {
            reporter.result(&build::build(cache, &arguments, reporter)?)?;
        }
        KernelCommand::Config(arguments) => build::config(cache, &arguments, reporter)?,
        KernelCommand::List(format) => {
            reporter.text(&listing::list(&listing::all(cache), format.format)?)?;
        }
        KernelCommand::Show { name, format } => {
            let kernel = listing::one(cache, &name)?;
            reporter.text(&listing::show(&kernel, format.format)?)?;
        }
        KernelCommand::Default { name: None } => {
            reporter.text(&format!("{}\n", select::default_name(cache)?))?;
        }
        KernelCommand::Default { name: Some(name) } => select::set_default(cache, &name)?,
        KernelCommand::Path { build, name } => {
            reporter.result(&select::path(cache, &name, build)?)?;
        }
        KernelCommand::Remove { names } => remove::remove(cache, &names, reporter)?,
        KernelCommand::Prune(arguments) => remove::prune(cache, &arguments, reporter)?,
        KernelCommand::Adopt(arguments) => {
            reporter.result(&adopt::adopt(cache, &arguments, reporter)?)?;
        }
        KernelCommand::Install(arguments) => {
            reporter.result(&adopt::install(cache, &arguments, reporter)?)?;
        }
    }
    Ok(())
}
