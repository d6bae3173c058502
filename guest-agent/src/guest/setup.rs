//! What a guest needs besides its filesystems: entropy, a name, the loopback interface, a few
//! settings, a console that shows warnings.
#![expect(unsafe_code, reason = "ioctls and klogctl have no safe wrapper")]

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use uml_test_protocol::{Bytes, Failure, Setup};

use super::kernel_log::KernelLog;
use super::{mounts, name};

/// Console log level 7: warnings and notices show, debug messages do not. `quiet` on the command
/// line keeps the boot off the console, and would keep off what a test provokes too.
const CONSOLE_LEVEL: libc::c_int = 7;
const SYSLOG_ACTION_CONSOLE_LEVEL: libc::c_int = 8;

/// What is opened before any program can hide it by a mount of its own, which PID 1 sees too. By way of copies of the
/// mounts, so that programs can unmount them.
pub(super) struct Opened {
    /// The root of `/dev/pts`, for terminals.
    pub(super) terminals: OwnedFd,
    /// `/dev/null`: an empty standard input.
    pub(super) null: File,
    pub(super) kernel_log: KernelLog,
    /// The directories whose content belongs to the host, with their paths.
    pub(super) rw_dirs: Vec<(File, Bytes)>,
}

/// Sets the guest up.
pub(super) fn set_up(wanted: &Setup) -> Result<Opened, Failure> {
    // The modes given to mkdir and mount below are meant as they are.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    credit_entropy(wanted.seed)?;
    mounts::set_up(wanted)?;
    // From here on it is for programs, which inherit it: nothing more is made by the agent.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(wanted.umask));
    name::set()?;
    loopback_up()?;
    as_an_init_system_does();
    promise_memory();
    // SAFETY: this action takes no buffer.
    unsafe { libc::klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, std::ptr::null_mut(), CONSOLE_LEVEL) };
    choose_next_pid(wanted.first_pid);
    let open = |path: &[u8]| {
        File::open(Path::new(std::ffi::OsStr::from_bytes(path)))
            .map_err(|error| Failure::new("open", path.to_vec(), error.raw_os_error().unwrap_or(0)))
    };
    let mut rw_dirs = Vec::new();
    for dir in &wanted.rw_dirs {
        rw_dirs.push((open(&dir.guest)?, dir.guest.clone()));
    }
    let dev = copy_of_mount(c"/dev")?;
    let null = openat(&dev, "null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Failure::new("open", "/dev/null", errno as i32))?;
    Ok(Opened {
        terminals: copy_of_mount(c"/dev/pts")?,
        null: null.into(),
        kernel_log: KernelLog::open(&dev),
        rw_dirs,
    })
}

/// The root of what is mounted there, in a mount that nobody sees (Linux 5.2).
fn copy_of_mount(path: &CStr) -> Result<OwnedFd, Failure> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the call reads the path.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = Errno::result(fd)
        .map_err(|errno| Failure::new("copy the mount of", path.to_bytes(), errno as i32))?;
    // SAFETY: the call made this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Has the next process get this number. A kernel without `CONFIG_CHECKPOINT_RESTORE` goes on counting, and nothing but
/// names depends on it.
fn choose_next_pid(pid: i32) {
    let _ = std::fs::write("/proc/sys/kernel/pid_max", "4194304");
    let _ = std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string());
}

/// Gives the random number generator the host's seed with full credit. Without it the first
/// `getrandom(2)` (every `HashMap`) waits while the kernel gathers jitter.
fn credit_entropy(seed: [u8; 32]) -> Result<(), Failure> {
    #[repr(C)]
    struct PoolInfo {
        entropy_count: libc::c_int,
        buf_size: libc::c_int,
        buf: [u8; 32],
    }
    // RNDADDENTROPY of linux/random.h: its size is that of the two integers.
    const ADD_ENTROPY: libc::Ioctl =
        nix::request_code_write!(b'R', 3, size_of::<[libc::c_int; 2]>());
    nix::ioctl_write_ptr_bad!(add_entropy, ADD_ENTROPY, PoolInfo);
    let path = "/dev/random";
    let device = File::options()
        .write(true)
        .open(path)
        .map_err(|error| Failure::new("open", path, error.raw_os_error().unwrap_or(0)))?;
    let info = PoolInfo { entropy_count: 256, buf_size: 32, buf: seed };
    // SAFETY: the kernel reads `buf_size` bytes behind the two integers, which are there.
    unsafe { add_entropy(device.as_raw_fd(), &info) }
        .map_err(|errno| Failure::new("credit entropy to", path, errno as i32))?;
    Ok(())
}

/// What tests rely on that systemd sets on a host: everybody may have ping sockets, and groups below the root one have
/// the controllers. A kernel that lacks one of these has nothing to set.
fn as_an_init_system_does() {
    let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    if let Ok(controllers) = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        let all: Vec<String> =
            controllers.split_whitespace().map(|name| format!("+{name}")).collect();
        let _ = std::fs::write("/sys/fs/cgroup/cgroup.subtree_control", all.join(" "));
    }
}

/// Lets programs reserve what they like, as they do on hosts, which have many times a guest's memory: what they touch
/// counts. Where that is too much, the out-of-memory killer says so. A reservation that fails is a program's own error,
/// and nobody would know why.
fn promise_memory() {
    let _ = std::fs::write("/proc/sys/vm/overcommit_memory", "1");
}

/// Brings `lo` up, which gives it 127.0.0.1 and ::1. A kernel without networking has none.
fn loopback_up() -> Result<(), Failure> {
    nix::ioctl_readwrite_bad!(get_flags, libc::SIOCGIFFLAGS as libc::c_int, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS as libc::c_int, libc::ifreq);
    let socket: OwnedFd =
        match socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None) {
            Ok(socket) => socket,
            Err(_) => return Ok(()),
        };
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *byte as libc::c_char;
    }
    let failed = |errno: nix::errno::Errno| Failure::new("bring up", "lo", errno as i32);
    // SAFETY: the request outlives both calls; the flags member is the one these calls use.
    unsafe {
        get_flags(socket.as_raw_fd(), &mut request).map_err(failed)?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        set_flags(socket.as_raw_fd(), &request).map_err(failed)?;
    }
    Ok(())
}
