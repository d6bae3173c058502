//! Runs a script in a guest and tells whether the guest's kernel survives it.
//!
//! A kernel panic ends the guest and nothing else: it comes back as a value with the kernel's
//! message and call trace.

use std::fmt;
use std::process::Output;
use std::time::Duration;

use uml_test::{Error, KernelExit, VmBuilder};

/// What became of a guest's kernel.
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
    /// The end of its console: the panic, the registers, the call trace.
    pub console: String,
}

impl Panic {
    /// The functions of the call trace, the innermost first, without offsets.
    pub fn call_trace(&self) -> Vec<&str> {
        // " [<60034a5b>] sysrq_handle_crash+0x16/0x18", behind a time with most kernels; a question mark says that it
        // is a guess.
        let lines = self.console.lines().skip_while(|line| !line.contains("Call Trace:")).skip(1);
        lines
            .map_while(|line| line.split_once("[<")?.1.split_once(">] "))
            .filter_map(|(_, function)| function.split_once('+'))
            .map(|(name, _)| name)
            .filter(|name| !name.starts_with('?'))
            .collect()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Linux {} panicked: {}\n", self.release, self.message)?;
        f.write_str(&self.console)
    }
}

/// Runs `script` by `sh`, as root, in the guest that `guest` describes; all may take `limit`.
///
/// # Errors
/// Every [`Error`] but a kernel panic: no kernel, a hang, a guest that ended in another way. None
/// of them says anything about the script.
pub fn reproduce(guest: VmBuilder, script: &str, limit: Duration) -> Result<Verdict, Error> {
    let vm = guest.timeout(limit).boot()?;
    match vm.command("sh").args(["-c", script]).output() {
        Ok(output) => Ok(Verdict::Survived(output)),
        Err(Error::Gone { end, .. }) if end.kernel.is_some_and(KernelExit::is_panic) => {
            Ok(Verdict::Panicked(Panic {
                release: vm.kernel_release().to_owned(),
                message: end.panic_message.unwrap_or_else(|| "without a message".to_owned()),
                console: vm.console(),
            }))
        }
        Err(other) => Err(other),
    }
}
