//! Room for guests: the directory that their memory lies in, limits of the process, memory of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use uml_test::{Error, Host, Place};

use super::finding::Finding;

const DIRECTORY: &str = "memory directory";
const LIMITS: &str = "limits";
const MEMORY: &str = "memory";

pub(crate) fn directory(host: &Host) -> Finding {
    let mem = host.config().mem;
    let mut passed_over = Vec::new();
    for Place { path, room } in host.places() {
        match room {
            Ok(room) => {
                let found = format!(
                    "{}: {} MiB free, {} guests of {} MiB; executable mappings are allowed",
                    path.display(),
                    room >> 20,
                    room / mem.max(1),
                    mem >> 20
                );
                if passed_over.is_empty() {
                    return Finding::ok(DIRECTORY, found);
                }
                return Finding::warning(
                    DIRECTORY,
                    format!("{found}; passed over were\n{}", passed_over.join("\n")),
                    "guests are slower where the directory is no tmpfs: make /dev/shm fit (size=, exec), or mount one \
                     and name it with UML_TEST_RUN_DIR",
                );
            }
            Err(reason) => passed_over.push(format!("{}: {reason}", path.display())),
        }
    }
    Finding::failed(
        DIRECTORY,
        format!(
            "none is fit for a guest's {} MiB; looked at were\n{}",
            mem >> 20,
            passed_over.join("\n")
        ),
        "name a directory that is writable, not mounted noexec and large enough with UML_TEST_RUN_DIR, or lower \
         UML_TEST_MEM",
    )
}

/// Limits that a guest runs into. Those of core dumps and of open files are no matter: the first are switched off for
/// guests, the second raised as far as the hard limit goes.
pub(crate) fn limits(host: &Host) -> Finding {
    let mem = host.config().mem;
    let limit = |resource| getrlimit(resource).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
    if let Err(Error::FileSize { limit, needed, .. }) = host.check_file_size() {
        return Finding::failed(
            LIMITS,
            format!(
                "files may have {} KiB (RLIMIT_FSIZE), one that a guest needs has {} KiB",
                limit >> 10,
                needed >> 10
            ),
            "raise the limit (`ulimit -f`, and the hard one with `ulimit -Hf`; /etc/security/limits.conf, \
             LimitFSIZE= of a service), or lower UML_TEST_MEM if the file is a guest's memory",
        );
    }
    // The soft limit of files is raised to the hard one for guests; that of the address space is not.
    judge_limits(mem, limit(Resource::RLIMIT_FSIZE).1, limit(Resource::RLIMIT_AS).0)
}

fn judge_limits(mem: u64, file_size: u64, address_space: u64) -> Finding {
    if address_space < mem {
        return Finding::failed(
            LIMITS,
            format!(
                "processes may have {} MiB of address space (RLIMIT_AS), a guest's memory alone is {} MiB",
                address_space >> 20,
                mem >> 20
            ),
            "raise it (`ulimit -v`, LimitAS= of a service), or lower UML_TEST_MEM",
        );
    }
    let shown = |name: &str, limit: u64| match limit {
        RLIM_INFINITY => format!("{name} unlimited"),
        limit => format!("{name} {} MiB", limit >> 20),
    };
    Finding::ok(
        LIMITS,
        format!(
            "{}, {}; guests never dump core",
            shown("file size", file_size),
            shown("address space", address_space)
        ),
    )
}

/// What the machine and the control group have left for a guest.
pub(crate) fn memory(host: &Host) -> Finding {
    let mem = host.config().mem;
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_left(&text));
    let left = |name: &str, left: Option<u64>| {
        left.map(|left| format!("{} MiB {name}", left >> 20)).into_iter()
    };
    let found: Vec<String> =
        left("available", available).chain(left("left to this control group", group)).collect();
    let found = if found.is_empty() { "unknown".to_owned() } else { found.join(", ") };
    match available.into_iter().chain(group).min() {
        Some(least) if least < mem => Finding::warning(
            MEMORY,
            format!("{found}; a guest takes up to {} MiB as it uses them", mem >> 20),
            "free memory, raise the control group's memory.max, or lower UML_TEST_MEM: a guest whose memory the \
             host can't give is killed",
        ),
        _ => Finding::ok(MEMORY, found),
    }
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// What the control group (version 2), and those above it, leave; nothing where none has a limit.
fn group_left(cgroup: &str) -> Option<u64> {
    const ROOT: &str = "/sys/fs/cgroup";
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = PathBuf::from(format!("{ROOT}{own}"));
    let left = |group: &Path| {
        let number = |file| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        // Without a limit it says `max`, which is no number.
        Some(number("memory.max")?.saturating_sub(number("memory.current")?))
    };
    own.ancestors().take_while(|group| group.starts_with(ROOT)).filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_below_a_guests_memory_are_named() {
        let mib = 1 << 20;
        assert!(judge_limits(128 * mib, RLIM_INFINITY, RLIM_INFINITY).is_ok());
        assert!(judge_limits(128 * mib, 128 * mib, 128 * mib).is_ok());
        assert!(judge_limits(128 * mib, RLIM_INFINITY, 127 * mib).is_failed());
    }

    #[test]
    fn available_memory_is_read() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }
}
