//! The machine: architecture, operating system, processors, and whether it is itself a guest.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::finding::Finding;

const HOST: &str = "host";
const CPUS: &str = "CPUs";

pub(crate) fn check() -> Finding {
    let (system, release, machine) = match nix::sys::utsname::uname() {
        Ok(name) => (
            name.sysname().display().to_string(),
            name.release().display().to_string(),
            name.machine().display().to_string(),
        ),
        Err(errno) => (String::new(), errno.to_string(), std::env::consts::ARCH.to_owned()),
    };
    let found = format!("{system} {release} on {machine}");
    if (system.as_str(), machine.as_str()) != ("Linux", "x86_64") {
        return Finding::failed(
            HOST,
            found,
            "guests run on x86-64 Linux only: use such a machine, a virtual one will do",
        );
    }
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if is_guest(&processors) {
        return Finding::failed(
            HOST,
            format!("{found}, itself a User Mode Linux guest, in which none can boot"),
            "run on the host of this guest",
        );
    }
    Finding::ok(HOST, found)
}

/// What `arch/um/kernel/um_arch.c` prints as `/proc/cpuinfo`.
fn is_guest(processors: &str) -> bool {
    processors
        .lines()
        .any(|line| line.starts_with("vendor_id") && line.ends_with("User Mode Linux"))
}

pub(crate) fn cpus() -> Finding {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|list| count(list.trim()));
    let allowed = match sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count(),
        Err(errno) => {
            return Finding::warning(
                CPUS,
                format!("can't be asked for: {errno}"),
                "guests are not bound to a CPU then, which makes them slower: allow sched_getaffinity(2)",
            );
        }
    };
    let found = format!("{allowed} for this process");
    match online {
        Some(online) if allowed < online => Finding::ok(
            CPUS,
            format!("{found}, of the machine's {online}; each guest is bound to one of them"),
        ),
        _ => Finding::ok(CPUS, format!("{found}; each guest is bound to one of them")),
    }
}

/// How many numbers a list such as `0-3,8` has.
fn count(list: &str) -> Option<usize> {
    list.split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.checked_sub(first)? + 1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        assert_eq!(count(""), None);
        assert_eq!(count("3-0"), None);
    }

    #[test]
    fn a_guest_is_told_from_its_host() {
        assert!(is_guest("processor\t: 0\nvendor_id\t: User Mode Linux\nmodel name\t: UML\n"));
        assert!(!is_guest("processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: User Mode\n"));
    }
}
