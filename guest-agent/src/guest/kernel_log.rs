//! The guest's kernel log, read for one thing: whom the out-of-memory killer took.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use uml_test_protocol::OomKill;

/// The log; nothing in a guest that has none.
///
/// `/dev/kmsg` gives each reader the whole buffer, whatever others have read or cleared.
pub(super) struct KernelLog(Option<File>);

impl KernelLog {
    /// `dev` is `/dev`.
    pub(super) fn open(dev: &OwnedFd) -> Self {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Self(openat(dev, "kmsg", flags, Mode::empty()).ok().map(File::from))
    }

    /// The record about `pid`, if the out-of-memory killer ended it.
    pub(super) fn oom_kill_of(&self, pid: i32) -> Option<OomKill> {
        self.oom_kills().find(|kill| kill.pid == pid)
    }

    /// The last record about whatever process the out-of-memory killer ended.
    pub(super) fn last_oom_kill(&self) -> Option<OomKill> {
        self.oom_kills().last()
    }

    fn oom_kills(&self) -> impl Iterator<Item = OomKill> {
        let log = self.0.as_ref().filter(|log| (&**log).rewind().is_ok());
        log.into_iter().flat_map(records).filter_map(|record| parse(&record))
    }
}

/// The records from here on.
fn records(mut log: &File) -> impl Iterator<Item = String> {
    let mut record = [0; 8192];
    std::iter::from_fn(move || {
        loop {
            match log.read(&mut record) {
                Ok(0) => return None,
                Ok(length) => return Some(String::from_utf8_lossy(&record[..length]).into_owned()),
                // The record was overwritten while we came to it: the next one is there.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => return None,
            }
        }
    })
}

/// Reads `priority,sequence,time,flags;… Killed process PID (NAME) …`. Facility 0 is the kernel's
/// own; what user space writes to `/dev/kmsg` has another.
fn parse(record: &str) -> Option<OomKill> {
    let (prefix, message) = record.split_once(';')?;
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    if priority >> 3 != 0 {
        return None;
    }
    let victim = message.split_once("Killed process ")?.1;
    let (number, rest) = victim.split_once(" (")?;
    // The name itself may hold parentheses; what follows it does not.
    let name = rest.split_once(") total-vm").map_or(rest, |(name, _)| name);
    // mm/oom_kill.c: "Memory cgroup out of memory: Killed process …", else "Out of memory: …".
    let cgroup = message.contains("Memory cgroup out of memory");
    Some(OomKill { pid: number.parse().ok()?, name: name.to_owned(), cgroup })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_kernels_own_record_names_the_victim() {
        let record = "3,412,1234567,-;Out of memory: Killed process 57 (my (odd) test) total-vm:9kB, anon-rss:1kB\n";
        let kill = parse(record).unwrap();
        assert_eq!((kill.pid, kill.name.as_str()), (57, "my (odd) test"));
        assert!(!kill.cgroup);
    }

    #[test]
    fn a_control_groups_limit_is_told_from_the_guests_own() {
        let record = "3,9,1,-;Memory cgroup out of memory: Killed process 57 (x) total-vm:1kB\n";
        assert!(parse(record).unwrap().cgroup);
    }

    #[test]
    fn a_record_from_user_space_does_not_count() {
        assert_eq!(parse("11,5,6,-;Out of memory: Killed process 57 (x) total-vm:1kB\n"), None);
    }
}
