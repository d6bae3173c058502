//! `cargo uml matrix`: the same tests with several kernels, and one table of the results.
//!
//! For each kernel cargo runs with `UML_TEST_KERNEL` and with `UML_TEST_RESULTS`, a fresh directory in which
//! `uml-test` records every test; [`record`] reads those. cargo's output goes to the user as it comes and is not
//! looked at.

mod cargo;
mod child;
mod kernels;
mod plan;
mod record;
mod results;
mod table;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Context;
use clap::builder::{OsStringValueParser, TypedValueParser};
use tempfile::TempDir;

use self::cargo::Invocation;
use self::child::{Ended, Signals};
pub(crate) use self::kernels::choose;
use self::results::{Column, Results, Run};
use crate::cli::Format;
use crate::error::{EXIT_CARGO_FAILED, EXIT_INTERRUPTED, EXIT_TESTS_FAILED};
use crate::kernel::cache::Cache;
use crate::report::Reporter;
use crate::run;

#[derive(Debug, clap::Args)]
pub(crate) struct MatrixArguments {
    /// A kernel to run the tests with: its name or id in the cache, or a path; repeat it for more
    #[arg(long = "kernel", value_name = "NAME|PATH", required = true, value_parser = OsStringValueParser::new().try_map(not_empty))]
    kernels: Vec<OsString>,
    /// Run `cargo nextest run` instead of `cargo test`
    #[arg(long)]
    nextest: bool,
    /// Run test binaries that know nothing of uml-test in guests too, each test in one of its own
    #[arg(long)]
    in_guests: bool,
    /// How to print the results; with json cargo's output goes to stderr
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Arguments of cargo test, or of cargo nextest run
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

fn not_empty(kernel: OsString) -> Result<OsString, &'static str> {
    if kernel.is_empty() { Err("expected a kernel's name, id or path") } else { Ok(kernel) }
}

/// Runs the tests with every kernel and prints the table.
pub(crate) fn run(arguments: MatrixArguments, reporter: &Reporter) -> anyhow::Result<ExitCode> {
    let MatrixArguments { kernels, nextest, in_guests, format, arguments } = arguments;
    // Paths are enough without a cache.
    let cache = Cache::locate().ok();
    let chosen = kernels::choose(&kernels, cache.as_ref())?;
    let invocation = Invocation::new(nextest, arguments);
    if in_guests {
        run::target::check(invocation.own())?;
    }
    // Before the signals are taken over: cargo may wait for a lock, and shall hear Ctrl-C then.
    let target = target_directory(&invocation)?;
    let matrix = Matrix {
        invocation,
        in_guests,
        format,
        signals: Signals::block().context("could not take over signals")?,
        reporter,
    };
    let mut columns: Vec<Column> = chosen
        .into_iter()
        .map(|kernel| Column {
            name: kernel.name,
            path: kernel.linux,
            run: None,
            records: Vec::new(),
            planned: Vec::new(),
        })
        .collect();
    let end = matrix.fill(&mut columns, &target)?;
    let results = Results::new(columns, end == End::Interrupted);
    matrix.print(&results)?;
    Ok(ExitCode::from(match end {
        End::Interrupted => EXIT_INTERRUPTED,
        End::CargoFailed => EXIT_CARGO_FAILED,
        End::All if results.good => 0,
        End::All => EXIT_TESTS_FAILED,
    }))
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    All,
    /// It would fail in the same way with every kernel, or did with the last one.
    CargoFailed,
    Interrupted,
}

struct Matrix<'reporter> {
    invocation: Invocation,
    in_guests: bool,
    format: Format,
    signals: Signals,
    reporter: &'reporter Reporter,
}

/// Where cargo puts what it makes.
fn target_directory(invocation: &Invocation) -> anyhow::Result<PathBuf> {
    let mut metadata = cargo_metadata::MetadataCommand::new();
    metadata.no_deps();
    if let Some(manifest) = invocation.manifest() {
        metadata.manifest_path(manifest);
    }
    Ok(metadata.exec().context("no tests to run")?.target_directory.into())
}

