//! The filter alone, without any Landlock: so it can be tried for versions that this host has not.
#![expect(unsafe_code, reason = "raw system calls are what is tested")]

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::ForkResult;
use uml_test_protocol::Exit;

use super::*;

/// For all that Landlock can do.
const NEWEST: i32 = i32::MAX;

/// 4096 instructions is the kernel's limit.
#[test]
fn the_filter_fits() {
    for abi in [0, NEWEST] {
        assert!(filter(abi, false).unwrap().len() <= 4096);
    }
}

#[test]
fn before_landlock_does_it_no_open_for_reading_truncates() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let path = c_path(&file);
    for access in [libc::O_RDONLY, libc::O_ACCMODE] {
        for call in opens(&path, access | libc::O_TRUNC, 0) {
            for (abi, result, left) in [
                (None, Ok(()), ""),
                (Some(0), Err(Errno::EPERM), "content"),
                (Some(TRUNCATE_SINCE - 1), Err(Errno::EPERM), "content"),
            ] {
                fs::write(&file, "content").unwrap();
                assert_eq!(call.under(abi), result, "{call:?}, {abi:?}");
                assert_eq!(fs::read_to_string(&file).unwrap(), left, "{call:?}, {abi:?}");
            }
        }
    }
}

#[test]
fn other_opens_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = c_path(&dir.path().join("file"));
    let create = libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
    for flags in [create, libc::O_RDONLY, libc::O_ACCMODE] {
        for call in opens(&path, flags, 0o644) {
            assert_eq!(call.under(Some(0)), Ok(()), "{call:?}");
        }
    }
}

#[test]
fn no_set_id_file_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (file, dir) = (c_path(&dir.path().join("file")), c_path(dir.path()));
    for (path, flags) in
        [(&file, libc::O_CREAT | libc::O_RDWR), (&dir, libc::O_TMPFILE | libc::O_RDWR)]
    {
        for (mode, result) in [
            (0o755, Ok(())),
            (0o4755, Err(Errno::EPERM)),
            (0o2755, Err(Errno::EPERM)),
            (0o6755, Err(Errno::EPERM)),
        ] {
            for call in opens(path, flags, mode) {
                assert_eq!(call.under(None), Ok(()), "{call:?}, {mode:o}");
                assert_eq!(call.under(Some(NEWEST)), result, "{call:?}, {mode:o}");
            }
        }
    }
}

/// A pipe has none of these; that they are not permitted is the filter's answer.
#[test]
fn no_ioctl_reaches_a_driver() {
    let (pipe, _other_end) = std::io::pipe().unwrap();
    for (what, number) in [
        ("TIOCSTI", 0x5412),
        ("TIOCLINUX", 0x541c),
        ("TIOCCONS", 0x541d),
        ("TCSETS", 0x5402),
        ("TUNSETIFF", 0x4004_54ca),
        ("FAT_IOCTL_SET_ATTRIBUTES", 0x4004_7211),
        ("FS_IOC_SETFLAGS", 0x4008_6602),
        ("FS_IOC_FSSETXATTR", 0x401c_5820),
        ("F2FS_IOC_SET_PIN_FILE", 0x4004_f50d),
        ("BLKROSET", 0x125d),
        ("BLKRRPART", 0x125f),
        ("LOOP_CLR_FD", 0x4c01),
        ("DM_REMOVE_ALL", 0xc138_fd01),
    ] {
        let call = ioctl(&pipe, number);
        assert_ne!(call.under(None), Err(Errno::EPERM), "{what}");
        assert_eq!(call.under(Some(0)), Err(Errno::EPERM), "{what}");
        assert_eq!(call.under(Some(NEWEST)), Err(Errno::EPERM), "{what}");
        // The host's kernel looks at 32 bits.
        let Call(call, [fd, number, rest @ ..]) = call;
        let long = Call(call, [fd, number | 1 << 32, rest[0], rest[1]]);
        assert_eq!(long.under(Some(NEWEST)), Err(Errno::EPERM), "{what}");
    }
}

#[test]
fn whether_something_is_a_terminal_may_be_asked() {
    let (pipe, _other_end) = std::io::pipe().unwrap();
    for number in [libc::TCGETS, libc::TCGETS2, libc::TIOCGWINSZ] {
        assert_eq!(
            ioctl(&pipe, number as i64).under(Some(NEWEST)),
            Err(Errno::ENOTTY),
            "{number:#x}"
        );
    }
}

