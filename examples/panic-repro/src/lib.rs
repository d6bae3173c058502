//! Runs a script as root in a guest and tells whether the guest's kernel survives it.
//!
//! A kernel panic ends the guest and nothing else: it comes back as a value with the kernel's
//! message and call trace. `cargo run -p example-panic-repro -- SCRIPT` prints it and exits with 1,
//! which is what `git bisect run` and CI want; `UML_TEST_KERNEL` names the kernel on trial.

use std::process::Output;
use std::time::Duration;

use uml_test::{Error, Vm, VmBuilder};

/// What became of a guest.
#[derive(Debug)]
pub enum Verdict {
    /// The script came to its end, with whatever status.
    Survived(Output),
    /// The kernel panicked.
    Panicked(Panic),
}

/// A kernel's panic.
#[derive(Debug)]
pub struct Panic {
    /// `uname -r` of the kernel.
    pub release: String,
    /// The reason the kernel gave.
    pub message: String,
    /// What it wrote to its console, call trace and all.
    pub console: String,
}

/// Runs `script` by `sh` in a guest of its own, which may live as long as `limit`.
///
/// # Errors
/// Every [`Error`] but a kernel panic: no kernel, a hang, a guest that ended in another way.
pub fn reproduce(guest: VmBuilder, script: &str, limit: Duration) -> Result<Verdict, Error> {
    let vm = guest.timeout(limit).boot()?;
    match vm.command("sh").args(["-c", script]).output() {
        Ok(output) => Ok(Verdict::Survived(output)),
        Err(Error::Gone { end, .. }) if end.panic_message.is_some() => {
            Ok(Verdict::Panicked(Panic {
                release: vm.kernel_release().to_owned(),
                message: end.panic_message.unwrap_or_default(),
                console: vm.console(),
            }))
        }
        Err(other) => Err(other),
    }
}
