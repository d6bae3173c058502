//! The tests.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::Pid;
use tempfile::TempDir;
use uml_test::{Error, Sandbox, Vm, VmBuilder};

use crate::attempt::{self, Place};
use crate::host::{self, Host};
use crate::tree::{self, Snapshot};
use crate::{HOST, IN_GUEST, REPORT, TREE, files, sys, through};

/// As many of the attempts on files must change the host without a sandbox, whoever runs them and
/// from wherever: with few the tests of the sandbox would show little.
const LEAST: usize = 15;

/// A test; an error is its failure.
pub(crate) type Scenario = fn() -> Result<(), String>;

/// Every test by name.
pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("guest_root_changes_nothing", || attempts(Place::GuestRoot, Sandbox::Require)),
    ("guest_root_would_without_the_sandbox", || attempts(Place::GuestRoot, Sandbox::Off)),
    ("the_kernel_process_changes_nothing", || attempts(Place::Kernel, Sandbox::Require)),
    ("the_kernel_process_would_without_the_sandbox", || attempts(Place::Kernel, Sandbox::Off)),
    ("rw_dirs_may_be_written_and_nothing_beside_them", rw_dirs),
];

/// The executable of a guest's kernel, wherever uml-test has found it.
pub(crate) fn kernel() -> PathBuf {
    let vm = boot(Vm::builder());
    fs::read_link(format!("/proc/{}/exe", kernel_of(&vm))).unwrap()
}

fn boot(guest: VmBuilder) -> Vm {
    guest.boot().unwrap_or_else(|error| panic!("{error}"))
}

/// The pid of its kernel process.
fn kernel_of(vm: &Vm) -> Pid {
    let pid = fs::read_to_string(vm.run_dir().join("u/pid")).unwrap();
    Pid::from_raw(pid.trim().parse().unwrap())
}