impl Matrix<'_> {
    /// Runs the tests with one kernel after the other.
    fn fill(&self, columns: &mut [Column], target: &Path) -> anyhow::Result<End> {
        if let Some(build) = self.invocation.build() {
            self.heading("Building the tests")?;
            let ended = self.cargo(run::cargo::command().args(build))?;
            if let Some(end) = self.ended_before("building", &ended) {
                return Ok(end);
            }
        }
        let mut planned = Vec::new();
        if self.in_guests && self.invocation.can_be_listed() {
            self.heading("Listing the tests")?;
            let list =
                tempfile::NamedTempFile::new().context("could not make a file for a list")?;
            let mut command = plan::command(&self.invocation);
            // A list is nothing that a runner of the user's, such as sudo, is for.
            if let Some(column) = columns.first() {
                run::cargo::with_kernel(&mut command, &column.path, false)?;
            }
            command.stdout(list.reopen().context("could not open a list")?);
            let ended =
                self.signals.run(&mut command).context("could not run cargo nextest list")?;
            if let Some(end) = self.ended_before("listing", &ended) {
                return Ok(end);
            }
            let text = std::fs::read_to_string(list.path()).context("could not read a list")?;
            planned = plan::tests(&text)?;
        }
        std::fs::create_dir_all(target)
            .with_context(|| format!("could not create {}", target.display()))?;
        let count = columns.len();
        for (at, column) in columns.iter_mut().enumerate() {
            self.heading(&format!("Kernel {} ({} of {count})", column.name, at + 1))?;
            let directory = TempDir::with_prefix_in("uml-matrix-", target)
                .with_context(|| format!("could not create a directory in {}", target.display()))?;
            let started = Instant::now();
            let mut command = run::cargo::command();
            command
                .args(self.invocation.test())
                .env("UML_TEST_KERNEL", &column.path)
                .env("UML_TEST_RESULTS", directory.path());
            if self.in_guests {
                run::cargo::with_kernel(&mut command, &column.path, !self.invocation.is_nextest())?;
            }
            column.planned.clone_from(&planned);
            let ended = self.cargo(&mut command)?;
            column.run = Some(Run::new(ended.status, started.elapsed()));
            column.records = record::read(directory.path())?;
            if !self.invocation.is_nextest() {
                column.records = record::keep_worst(std::mem::take(&mut column.records));
            }
            if ended.interrupted {
                return Ok(End::Interrupted);
            }
            if self.invocation.is_own_failure(ended.status.code()) {
                self.reporter.note(format_args!(
                    "error: `{}` itself failed ({}), which it would with any kernel",
                    self.invocation.name(),
                    ended.status
                ));
                return Ok(End::CargoFailed);
            }
        }
        Ok(End::All)
    }

    /// Why no kernel is come to, if what has to be done first was not.
    fn ended_before(&self, doing: &str, ended: &Ended) -> Option<End> {
        if ended.interrupted {
            return Some(End::Interrupted);
        }
        if ended.status.success() {
            return None;
        }
        self.reporter.note(format_args!(
            "error: {doing} the tests failed ({}), so they were run with no kernel",
            ended.status
        ));
        Some(End::CargoFailed)
    }

    fn cargo(&self, command: &mut Command) -> anyhow::Result<Ended> {
        if self.format == Format::Json {
            let stderr = std::io::stderr().as_fd().try_clone_to_owned();
            command.stdout(Stdio::from(stderr.context("could not use stderr")?));
        }
        let program = command.get_program().to_owned();
        self.signals.run(command).with_context(|| format!("could not run {}", program.display()))
    }

    /// Above cargo's output, where that goes.
    fn heading(&self, text: &str) -> anyhow::Result<()> {
        let heading = format!("\n== {text} ==\n\n");
        match self.format {
            Format::Text => self.reporter.text(&heading)?,
            Format::Json => self.reporter.note(heading.trim_end()),
        }
        Ok(())
    }

    fn print(&self, results: &Results) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Json => serde_json::to_string_pretty(results)? + "\n",
            // Where no tests were run there is nothing to say.
            Format::Text if results.kernels.iter().all(|kernel| kernel.run.is_none()) => {
                return Ok(());
            }
            Format::Text => format!("\n{}", table::text(results)),
        };
        Ok(self.reporter.text(&text)?)
    }
}
