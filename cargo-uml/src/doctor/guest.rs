//! The proof: a guest that boots and answers.

use std::time::{Duration, Instant};

use uml_test::remedy::ANOTHER_KERNEL;
use uml_test::{Error, Host, Sandbox, Traps, VmBuilder};

use super::finding::Finding;

const GUEST: &str = "guest";

/// What a booted guest may take for one command and its end.
const ANSWER: Duration = Duration::from_secs(10);

/// How long [`check`] can take: every way to boot that it tries.
pub(crate) fn limit(host: &Host) -> Duration {
    (host.boot_limit() + ANSWER) * 4
}

/// Boots a guest with the settings of `host` and has it run a command.
pub(crate) fn check(host: &Host) -> Finding {
    let error = match boot(host, host.builder()) {
        Ok(found) => return Finding::ok(GUEST, found),
        Err(error) => error,
    };
    let found = format!("none came up: {error:?}");
    Finding::failed(GUEST, found, remedy(host, &error))
}

fn boot(host: &Host, builder: VmBuilder) -> Result<String, Error> {
    let started = Instant::now();
    let vm = builder.timeout(host.boot_limit() + ANSWER).boot()?;
    let booted = started.elapsed();
    let release = vm.kernel_release().to_owned();
    // The agent itself answers for a program that does not exist; `true` may be missing on strange hosts.
    let answered = Instant::now();
    let status = vm.command("/bin/sh").args(["-c", "exit 7"]).status()?;
    if status.code() != Some(7) {
        return Err(Error::Request(format!("a shell that was to exit with 7 gave {status}")));
    }
    let answer = answered.elapsed();
    vm.shutdown()?;
    Ok(format!(
        "Linux {release} booted in {} ms, ran a command in {} ms, and powered off",
        booted.as_millis(),
        answer.as_millis()
    ))
}

/// What to do about a guest that did not come up. Other ways to boot it tell what is in the way.
fn remedy(host: &Host, error: &Error) -> String {
    match error {
        Error::Kernel(_)
        | Error::RunDirectory { .. }
        | Error::FileSize { .. }
        | Error::Config(_) => {
            return "see the message".to_owned();
        }
        Error::Unprotected { .. } => {
            return "use UML_TEST_SANDBOX=auto, or a newer host kernel".to_owned();
        }
        _ => {}
    }
    let config = host.config();
    let builder = || host.builder();
    let others = [
        ("UML_TEST_TRAPS=ptrace", config.traps != Traps::Ptrace, builder().traps(Traps::Ptrace)),
        ("UML_TEST_SANDBOX=off", config.sandbox == Sandbox::Auto, builder().sandbox(Sandbox::Off)),
        ("UML_TEST_MEM=256M", config.mem < 256 << 20, builder().mem(256 << 20)),
    ];
    for (setting, differs, other) in others {
        if differs && boot(host, other).is_ok() {
            return format!(
                "with {setting} a guest comes up: set that, or look for what it avoids"
            );
        }
    }
    format!("mend what failed above; if nothing did: {ANOTHER_KERNEL}")
}
