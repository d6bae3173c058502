//! What holds and watches processes: cgroups, namespaces, Landlock, keyrings, descriptors of processes and signals.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::SignalFd;
use uml_test::uml_test;

use crate::sys::{call, call_fd};

/// A new group below the root one.
fn cgroup(limit: &str, value: &str) -> io::Result<PathBuf> {
    let group = PathBuf::from("/sys/fs/cgroup/limited");
    fs::create_dir(&group)?;
    fs::write(group.join(limit), value)?;
    Ok(group)
}

/// What a file of lines `key value` has for a key.
fn value_of(file: PathBuf, key: &str) -> io::Result<String> {
    let text = fs::read_to_string(&file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    Ok(value.unwrap_or_else(|| panic!("no {key} in {}: {text}", file.display())).to_owned())
}

#[uml_test(config = ["CONFIG_MEMCG"])]
fn a_cgroup_limits_memory() -> io::Result<()> {
    let group = cgroup("memory.max", "8M")?;
    // Without an end of line, tail keeps all that it reads.
    let script = format!("echo 0 > {}/cgroup.procs; exec tail /dev/zero", group.display());
    let ended = Command::new("sh").arg("-c").arg(script).status()?;
    assert_eq!(ended.signal(), Some(libc::SIGKILL));
    assert_eq!(value_of(group.join("memory.events"), "oom_kill")?, "1");
    Ok(())
}

#[uml_test(config = ["CONFIG_CGROUP_PIDS"])]
fn a_cgroup_limits_processes() -> io::Result<()> {
    let group = cgroup("pids.max", "0")?;
    fs::write(group.join("cgroup.procs"), std::process::id().to_string())?;
    assert_eq!(Command::new("true").status().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(value_of(group.join("pids.events"), "max")?, "1");
    Ok(())
}

#[uml_test(config = ["CONFIG_CGROUP_FREEZER"])]
fn a_cgroup_is_frozen_and_killed() -> io::Result<()> {
    let group = cgroup("cgroup.freeze", "1")?;
    let mut child = asleep()?;
    fs::write(group.join("cgroup.procs"), child.id().to_string())?;
    while value_of(group.join("cgroup.events"), "frozen")? != "1" {
        std::thread::yield_now();
    }
    fs::write(group.join("cgroup.kill"), "1")?;
    assert_eq!(child.wait()?.signal(), Some(libc::SIGKILL));
    Ok(())
}

#[uml_test(config = ["CONFIG_USER_NS"])]
fn a_user_is_root_in_a_namespace() -> io::Result<()> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--uts", "sh", "-c", "id -u; hostname inside"]);
    let said = unshare.uid(1000).gid(1000).output()?;
    assert!(said.status.success() && said.stdout == b"0\n", "{said:?}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname")?, "uml-test\n");
    Ok(())
}

#[uml_test(config = ["CONFIG_SECURITY_LANDLOCK"])]
fn landlock_confines_root() -> Result<(), Box<dyn std::error::Error>> {
    let [allowed, other] = ["/tmp/allowed", "/tmp/other"].map(Path::new);
    for directory in [allowed, other] {
        fs::create_dir(directory)?;
        fs::write(directory.join("file"), "content")?;
    }
    let all = AccessFs::from_all(ABI::V1);
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let rule = PathBeneath::new(PathFd::new(allowed)?, all);
    rules.handle_access(all)?.create()?.add_rule(rule)?.restrict_self()?;
    assert_eq!(fs::read_to_string(allowed.join("file"))?, "content");
    fs::write(allowed.join("new"), "")?;
    for refused in [fs::read(other.join("file")).map(drop), fs::write(other.join("new"), "")] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    Ok(())
}

#[uml_test(config = ["CONFIG_KEYS"])]
fn a_keyring_has_keys_that_are_read_and_keys_that_are_not() -> io::Result<()> {
    const READ: usize = 11;
    const PROCESS_KEYRING: i32 = -2;
    let add = |kind: &std::ffi::CStr| {
        let (kind, name, secret) = (kind.as_ptr(), c"test:key".as_ptr(), b"secret");
        let ring = PROCESS_KEYRING as usize;
        let texts = [kind as usize, name as usize, secret.as_ptr() as usize, secret.len(), ring];
        call(libc::SYS_add_key, &texts)
    };
    let mut secret = [0; 8];
    let mut read = |key: usize| {
        let arguments = [READ, key, secret.as_mut_ptr() as usize, secret.len()];
        call(libc::SYS_keyctl, &arguments).map(|length| secret[..length].to_vec())
    };
    assert_eq!(read(add(c"user")?)?, b"secret");
    let refused = read(add(c"logon")?).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP));
    Ok(())
}

fn asleep() -> io::Result<Child> {
    Command::new("sleep").arg("60").spawn()
}

fn is_readable(fd: &OwnedFd, limit: PollTimeout) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], limit)? == 1)
}

#[uml_test]
fn a_pidfd_sends_signals_and_tells_of_the_end() -> io::Result<()> {
    let mut child = asleep()?;
    let pidfd = call_fd(libc::SYS_pidfd_open, &[child.id() as usize, 0])?;
    assert!(!is_readable(&pidfd, PollTimeout::ZERO)?);
    let signal = [pidfd.as_raw_fd() as usize, libc::SIGUSR1 as usize, 0, 0];
    call(libc::SYS_pidfd_send_signal, &signal)?;
    assert!(is_readable(&pidfd, PollTimeout::NONE)?);
    assert_eq!(child.wait()?.signal(), Some(libc::SIGUSR1));
    Ok(())
}

#[uml_test(config = ["CONFIG_SIGNALFD"])]
fn a_signalfd_has_the_signal_that_is_blocked() -> io::Result<()> {
    let signals = SigSet::from(Signal::SIGUSR1);
    signals.thread_block()?;
    let signalfd = SignalFd::new(&signals)?;
    raise(Signal::SIGUSR1)?;
    let read = signalfd.read_signal()?.unwrap();
    assert_eq!((read.ssi_signo as i32, read.ssi_pid), (libc::SIGUSR1, std::process::id()));
    Ok(())
}
