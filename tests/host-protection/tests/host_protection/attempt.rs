//! What an attempt is, how a row of them is made, and how their results are told.

use std::io;
use std::path::Path;

use crate::sys;

/// One way to change something on the host.
pub(crate) struct Attempt<T: ?Sized> {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
    pub(crate) run: fn(&T) -> io::Result<()>,
}

/// Where an attempt succeeds when there is no sandbox. This keeps the table honest: an attempt
/// that could not succeed anyway would prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// From the kernel's place, and through hostfs.
    Everywhere,
    /// As `Everywhere`, for a host user that is root.
    ForRoot,
    /// From the kernel's place: hostfs does not pass it on.
    KernelOnly,
    /// Depends on what the host's kernel was built with.
    HostDependent,
}

/// Where an attempt is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A process of root's in a guest, through hostfs.
    GuestRoot,
    /// The kernel process.
    Kernel,
}

impl Effect {
    /// Whether an attempt succeeds without the sandbox; `None` where that is open.
    pub(crate) fn without_sandbox(self, place: Place, root: bool) -> Option<bool> {
        match self {
            Self::Everywhere => Some(true),
            Self::ForRoot => Some(root),
            Self::KernelOnly => Some(place == Place::Kernel),
            Self::HostDependent => None,
        }
    }
}

/// Makes every attempt, each in a process of its own; a line for each: name, tab, result.
pub(crate) fn make_all<T: ?Sized>(
    attempts: &[Attempt<T>],
    target: impl Fn(&str) -> Box<T>,
) -> String {
    let mut report = String::new();
    for Attempt { name, run, .. } in attempts {
        let target = target(name);
        let result = match sys::forked(|| run(&target)) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        report.push_str(&format!("{name}\t{result}\n"));
    }
    report
}

/// The lines that [`make_all`] made, in order.
pub(crate) fn results(report: &str) -> Vec<(&str, &str)> {
    report.lines().filter_map(|line| line.split_once('\t')).collect()
}

/// An attempt's target where it is a directory.
pub(crate) fn directory(of: &Path, name: &str) -> Box<Path> {
    of.join(name.replace([' ', '/'], "-")).into_boxed_path()
}