#[test]
fn files_open_for_reading_are_not_locked() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = fs::File::open(file.path()).unwrap();
    let fd = i64::from(file.as_raw_fd());
    let whole = whole_file();
    let lock =
        |command| Call(libc::SYS_fcntl, [fd, i64::from(command), (&raw const whole) as i64, 0]);
    for call in [
        Call(libc::SYS_flock, [fd, i64::from(libc::LOCK_EX), 0, 0]),
        Call(libc::SYS_fcntl, [fd, i64::from(libc::F_SETLEASE), i64::from(libc::F_UNLCK), 0]),
        Call(libc::SYS_fcntl, [fd, i64::from(F_SETDELEG), 0, 0]),
        lock(libc::F_SETLK),
        lock(libc::F_SETLKW),
        lock(libc::F_OFD_SETLK),
        lock(libc::F_OFD_SETLKW),
    ] {
        assert_ne!(call.under(None), Err(Errno::EPERM), "{call:?}");
        assert_eq!(call.under(Some(NEWEST)), Err(Errno::EPERM), "{call:?}");
    }
}

#[test]
fn the_images_of_disks_are_locked() {
    let file = tempfile::tempfile().unwrap();
    let fd = i64::from(file.as_raw_fd());
    let whole = whole_file();
    for (command, result) in [
        (libc::F_SETLK, Ok(())),
        (libc::F_SETLKW, Err(Errno::EPERM)),
        (libc::F_OFD_SETLK, Err(Errno::EPERM)),
    ] {
        let lock = [fd, i64::from(command), (&raw const whole) as i64, 0];
        let call = Call(libc::SYS_fcntl, lock);
        assert_eq!(call.under_program(Some(filter(NEWEST, true).unwrap())), result, "{command}");
    }
}

/// The whole of its session is killed with the kernel, and the kernel with the supervisor.
#[test]
fn nobody_gets_away_from_being_killed() {
    let death_signal =
        |signal: i32| Call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG.into(), signal.into(), 0, 0]);
    for call in [
        Call(libc::SYS_setsid, [0; 4]),
        Call(libc::SYS_setpgid, [0; 4]),
        death_signal(0),
        death_signal(libc::SIGCHLD),
    ] {
        assert_eq!(call.under(None), Ok(()), "{call:?}");
        assert_eq!(call.under(Some(NEWEST)), Err(Errno::EPERM), "{call:?}");
    }
    assert_eq!(death_signal(libc::SIGKILL).under(Some(NEWEST)), Ok(()));
}

/// Of what all users of the host share.
#[test]
fn no_cpu_and_no_requests_are_kept_from_others() {
    let parameters = [0_i32; 1];
    let scheduler = [0, i64::from(libc::SCHED_OTHER), parameters.as_ptr() as i64, 0];
    let scheduler = Call(libc::SYS_sched_setscheduler, scheduler);
    assert_eq!(scheduler.under(None), Ok(()));
    assert_eq!(scheduler.under(Some(NEWEST)), Err(Errno::EPERM));
    let mut context = 0_u64;
    let requests = Call(libc::SYS_io_setup, [1, (&raw mut context) as i64, 0, 0]);
    assert_eq!(requests.under(None), Ok(()));
    assert_eq!(requests.under(Some(NEWEST)), Err(Errno::ENOSYS));
}

/// No bytes, so that no memory comes to harm.
#[test]
fn no_memory_is_taken_away() {
    for advice in [libc::MADV_HWPOISON, libc::MADV_SOFT_OFFLINE, libc::MADV_DONTNEED] {
        let call = Call(libc::SYS_madvise, [0, 0, i64::from(advice), 0]);
        let allowed = advice == libc::MADV_DONTNEED;
        let result = if allowed { Ok(()) } else { Err(Errno::EPERM) };
        assert_eq!(call.under(Some(NEWEST)), result, "{advice}");
    }
}

#[test]
fn only_sockets_that_are_files_are_made() {
    let mut pair = [0_i32; 2];
    let pair = pair.as_mut_ptr() as i64;
    let stream = i64::from(libc::SOCK_STREAM);
    for family in [libc::AF_INET, libc::AF_NETLINK, libc::AF_VSOCK, libc::AF_TIPC].map(i64::from) {
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            let call = Call(call, [family, stream, 0, pair]);
            assert_eq!(call.under(Some(NEWEST)), Err(Errno::EPERM), "{call:?}");
        }
    }
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        let call = Call(call, [i64::from(libc::AF_UNIX), stream, 0, pair]);
        assert_eq!(call.under(Some(NEWEST)), Ok(()), "{call:?}");
    }
}

