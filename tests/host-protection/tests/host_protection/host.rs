//! Attempts on the rest of the host, from the kernel's place: its processes, its network, other
//! guests. Without a sandbox they succeed and harm nothing: they hit what the test made for them,
//! or set what is already so.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::Pid;

use crate::attempt::Attempt;
use crate::attempt::Effect::{Everywhere, ForRoot, HostDependent};
use crate::sys::{c_path, call, call_fd, pointer};

/// What the test made on the host to be attacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Port of a TCP listener on the loopback.
    pub(crate) tcp: u16,
    /// Port of a UDP socket on the loopback.
    pub(crate) udp: u16,
    /// Abstract name of a listening stream socket.
    pub(crate) name: String,
    /// Path of a listening stream socket.
    pub(crate) stream: PathBuf,
    /// Path of a datagram socket.
    pub(crate) datagram: PathBuf,
    /// A process of the same user.
    pub(crate) victim: Pid,
    /// A System V shared memory segment.
    pub(crate) segment: i32,
    /// Another guest's kernel process, and its run directory.
    pub(crate) sibling: Pid,
    pub(crate) sibling_dir: PathBuf,
    /// A terminal's node.
    pub(crate) terminal: PathBuf,
}

/// The table.
pub(crate) const ATTEMPTS: &[Attempt<Host>] = &[
    Attempt {
        name: "connect by TCP",
        effect: Everywhere,
        run: |host| TcpStream::connect((Ipv4Addr::LOCALHOST, host.tcp)).map(drop),
    },
    Attempt {
        name: "bind a TCP port",
        effect: Everywhere,
        run: |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
    },
    Attempt {
        name: "listen on a TCP socket without binding it",
        effect: Everywhere,
        run: |_| {
            use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, listen, socket};
            let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
            Ok(listen(&fd, Backlog::new(1)?)?)
        },
    },
    Attempt {
        name: "send by UDP",
        effect: Everywhere,
        run: |host| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, host.udp));
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.send_to(b"x", address).map(drop)
        },
    },
    Attempt {
        name: "raw IP socket",
        effect: ForRoot,
        run: |_| socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
    },
    Attempt {
        name: "packet socket",
        effect: ForRoot,
        run: |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
    },
    Attempt {
        name: "netlink socket",
        effect: Everywhere,
        run: |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
    },
    Attempt {
        name: "connect to a stream socket's path",
        effect: Everywhere,
        run: |host| UnixStream::connect(&host.stream).map(drop),
    },
    Attempt {
        name: "connect to a datagram socket's path",
        effect: Everywhere,
        run: |host| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(&host.datagram)?;
            socket.send(b"x").map(drop)
        },
    },
    Attempt {
        name: SEND_TO_A_PATH,
        effect: Everywhere,
        run: |host| UnixDatagram::unbound()?.send_to(b"x", &host.datagram).map(drop),
    },
    Attempt {
        name: "connect to an abstract socket",
        effect: Everywhere,
        run: |host| UnixStream::connect_addr(&UnixAddr::from_abstract_name(&host.name)?).map(drop),
    },
    Attempt {
        name: "listen under an abstract name",
        effect: Everywhere,
        run: |host| {
            let name = format!("{}-of-an-attempt", host.name);
            UnixListener::bind_addr(&UnixAddr::from_abstract_name(name)?).map(drop)
        },
    },
    Attempt {
        name: "connect to a sibling guest's mconsole",
        effect: Everywhere,
        run: |host| UnixDatagram::unbound()?.connect(host.sibling_dir.join("u/mconsole")),
    },
    Attempt {
        name: "open a sibling guest's memory",
        effect: Everywhere,
        run: |host| sibling_memory(host).map(drop),
    },
    Attempt {
        name: "change a sibling guest's run directory",
        effect: Everywhere,
        run: |host| fs::write(host.sibling_dir.join("new"), "x"),
    },
    Attempt {
        name: "append to a sibling guest's console log",
        effect: Everywhere,
        run: |host| {
            OpenOptions::new().append(true).open(host.sibling_dir.join("console.log")).map(drop)
        },
    },
    Attempt {
        name: "kill",
        effect: Everywhere,
        run: |host| Ok(nix::sys::signal::kill(host.victim, Signal::SIGCONT)?),
    },
    Attempt {
        name: "kill the process group",
        effect: Everywhere,
        run: |host| Ok(nix::sys::signal::killpg(host.victim, Signal::SIGCONT)?),
    },
    Attempt {
        name: "pidfd_send_signal",
        effect: Everywhere,
        run: |host| {
            let fd = call_fd(libc::SYS_pidfd_open, &[host.victim.as_raw() as usize, 0])?;
            let arguments = [fd.as_raw_fd() as usize, libc::SIGCONT as usize, 0, 0];
            call(libc::SYS_pidfd_send_signal, &arguments).map(drop)
        },
    },
    // The supervisor: this process is a fork of the kernel's own.
    Attempt {
        name: "signal the supervisor",
        effect: Everywhere,
        run: |_| {
            let kernel = fs::read_to_string(format!("/proc/{}/stat", Pid::parent()))?;
            let parent = kernel.rsplit(')').next().and_then(|rest| rest.split(' ').nth(2));
            let parent: i32 = parent.and_then(|pid| pid.parse().ok()).unwrap_or(0);
            Ok(nix::sys::signal::kill(Pid::from_raw(parent), Signal::SIGCONT)?)
        },
    },
    Attempt {
        name: "ptrace",
        effect: HostDependent,
        run: |host| {
            const SEIZE: usize = 0x4206;
            call(libc::SYS_ptrace, &[SEIZE, host.victim.as_raw() as usize, 0, 0]).map(drop)
        },
    },
    Attempt {
        name: "write a process's memory",
        effect: HostDependent,
        run: |host| {
            let proc = PathBuf::from(format!("/proc/{}", host.victim));
            let stack = stack_of(&proc)?;
            OpenOptions::new().write(true).open(proc.join("mem"))?.write_all_at(&[0], stack)
        },
    },
    Attempt {
        name: "process_vm_writev",
        effect: HostDependent,
        run: |host| {
            let stack = stack_of(&PathBuf::from(format!("/proc/{}", host.victim)))?;
            let zero = 0_u8;
            let ours = [pointer(&zero), 1];
            let theirs = [stack as usize, 1];
            let pid = host.victim.as_raw() as usize;
            let arguments = [pid, pointer(&ours), 1, pointer(&theirs), 1, 0];
            call(libc::SYS_process_vm_writev, &arguments).map(drop)
        },
    },
    Attempt {
        name: "pidfd_getfd",
        effect: HostDependent,
        run: |host| {
            let fd = call_fd(libc::SYS_pidfd_open, &[host.victim.as_raw() as usize, 0])?;
            call_fd(libc::SYS_pidfd_getfd, &[fd.as_raw_fd() as usize, 0, 0]).map(drop)
        },
    },
    Attempt {
        name: "start a process in a cgroup",
        effect: HostDependent,
        run: |_| start_in_a_cgroup(),
    },
    Attempt {
        name: "oom_score_adj",
        effect: Everywhere,
        run: |host| fs::write(format!("/proc/{}/oom_score_adj", host.victim), "500"),
    },
    Attempt {
        name: "prlimit",
        effect: Everywhere,
        run: |host| {
            // Lowered both ways, which every user may.
            let (core, limit) = (libc::RLIMIT_CORE as usize, [0_u64, 0]);
            let arguments = [host.victim.as_raw() as usize, core, pointer(&limit), 0];
            call(libc::SYS_prlimit64, &arguments).map(drop)
        },
    },
    Attempt {
        name: "setpriority",
        effect: Everywhere,
        run: |host| {
            let arguments = [libc::PRIO_PROCESS as usize, host.victim.as_raw() as usize, 19];
            call(libc::SYS_setpriority, &arguments).map(drop)
        },
    },
    Attempt {
        name: "ioprio_set",
        effect: Everywhere,
        run: |host| {
            const IDLE: usize = 3 << 13;
            call(libc::SYS_ioprio_set, &[1, host.victim.as_raw() as usize, IDLE]).map(drop)
        },
    },
    Attempt {
        name: "sched_setaffinity",
        effect: Everywhere,
        run: |host| {
            let set = nix::sched::sched_getaffinity(host.victim)?;
            Ok(nix::sched::sched_setaffinity(host.victim, &set)?)
        },
    },
    Attempt {
        name: "sched_setscheduler",
        effect: Everywhere,
        run: |host| {
            let (batch, parameters) = (libc::SCHED_BATCH as usize, 0_i32);
            let arguments = [host.victim.as_raw() as usize, batch, pointer(&parameters)];
            call(libc::SYS_sched_setscheduler, &arguments).map(drop)
        },
    },
    Attempt {
        name: "System V shared memory",
        effect: Everywhere,
        run: |host| call(libc::SYS_shmat, &[host.segment as usize, 0, 0]).map(drop),
    },
    Attempt {
        name: "POSIX message queue",
        effect: HostDependent,
        run: |_| {
            let name = c"uml-test-host-protection";
            let flags = (libc::O_CREAT | libc::O_RDWR) as usize;
            call_fd(libc::SYS_mq_open, &[name.as_ptr() as usize, flags, 0o600, 0])?;
            call(libc::SYS_mq_unlink, &[name.as_ptr() as usize]).map(drop)
        },
    },
    Attempt {
        name: "keyring",
        effect: HostDependent,
        run: |_| {
            const PROCESS_KEYRING: usize = -2_isize as usize;
            let (kind, name, value) = (c"user", c"uml-test", b"x");
            let (kind, name) = (kind.as_ptr() as usize, name.as_ptr() as usize);
            call(libc::SYS_add_key, &[kind, name, value.as_ptr() as usize, 1, PROCESS_KEYRING])
                .map(drop)
        },
    },
    Attempt {
        name: "lock a directory",
        effect: Everywhere,
        run: |host| {
            let dir = fs::File::open(host.stream.parent().unwrap_or(&host.stream))?;
            let lock = (libc::LOCK_EX | libc::LOCK_NB) as usize;
            call(libc::SYS_flock, &[dir.as_raw_fd() as usize, lock]).map(drop)
        },
    },
    Attempt {
        name: "open a device for writing",
        effect: Everywhere,
        run: |_| OpenOptions::new().write(true).open("/dev/full").map(drop),
    },
    Attempt {
        name: "open the disk for writing",
        effect: HostDependent,
        run: |_| {
            let disks = fs::read_to_string("/proc/partitions")?;
            let name = disks.lines().nth(2).and_then(|line| line.split_whitespace().last());
            let path = Path::new("/dev").join(name.ok_or(io::ErrorKind::NotFound)?);
            OpenOptions::new().write(true).open(path).map(drop)
        },
    },
    // In the one place that it may write. The device is the host's null.
    Attempt {
        name: "make a character device to write to",
        effect: ForRoot,
        run: |_| {
            node(SFlag::S_IFCHR, 1, 3)?;
            OpenOptions::new().write(true).open("device")?.write_all(b"x")
        },
    },
    Attempt { name: "make a block device", effect: ForRoot, run: |_| node(SFlag::S_IFBLK, 7, 0) },
    Attempt {
        name: "make a set-user-ID program",
        effect: Everywhere,
        run: |_| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o4755).open("program").map(drop)
        },
    },
    Attempt {
        name: "give a name to a set-user-ID program that had none",
        effect: Everywhere,
        run: |_| {
            let mut options = OpenOptions::new();
            let file = options.write(true).custom_flags(libc::O_TMPFILE).mode(0o4755).open(".")?;
            let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let flags = AtFlags::AT_SYMLINK_FOLLOW;
            Ok(nix::unistd::linkat(AT_FDCWD, &path, AT_FDCWD, "named", flags)?)
        },
    },
    Attempt {
        name: "sysctl",
        effect: ForRoot,
        run: |_| OpenOptions::new().write(true).open("/proc/sys/kernel/hostname").map(drop),
    },
    Attempt {
        name: "sethostname",
        effect: ForRoot,
        run: |_| {
            let name = fs::read("/proc/sys/kernel/hostname")?;
            let length = name.len() - 1;
            call(libc::SYS_sethostname, &[name.as_ptr() as usize, length]).map(drop)
        },
    },
    Attempt {
        name: "mount",
        effect: ForRoot,
        run: |host| {
            let place = c_path(host.stream.parent().unwrap_or(&host.stream));
            let place = place.as_ptr() as usize;
            call(libc::SYS_mount, &[place, place, 0, libc::MS_BIND as usize, 0])?;
            call(libc::SYS_umount2, &[place, 0]).map(drop)
        },
    },
    Attempt {
        name: "fsopen",
        effect: ForRoot,
        run: |_| call_fd(libc::SYS_fsopen, &[c"tmpfs".as_ptr() as usize, 0]).map(drop),
    },
    Attempt {
        name: "bpf",
        effect: HostDependent,
        run: |_| {
            // BPF_MAP_CREATE of an array: type, sizes of key and value, number of entries.
            let array = [2_u32, 4, 4, 1];
            call_fd(libc::SYS_bpf, &[0, pointer(&array), size_of_val(&array)]).map(drop)
        },
    },
];

