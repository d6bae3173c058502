//! What a guest's processes have of this process's besides its environment: resource limits, and the umask.
//!
//! The limits that a program as root feels. Of processes, locked memory, priorities and message queues root may have
//! more than its limits say; how large files are and how much time and memory is used is limited for the guest as a
//! whole, whose kernel is a process with this one's limits.

use nix::sys::resource::{Resource as Rlimit, getrlimit};
use uml_test_protocol::{Limit, Resource};

/// What a guest's kernel starts its first process with: `INIT_RLIMITS` in `include/asm-generic/resource.h`.
const DEFAULTS: [(Rlimit, Limit); 3] = [
    (Rlimit::RLIMIT_NOFILE, limit(Resource::OpenFiles, 1 << 10, 4 << 10)),
    (Rlimit::RLIMIT_STACK, limit(Resource::Stack, 8 << 20, NONE)),
    (Rlimit::RLIMIT_CORE, limit(Resource::Core, 0, NONE)),
];

const NONE: u64 = u64::MAX;

/// A kernel refuses higher limits of open files: its `fs.nr_open`, which hosts raise.
const MOST_FILES: u64 = 1 << 20;

/// Where the host does not say.
const USUAL_UMASK: u32 = 0o022;

const fn limit(resource: Resource, soft: u64, hard: u64) -> Limit {
    Limit { resource, soft, hard }
}

/// This process's limits, where a guest has others: each costs every program of the guest a system call.
pub(super) fn of_this_process() -> Vec<Limit> {
    let own = DEFAULTS.iter().filter_map(|(number, default)| {
        let (soft, hard) = getrlimit(*number).ok()?;
        changed(*default, soft, hard)
    });
    own.collect()
}

/// The limit to set in a guest where the host has these bounds, if another than the kernel's own.
fn changed(default: Limit, soft: u64, hard: u64) -> Option<Limit> {
    let most = match default.resource {
        Resource::OpenFiles => MOST_FILES,
        Resource::Stack | Resource::Core => NONE,
    };
    let wanted = limit(default.resource, soft.min(most), hard.min(most));
    (wanted != default).then_some(wanted)
}

/// This process's umask. The system call that tells it sets it, also for what other threads make meanwhile.
pub(super) fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    umask_in(&status).unwrap_or(USUAL_UMASK)
}

/// The umask in a process's status (proc_pid_status(5), since Linux 4.7).
fn umask_in(status: &str) -> Option<u32> {
    let octal = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(octal.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_set_and_no_more_than_a_kernel_allows() {
        let [files, _, core] = DEFAULTS.map(|(_, limit)| limit);
        assert_eq!(changed(files, 1 << 10, 4 << 10), None);
        assert_eq!(changed(core, 0, NONE), None);
        let of_files = |soft, hard| Some(limit(Resource::OpenFiles, soft, hard));
        assert_eq!(changed(files, 20_000, 1 << 30), of_files(20_000, MOST_FILES));
        assert_eq!(changed(files, NONE, NONE), of_files(MOST_FILES, MOST_FILES));
        assert_eq!(changed(core, 0, 0), Some(limit(Resource::Core, 0, 0)));
        assert_eq!(changed(core, NONE, NONE), Some(limit(Resource::Core, NONE, NONE)));
    }

    #[test]
    fn the_umask_is_read_in_octal() {
        assert_eq!(umask_in("Name:\tx\nUmask:\t0027\nState:\tR\n"), Some(0o027));
        assert_eq!(umask_in("Name:\tx\nState:\tR\n"), None);
    }
}