/// In vain without the filter too, but for other reasons.
#[test]
fn clone3_and_x32_are_refused() {
    const X32: libc::c_long = 1 << 30;
    let clone3 = Call(libc::SYS_clone3, [0; 4]);
    // Some containers have a filter that says so by itself.
    assert!(matches!(clone3.under(None), Err(Errno::EINVAL | Errno::ENOSYS)));
    assert_eq!(clone3.under(Some(NEWEST)), Err(Errno::ENOSYS));
    let getpid = Call(X32 | libc::SYS_getpid, [0; 4]);
    assert_eq!(getpid.under(Some(NEWEST)), Err(Errno::EPERM));
}

/// Shown with a call that this host has, as the newest of all may not be among them.
#[test]
fn newer_calls_do_not_exist() {
    let call = Call(libc::SYS_prlimit64, [0; 4]);
    for (newest, result) in
        [(libc::SYS_prlimit64, Ok(())), (libc::SYS_prlimit64 - 1, Err(Errno::ENOSYS))]
    {
        let allow = SeccompFilter::new(
            BTreeMap::new(),
            SeccompAction::Allow,
            SeccompAction::Trap,
            std::env::consts::ARCH.try_into().unwrap(),
        );
        let allow: BpfProgram = allow.unwrap().try_into().unwrap();
        let program = by_number(newest as u32).into_iter().chain(allow).collect();
        assert_eq!(call.under_program(Some(program)), result, "{newest}");
    }
}

/// A call that some rule is about stays denied if it is always.
#[test]
fn a_rule_takes_nothing_back() {
    let mut denied = Denied::default();
    denied.always(libc::SYS_open);
    denied.when(libc::SYS_open, &[(1, Is::Eq, 1)]).unwrap();
    assert_eq!(denied.into_rules(), BTreeMap::from([(libc::SYS_open, Vec::new())]));
}

/// A lock for reading on all of a file.
fn whole_file() -> libc::flock {
    // SAFETY: the structure consists of integers.
    let mut whole: libc::flock = unsafe { std::mem::zeroed() };
    whole.l_type = libc::F_RDLCK as i16;
    whole
}

/// A system call and its arguments.
#[derive(Debug)]
struct Call(libc::c_long, [i64; 4]);

impl Call {
    fn make(&self) -> Result<(), Errno> {
        let Self(number, [a, b, c, d]) = *self;
        // SAFETY: the tests pass pointers to what outlives the call.
        Errno::result(unsafe { libc::syscall(number, a, b, c, d) }).map(drop)
    }

    /// Makes it under the filter for that version of Landlock, or under none.
    fn under(&self, abi: Option<i32>) -> Result<(), Errno> {
        self.under_program(abi.map(|abi| filter(abi, false).unwrap()))
    }

    /// Makes it in a forked copy of this process.
    fn under_program(&self, filter: Option<BpfProgram>) -> Result<(), Errno> {
        // SAFETY: the copy only makes system calls.
        match unsafe { nix::unistd::fork() }.unwrap() {
            ForkResult::Parent { child } => match crate::wait::collect(child).unwrap().0 {
                Exit::Code(0) => Ok(()),
                Exit::Code(errno) => Err(Errno::from_raw(errno)),
                killed @ Exit::Signal(_) => panic!("{self:?}: {killed:?}"),
            },
            ForkResult::Child => {
                let applied =
                    filter.is_none_or(|filter| seccompiler::apply_filter(&filter).is_ok());
                let result = if applied { self.make() } else { Err(Errno::ENOSYS) };
                // SAFETY: ends this copy of the test process at once.
                unsafe { libc::_exit(result.err().map_or(0, |errno| errno as i32)) }
            }
        }
    }
}

/// The ways to open a file.
fn opens(path: &CString, flags: i32, mode: u32) -> [Call; 2] {
    let (path, flags, mode) = (path.as_ptr() as i64, i64::from(flags), i64::from(mode));
    [
        Call(libc::SYS_open, [path, flags, mode, 0]),
        Call(libc::SYS_openat, [i64::from(libc::AT_FDCWD), path, flags, mode]),
    ]
}

fn ioctl(fd: &impl AsRawFd, number: i64) -> Call {
    Call(libc::SYS_ioctl, [i64::from(fd.as_raw_fd()), number, 0, 0])
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}
