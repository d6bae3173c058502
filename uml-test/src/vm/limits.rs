//! What a guest's processes have of this process's besides its environment: resource limits, and the umask.
//!
//! The limits that a program as root feels. Of processes, locked memory, priorities and message queues root may have
//! more than its limits say; how large files are and how much memory is used is limited for the guest as a whole, whose
//! kernel is a process with this one's limits. So is CPU time, but that of a program counts in the guest too, and comes
//! to an end there first: a guest that ran into the host's limit could not tell whose fault it is.

use nix::sys::resource::{Resource as Rlimit, getrlimit};
use uml_test_protocol::{Limit, Resource};

use super::{console, process};
use crate::error::Error;

/// What a guest's kernel starts its first process with: `INIT_RLIMITS` in `include/asm-generic/resource.h`.
const DEFAULTS: [(Rlimit, Limit); 4] = [
    (Rlimit::RLIMIT_NOFILE, limit(Resource::OpenFiles, 1 << 10, 4 << 10)),
    (Rlimit::RLIMIT_STACK, limit(Resource::Stack, 8 << 20, NONE)),
    (Rlimit::RLIMIT_CORE, limit(Resource::Core, 0, NONE)),
    (Rlimit::RLIMIT_CPU, limit(Resource::Cpu, NONE, NONE)),
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
        Resource::Stack | Resource::Core | Resource::Cpu => NONE,
    };
    let wanted = limit(default.resource, soft.min(most), hard.min(most));
    (wanted != default).then_some(wanted)
}

/// Whether files may be as large as a guest with so much memory needs them. Who writes a larger one is killed.
///
/// # Errors
/// [`Error::FileSize`].
pub(super) fn check_file_size(mem: u64) -> Result<(), Error> {
    let (soft, hard) = getrlimit(Rlimit::RLIMIT_FSIZE).unwrap_or((NONE, NONE));
    judge_file_size(mem, soft, hard)
}

fn judge_file_size(mem: u64, soft: u64, hard: u64) -> Result<(), Error> {
    // This process's own files; the kernel's process raises its limit as far as that goes.
    let own = (console::FILE_LIMIT as u64).max(process::agent_size());
    match (soft < own, hard < mem) {
        (_, true) => Err(Error::FileSize { limit: hard, needed: mem }),
        (true, false) => Err(Error::FileSize { limit: soft, needed: own }),
        (false, false) => Ok(()),
    }
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
        let [files, _, core, cpu] = DEFAULTS.map(|(_, limit)| limit);
        assert_eq!(changed(files, 1 << 10, 4 << 10), None);
        assert_eq!(changed(core, 0, NONE), None);
        assert_eq!(changed(cpu, NONE, NONE), None);
        assert_eq!(changed(cpu, 60, NONE), Some(limit(Resource::Cpu, 60, NONE)));
        let of_files = |soft, hard| Some(limit(Resource::OpenFiles, soft, hard));
        assert_eq!(changed(files, 20_000, 1 << 30), of_files(20_000, MOST_FILES));
        assert_eq!(changed(files, NONE, NONE), of_files(MOST_FILES, MOST_FILES));
        assert_eq!(changed(core, 0, 0), Some(limit(Resource::Core, 0, 0)));
        assert_eq!(changed(core, NONE, NONE), Some(limit(Resource::Core, NONE, NONE)));
    }

    #[test]
    fn files_may_be_as_large_as_a_guests_memory() {
        let mem = 256 << 20;
        let judged = |soft, hard| match judge_file_size(mem, soft, hard) {
            Ok(()) => None,
            Err(Error::FileSize { limit, needed }) => Some((limit, needed)),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(judged(NONE, NONE), None);
        assert_eq!(judged(mem / 2, mem), None);
        assert_eq!(judged(mem - 1, mem - 1), Some((mem - 1, mem)));
        assert!(judged(100 << 10, NONE).is_some_and(|(limit, _)| limit == 100 << 10));
    }

    #[test]
    fn the_umask_is_read_in_octal() {
        assert_eq!(umask_in("Name:\tx\nUmask:\t0027\nState:\tR\n"), Some(0o027));
        assert_eq!(umask_in("Name:\tx\nState:\tR\n"), None);
    }
}