/// Before version 9 of Landlock (Linux 7.1) nothing can keep a process from this that must be able
/// to answer its own datagram socket: a filter does not see addresses in memory.
pub(crate) const SEND_TO_A_PATH: &str = "send to a datagram socket's path";

impl Host {
    /// As a kernel argument's value.
    pub(crate) fn to_text(&self) -> String {
        let Self { tcp, udp, name, stream, datagram, victim, segment, sibling, .. } = self;
        let (stream, datagram) = (stream.display(), datagram.display());
        let (dir, terminal) = (self.sibling_dir.display(), self.terminal.display());
        format!(
            "{tcp},{udp},{name},{stream},{datagram},{victim},{segment},{sibling},{dir},{terminal}"
        )
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let [tcp, udp, name, stream, datagram, victim, segment, sibling, dir, terminal] =
            *text.split(',').collect::<Vec<_>>()
        else {
            return None;
        };
        Some(Self {
            tcp: tcp.parse().ok()?,
            udp: udp.parse().ok()?,
            name: name.to_owned(),
            stream: stream.into(),
            datagram: datagram.into(),
            victim: Pid::from_raw(victim.parse().ok()?),
            segment: segment.parse().ok()?,
            sibling: Pid::from_raw(sibling.parse().ok()?),
            sibling_dir: dir.into(),
            terminal: terminal.into(),
        })
    }

