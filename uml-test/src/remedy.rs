//! The commands that errors tell people to run.
//!
//! Public for `cargo uml`, which says the same; hidden from the documentation.

use uml_test_protocol::{Exit, Failure};

use crate::outcome::KernelExit;

/// What to do about a kernel that was found and does not do. `cargo uml setup` would keep it where
/// it is the user's own choice.
pub const ANOTHER_KERNEL: &str = "`cargo uml kernel build` (from the cargo-uml package) builds \
    another, and `cargo uml kernel default` with the name of that one has it booted where nothing \
    else is configured";

/// What to do where no kernel may boot: containers that forbid ptrace or seccomp, for one.
pub(crate) const DOCTOR: &str =
    "`cargo uml doctor` (from the cargo-uml package) tells whether this host lets kernels run";

/// The settings of a guest's memory.
pub(crate) const MEM: &str = "`mem`, UML_TEST_MEM or `cargo uml`'s --mem";

/// Why a kernel process may have been killed, which follows how it ended.
pub(crate) fn killed_by_the_host(kernel: KernelExit) -> &'static str {
    match kernel.exit {
        Some(Exit::Signal(9)) => {
            "; somebody on the host killed it: its own shortage of memory, or that of a container's or \
             job's limit, does (the host's kernel log has that), and so does a limit of CPU time (`ulimit -t`)"
        }
        _ => "",
    }
}

/// From mount(2): no such filesystem. The number is the guest's, of x86-64 Linux.
const ENODEV: i32 = 19;

/// What to do about a guest that could not be set up, if that is known; follows a description.
pub(crate) fn of_set_up(failure: &Failure) -> String {
    match failure.errno {
        ENODEV => format!(
            "; the kernel was built without that filesystem, which those of `cargo uml` have: \
             {ANOTHER_KERNEL}"
        ),
        _ => String::new(),
    }
}

/// The flavours that `cargo uml kernel build` knows.
pub const FLAVOURS: [&str; 5] = ["base", "tiny", "smp", "debug", "coverage"];

/// The command that builds a kernel which is found by that name: `6.1/smp` is the newest 6.1 with the flavour smp,
/// 6.1.5 a release that is named after its series unless it is told otherwise, and any other name is
/// one that somebody gave.
pub fn how_to_build(name: &str) -> String {
    let (version, parts) = name.split_once('/').unwrap_or((name, ""));
    let flavours: Vec<&str> =
        parts.split('+').filter(|part| !part.is_empty() && *part != "base").collect();
    let numbers: Vec<&str> = version.split('.').collect();
    let is_version = matches!(numbers.len(), 2 | 3)
        && numbers.iter().all(|number| number.parse::<u16>().is_ok())
        && flavours.iter().all(|flavour| FLAVOURS.contains(flavour));
    if !is_version {
        return format!("cargo uml kernel build VERSION --name {name}");
    }
    let options: String = flavours.iter().map(|flavour| format!(" --flavour {flavour}")).collect();
    let named = if numbers.len() == 3 { format!(" --name {name}") } else { String::new() };
    format!("cargo uml kernel build {version}{options}{named}")
}

#[cfg(test)]
mod tests {
    use uml_test_protocol::Failure;

    use super::{how_to_build, of_set_up};

    #[test]
    fn a_filesystem_that_the_kernel_lacks_has_a_remedy() {
        let lacks = of_set_up(&Failure::new("mount overlay on", "/stage/root", super::ENODEV));
        assert!(lacks.contains("without that filesystem") && lacks.contains("cargo uml kernel"));
        assert_eq!(of_set_up(&Failure::new("mount overlay on", "/stage/root", 22)), "");
    }

    #[test]
    fn the_command_makes_a_kernel_that_is_found_by_that_name() {
        for (name, arguments) in [
            ("7.3", "7.3"),
            ("6.1/smp", "6.1 --flavour smp"),
            // Called 6.1/debug+smp then, and found in either order; so is 6.1.
            ("6.1/smp+debug", "6.1 --flavour smp --flavour debug"),
            ("6.1/base", "6.1"),
            ("7.2.12", "7.2.12 --name 7.2.12"),
            ("7.2.12/debug", "7.2.12 --flavour debug --name 7.2.12/debug"),
            ("mine", "VERSION --name mine"),
            ("7.2/my", "VERSION --name 7.2/my"),
            ("7.2.12-0123456789ab", "VERSION --name 7.2.12-0123456789ab"),
            ("7", "VERSION --name 7"),
        ] {
            assert_eq!(how_to_build(name), format!("cargo uml kernel build {arguments}"));
        }
    }
}
