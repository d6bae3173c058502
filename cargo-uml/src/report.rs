//! Everything this command says: the only file that prints.
//!
//! On a terminal a running phase is a progress bar; anywhere else each phase is one line, so that CI logs stay short.
//!
//! What can't be written to stderr is lost: nobody is left to be told, and the command's work goes on.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, WeakProgressBar};
use uml_test::OutputStream;

pub(crate) struct Reporter {
    terminal: bool,
    /// The bar of the phase that began last; gone where that has ended.
    bar: Mutex<WeakProgressBar>,
}

/// What a phase counts.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Steps,
    Bytes,
}

/// A running phase; its bar disappears when it is dropped.
pub(crate) struct Phase {
    bar: ProgressBar,
}

impl Reporter {
    pub(crate) fn new() -> Self {
        Reporter { terminal: io::stderr().is_terminal(), bar: Mutex::default() }
    }

    /// A line that stays, above the bar if there is one.
    pub(crate) fn note(&self, message: impl Display) {
        let print = || OutputStream::Stderr.write_all(format!("{message}\n").as_bytes());
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let _ = match bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        };
    }

    /// A phase whose length is unknown, for now at least.
    pub(crate) fn phase(&self, message: impl Display) -> Phase {
        let bar = ProgressBar::no_length();
        if self.terminal {
            bar.set_style(style("{spinner} {msg} [{elapsed}] {prefix}"));
            bar.set_message(message.to_string());
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            self.note(message);
        }
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = bar.downgrade();
        Phase { bar }
    }

    /// A phase of `total` steps or bytes.
    pub(crate) fn counted(&self, message: impl Display, total: u64, unit: Unit) -> Phase {
        let phase = self.phase(message);
        phase.set_total(total, unit);
        phase
    }

    /// The command's result: with [`Reporter::text`] the only thing on stdout.
    pub(crate) fn result(&self, path: &Path) -> io::Result<()> {
        let mut line = path.as_os_str().as_bytes().to_vec();
        line.push(b'\n');
        io::stdout().lock().write_all(&line)
    }

    /// A result that is text: a table, JSON, a completion script.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        OutputStream::Stdout.write_all(text.as_bytes())
    }

    /// The error and its causes.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        self.note(format_args!("error: {error:#}"));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Phase {
    /// From here on the phase has `total` steps or bytes, and the time that is left is shown.
    pub(crate) fn set_total(&self, total: u64, unit: Unit) {
        self.bar.set_style(style(match unit {
            Unit::Steps => "{msg} [{elapsed}] {wide_bar} {pos}/{len}, {eta} left",
            Unit::Bytes => "{msg} [{elapsed}] {wide_bar} {bytes}/{total_bytes}, {eta} left",
        }));
        self.bar.set_length(total);
        self.bar.reset_eta();
    }

    /// Shows how many bytes have come, of a total that may not be known yet.
    pub(crate) fn bytes(&self, count: u64, total: Option<u64>) {
        match total {
            Some(total) if self.bar.length().is_none() => self.set_total(total, Unit::Bytes),
            None => self.bar.set_prefix(format!("{}", indicatif::HumanBytes(count))),
            Some(_) => {}
        }
        self.at(count);
    }

    /// Shows how many steps were taken, of a total that may not be known.
    pub(crate) fn steps(&self, count: u64) {
        if self.bar.length().is_none() {
            self.bar.set_prefix(format!("step {count}"));
        }
        self.at(count);
    }

    /// Moves to `position`. The total grows when it was counted too low, so that the bar never shows more than all.
    pub(crate) fn at(&self, position: u64) {
        if self.bar.length().is_some_and(|length| length < position) {
            self.bar.set_length(position);
        }
        self.bar.set_position(position);
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