/// Makes every attempt on a directory of its own, and judges them by what became of these.
///
/// # Errors
/// Every attempt that did not end as it must.
fn attempts(place: Place, sandbox: Sandbox) -> Result<(), String> {
    let scratch = scratch();
    let tree = scratch.path().join("t");
    fs::create_dir(&tree).unwrap();
    let directories: Vec<_> =
        files::ATTEMPTS.iter().map(|one| attempt::directory(&tree, one.name)).collect();
    for directory in &directories {
        tree::fill(directory);
    }
    let before: Vec<_> = directories.iter().map(|directory| Snapshot::take(directory)).collect();
    let outside = Snapshot::take(&tree);
    let victims = Victims::make(scratch.path());
    let report = match place {
        Place::GuestRoot => from_a_guest(&tree, sandbox, &victims.host),
        Place::Kernel => from_the_kernels_place(scratch.path(), &tree, sandbox, &victims.host),
    };
    let results = attempt::results(&report);
    let mut wrong = String::new();
    let mut changed = 0;
    for ((one, directory), before) in files::ATTEMPTS.iter().zip(&directories).zip(&before) {
        let changes = before.changes(&Snapshot::take(directory));
        changed += usize::from(!changes.is_empty());
        let result = results.iter().find(|(name, _)| *name == one.name).map(|(_, result)| *result);
        let wanted = one.effect.without_sandbox(place, root());
        let fault = match (sandbox, result) {
            (_, None) => Some("was not made".to_owned()),
            (Sandbox::Off, Some(result)) => (wanted == Some(changes.is_empty()))
                .then(|| format!("without a sandbox it said {result}, changes: {changes:?}")),
            // What is not passed on to the host may well succeed in the guest.
            (_, Some("ok")) if wanted == Some(true) => Some(format!("succeeded; {changes}")),
            (_, Some(result)) => (!changes.is_empty())
                .then(|| format!("said {result}, and changed the host all the same: {changes}")),
        };
        if let Some(fault) = fault {
            let _ = writeln!(wrong, "{}: {fault}", one.name);
        }
    }
    if sandbox == Sandbox::Off && changed < LEAST {
        let _ = writeln!(wrong, "only {changed} attempts change anything without a sandbox");
    }
    if sandbox != Sandbox::Off {
        let changes = outside.changes(&Snapshot::take(&tree));
        if !changes.is_empty() {
            let _ = writeln!(wrong, "beside the attempts' own directories: {changes}");
        }
    }
    victims.judge(place, &results, sandbox, &mut wrong);
    show(place, sandbox, &report);
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// As root in a guest, through a hostfs that was mounted read-only and then made writable, and one
/// of the host's `/`.
fn from_a_guest(tree: &Path, sandbox: Sandbox, host: &Host) -> String {
    let vm = boot(Vm::builder().sandbox(sandbox));
    let (place, root) = ("/mnt", "/srv");
    let script = r#"
        mount -r -t hostfs -o "$1" none "$2"
        grep -q " $2 hostfs ro," /proc/mounts
        mount -o remount,rw "$2"
        mount -t hostfs -o / none "$3""#;
    let mut command = vm.command("sh");
    command.args(["-ec", script, "sh"]).arg(tree).args([place, root]);
    let mounted = command.output().unwrap();
    assert!(mounted.status.success(), "{mounted:?}");
    let program = std::env::current_exe().unwrap();
    let mut command = vm.command(program);
    let output = command.args([IN_GUEST, place, root, &host.to_text()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// In the kernel's place: this program is what the supervisor boots.
fn from_the_kernels_place(scratch: &Path, tree: &Path, sandbox: Sandbox, host: &Host) -> String {
    let reports = scratch.join("reports");
    fs::create_dir(&reports).unwrap();
    let report = reports.join("report");
    let cmdline =
        format!("{TREE}{} {REPORT}{} {HOST}{}", tree.display(), report.display(), host.to_text());
    let booted = Vm::builder()
        .kernel(std::env::current_exe().unwrap())
        .sandbox(sandbox)
        .rw_dir(&reports)
        .cmdline(&cmdline)
        .boot();
    assert!(matches!(booted, Err(Error::Gone { .. })), "{booted:?}");
    fs::read_to_string(&report).unwrap_or_else(|error| panic!("no report: {error}; {booted:?}"))
}

/// What the attempts of `host` and `through` are aimed at.
struct Victims {
    host: Host,
    process: Victim,
    sibling: Vm,
    tcp: TcpListener,
    udp: UdpSocket,
    named: UnixListener,
    stream: UnixListener,
    datagram: UnixDatagram,
    /// The terminal's other end, and the terminal, as without it nothing could be read.
    terminal: (fs::File, OwnedFd),
}

impl Victims {
    fn make(scratch: &Path) -> Self {
        let process = Victim::start();
        let sibling = boot(Vm::builder());
        let sibling_dir = sibling.run_dir().to_owned();
        let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let name = format!("uml-test{}", scratch.display());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let named = UnixListener::bind_addr(&address).unwrap();
        let sockets = scratch.join("s");
        fs::create_dir(&sockets).unwrap();
        let (stream, datagram) = (sockets.join("stream"), sockets.join("datagram"));
        let nix::pty::OpenptyResult { master, slave } = nix::pty::openpty(None, None).unwrap();
        let host = Host {
            tcp: tcp.local_addr().unwrap().port(),
            udp: udp.local_addr().unwrap().port(),
            name,
            stream: stream.clone(),
            datagram: datagram.clone(),
            victim: process.pid(),
            segment: sys::call(libc::SYS_shmget, &[0, 4096, 0o600]).unwrap() as i32,
            sibling: kernel_of(&sibling),
            sibling_dir,
            terminal: nix::unistd::ttyname(&slave).unwrap(),
        };
        if root() {
            let full = nix::sys::stat::makedev(1, 7);
            let mode = Mode::from_bits_truncate(0o600);
            nix::sys::stat::mknod(&host.device(), SFlag::S_IFCHR, mode, full).unwrap();
        }
        let stream = UnixListener::bind(stream).unwrap();
        let datagram = UnixDatagram::bind(datagram).unwrap();
        for nonblocking in [
            tcp.set_nonblocking(true),
            udp.set_nonblocking(true),
            named.set_nonblocking(true),
            stream.set_nonblocking(true),
            datagram.set_nonblocking(true),
        ] {
            nonblocking.unwrap();
        }
        nix::fcntl::fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let terminal = (fs::File::from(master), slave);
        Self { host, process, sibling, tcp, udp, named, stream, datagram, terminal }
    }

    /// Adds to `wrong` every attempt that did not end as it must.
    fn judge(
        mut self,
        place: Place,
        results: &[(&str, &str)],
        sandbox: Sandbox,
        wrong: &mut String,
    ) {
        match place {
            Place::Kernel => self.judge_the_kernels(results, sandbox, wrong),
            Place::GuestRoot => {
                let written = self.terminal.0.read(&mut [0; 8]).is_ok();
                through::judge(&self.host, written, results, sandbox, root(), wrong);
            }
        }
        if !matches!(self.process.0.try_wait(), Ok(None)) {
            let _ = writeln!(wrong, "the victim has ended");
        }
        let answer = self.sibling.command("echo").arg("alive").output();
        if !answer.as_ref().is_ok_and(|output| output.stdout == b"alive\n") {
            let _ = writeln!(wrong, "the sibling guest says {answer:?}");
        }
    }

    fn judge_the_kernels(&self, results: &[(&str, &str)], sandbox: Sandbox, wrong: &mut String) {
        let late_landlock = landlock_version() < 9;
        for one in host::ATTEMPTS {
            let result =
                results.iter().find(|(name, _)| *name == one.name).map(|(_, result)| *result);
            let succeeds = match sandbox {
                Sandbox::Off => one.effect.without_sandbox(Place::Kernel, root()),
                _ if one.name == host::SEND_TO_A_PATH => Some(late_landlock),
                _ => Some(false),
            };
            let Some(result) = result else {
                let _ = writeln!(wrong, "{}: was not made", one.name);
                continue;
            };
            if succeeds.is_some_and(|succeeds| succeeds != (result == "ok")) {
                let _ = writeln!(wrong, "{}: said {result} with {sandbox:?}", one.name);
            }
        }
        // What the host itself saw, whatever the attempts say of themselves.
        let mut unread = [0; 8];
        let seen = [
            ("TCP connection", self.tcp.accept().is_ok()),
            ("UDP datagram", self.udp.recv(&mut unread).is_ok()),
            ("connection to the abstract socket", self.named.accept().is_ok()),
            ("connection to the socket's path", self.stream.accept().is_ok()),
            ("changed priority", priority(self.host.victim) != priority(Pid::this())),
        ];
        for (what, seen) in seen {
            if seen != (sandbox == Sandbox::Off) {
                let _ = writeln!(wrong, "{what}: seen {seen} with {sandbox:?}");
            }
        }
        let _ = self.datagram.recv(&mut unread);
    }
}

impl Drop for Victims {
    fn drop(&mut self) {
        let segment = self.host.segment as usize;
        let _ = sys::call(libc::SYS_shmctl, &[segment, libc::IPC_RMID as usize, 0]);
    }
}

/// A process that does nothing, and leads a process group. Dropping it kills and collects it.
struct Victim(Child);

impl Victim {
    fn start() -> Self {
        let mut command = Command::new("sleep");
        command.arg("600").process_group(0).stdin(Stdio::null());
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The guest may write its `rw_dir`, and what lies beside it not even through it.
fn rw_dirs() -> Result<(), String> {
    let scratch = scratch();
    let (inside, beside) = (scratch.path().join("inside"), scratch.path().join("beside"));
    fs::create_dir(&inside).unwrap();
    tree::fill(&beside);
    let before = Snapshot::take(&beside);
    let vm = boot(Vm::builder().sandbox(Sandbox::Require).rw_dir(&inside));
    let script = r#"
        set -e
        cd "$INSIDE"
        echo written > file; mkdir dir; echo more > dir/other; mv dir/other dir/moved
        ln file hard; ln -s file soft; : > gone; rm gone
        ln -s "$BESIDE" out
        mount -r -t hostfs -o "$BESIDE" none /mnt
        mount -o remount,rw /mnt
        set +e
        echo x > /mnt/file; echo x > out/file; echo x > ../beside/file; mv file /mnt/file
        ln /mnt/file stolen && echo x > stolen
        mount -t hostfs -o "$INSIDE" none /srv; echo x > /srv/../beside/file
        true"#;
    let output = vm
        .command("sh")
        .args(["-c", script])
        .env("INSIDE", &inside)
        .env("BESIDE", &beside)
        .output()
        .unwrap();
    vm.shutdown().unwrap();
    let shell = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shell}");
    let found: BTreeSet<_> =
        fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let wanted: BTreeSet<_> = ["dir", "file", "hard", "out", "soft"].map(OsString::from).into();
    assert_eq!(found, wanted, "{shell}");
    assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "written\n");
    assert_eq!(fs::read_to_string(inside.join("dir/moved")).unwrap(), "more\n");
    assert_eq!(inside.join("hard").metadata().unwrap().nlink(), 2);
    let changes = before.changes(&Snapshot::take(&beside));
    if changes.is_empty() { Ok(()) } else { Err(format!("{changes}{shell}")) }
}

/// A directory for one test, with a short path: sockets are bound in it.
fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("hp-").tempdir_in("/tmp").unwrap()
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn priority(pid: Pid) -> Option<usize> {
    sys::call(libc::SYS_getpriority, &[libc::PRIO_PROCESS as usize, pid.as_raw() as usize]).ok()
}

/// The host's own word, not uml-test's.
fn landlock_version() -> usize {
    sys::call(libc::SYS_landlock_create_ruleset, &[0, 0, 1]).unwrap_or(0)
}

/// Prints what each attempt said, where `SHOW_ATTEMPTS` is set.
#[expect(clippy::print_stderr, reason = "asked for by name, for people")]
fn show(place: Place, sandbox: Sandbox, report: &str) {
    if std::env::var_os("SHOW_ATTEMPTS").is_some() {
        eprintln!("{place:?}, sandbox {sandbox:?}:\n{report}");
    }
}