    /// A device's node, which only root can have made.
    pub(crate) fn device(&self) -> PathBuf {
        self.stream.with_file_name("device")
    }
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    call_fd(libc::SYS_socket, &[family as usize, kind as usize, protocol as usize]).map(drop)
}

/// A device node in the working directory, which is the run directory.
fn node(kind: SFlag, major: u64, minor: u64) -> io::Result<()> {
    let device = nix::sys::stat::makedev(major, minor);
    let path = if kind == SFlag::S_IFCHR { "device" } else { "disk" };
    Ok(nix::sys::stat::mknod(path, kind, Mode::from_bits_truncate(0o600), device)?)
}

/// In the topmost cgroup that the host shows. The copy of this process goes on as this one does,
/// and ends with the attempt.
fn start_in_a_cgroup() -> io::Result<()> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounted = mounts.lines().find(|line| line.starts_with("cgroup2 "));
    let path = mounted.and_then(|line| line.split(' ').nth(1)).ok_or(io::ErrorKind::NotFound)?;
    let cgroup = fs::File::open(path)?;
    // struct clone_args of linux/sched.h: the flags first, the cgroup's descriptor last.
    let mut arguments = [0; 11];
    arguments[0] = INTO_CGROUP;
    arguments[10] = cgroup.as_raw_fd() as u64;
    call(libc::SYS_clone3, &[pointer(&arguments), size_of_val(&arguments)]).map(drop)
}

/// The file that holds a guest's memory: deleted, and the largest that its kernel has open.
fn sibling_memory(host: &Host) -> io::Result<fs::File> {
    let fds = fs::read_dir(format!("/proc/{}/fd", host.sibling))?;
    let largest = fds
        .filter_map(|fd| {
            let path = fd.ok()?.path();
            let found = path.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((found.len(), path))
        })
        .max()
        .ok_or(io::ErrorKind::NotFound)?;
    OpenOptions::new().read(true).write(true).open(largest.1)
}

/// An address in a process's stack.
fn stack_of(proc: &Path) -> io::Result<u64> {
    let maps = fs::read_to_string(proc.join("maps"))?;
    let line = maps.lines().find(|line| line.ends_with("[stack]"));
    line.and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}
