//! The surroundings: what is odd about each, and what must be so all the same.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::unistd::Pid;
use uml_test::Vm;

use crate::sys;

/// An odd surrounding of a test runner.
pub(crate) struct Surrounding {
    pub(crate) name: &'static str,
    /// Shell commands before the runner, as the first process of a pid namespace; needs root.
    pub(crate) outside: Option<&'static str>,
    /// The runner; it panics where something is wrong.
    pub(crate) run: fn(),
}

const fn inside(name: &'static str, run: fn()) -> Surrounding {
    Surrounding { name, outside: None, run }
}

const fn outside(name: &'static str, script: &'static str) -> Surrounding {
    Surrounding { name, outside: Some(script), run: works }
}

/// The table.
pub(crate) const ALL: &[Surrounding] = &[
    inside("nothing_odd", works),
    inside("sigchld_ignored", || {
        sys::ignore(Signal::SIGCHLD);
        works();
    }),
    inside("all_signals_blocked", || {
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None).unwrap();
        works();
    }),
    inside("standard_streams_closed", || {
        for fd in 0..3 {
            sys::close(fd);
        }
        works();
    }),
    inside("standard_input_closed", || {
        sys::close(0);
        works();
    }),
    inside("child_subreaper", || {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        works();
    }),
    inside("no_new_privileges", || {
        nix::sys::prctl::set_no_new_privs().unwrap();
        works();
    }),
    inside("one_cpu", || {
        let allowed = sched_getaffinity(Pid::this()).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
        let mut one = CpuSet::new();
        one.set(first).unwrap();
        sched_setaffinity(Pid::this(), &one).unwrap();
        works();
    }),
    inside("working_directory_gone", || {
        let dir = tempfile::tempdir().unwrap();
        std::env::set_current_dir(dir.path()).unwrap();
        drop(dir);
        works();
    }),
    inside("many_threads", || {
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| (0..3).for_each(|_| works()))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }),
    inside("soft_limit_on_descriptors", guest_opens_more_files_than_the_runner_may),
    inside("soft_limit_on_file_size", || {
        // Enough for the agent, not for a guest's memory.
        let (_, most) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, (64 << 20).min(most), most).unwrap();
        works();
    }),
    inside("inheritable_descriptors", kernel_inherits_nothing),
    inside("supervisor_killed", || supervisor_harmed(Signal::SIGKILL)),
    inside("supervisor_stopped", || supervisor_harmed(Signal::SIGSTOP)),
    outside("init_of_a_pid_namespace", ""),
    outside("memory_files_not_executable_by_default", "echo 1 > /proc/sys/vm/memfd_noexec &&"),
    outside("memory_files_never_executable", "echo 2 > /proc/sys/vm/memfd_noexec &&"),
];

/// A guest boots, answers, and powers off at once.
fn works() {
    let vm = boot();
    answers(&vm);
    let kernel = kernel(&vm);
    // Less than uml-test waits for a power-off that it does not hear of.
    const AT_ONCE: Duration = Duration::from_secs(10);
    let begin = Instant::now();
    vm.shutdown().unwrap();
    assert!(begin.elapsed() < AT_ONCE, "shutting down took {:?}", begin.elapsed());
    ends(kernel);
}

fn guest_opens_more_files_than_the_runner_may() {
    const RUNNER: u64 = 40;
    const GUEST: usize = 200;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(most > GUEST as u64 + 100, "the hard limit is {most}, too low for this test");
    setrlimit(Resource::RLIMIT_NOFILE, RUNNER, most).unwrap();
    let dir = tempfile::tempdir_in(std::env::var_os("CARGO_TARGET_TMPDIR").unwrap_or(".".into()));
    let dir = dir.unwrap();
    for number in 0..GUEST {
        fs::write(dir.path().join(number.to_string()), "x").unwrap();
    }
    let vm = boot();
    // hostfs keeps a descriptor for each inode that was opened. The shell has the same limit, which it may raise.
    let output = vm
        .command("bash")
        .args([
            "-c",
            r#"ulimit -Sn hard; for file in "$0"/*; do exec {fd}<"$file" || exit; done; echo all"#,
        ])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all\n", "{output:?}");
    vm.shutdown().unwrap();
}

/// A descriptor that is open for writing would be writable in any sandbox.
fn kernel_inherits_nothing() {
    let mine = tempfile::NamedTempFile::new().unwrap();
    let copies: Vec<_> = (0..20).map(|_| mine.reopen().unwrap()).collect();
    copies.iter().for_each(sys::inherit);
    let vm = boot();
    answers(&vm);
    for process in [kernel(&vm), supervisor(&vm)] {
        let open: Vec<PathBuf> = fs::read_dir(format!("/proc/{process}/fd"))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .collect();
        assert!(!open.is_empty());
        assert!(!open.iter().any(|path| path == mine.path()), "{process} has {open:?}");
    }
    vm.shutdown().unwrap();
}

/// The guest ends with its supervisor, and the runner is told instead of waiting.
fn supervisor_harmed(signal: Signal) {
    let vm = boot();
    let (kernel, supervisor, run_dir) = (kernel(&vm), supervisor(&vm), vm.run_dir().to_owned());
    kill(supervisor, signal).unwrap();
    if signal == Signal::SIGKILL {
        ends(kernel);
        let answer = vm.command("true").status();
        assert!(matches!(answer, Err(uml_test::Error::Gone { .. })), "{answer:?}");
    } else {
        answers(&vm); // the guest needs it for nothing
    }
    let begin = Instant::now();
    drop(vm);
    assert!(begin.elapsed() < Duration::from_secs(7), "ending it took {:?}", begin.elapsed());
    ends(kernel);
    ends(supervisor);
    assert!(!run_dir.exists(), "{} is left", run_dir.display());
}

fn boot() -> Vm {
    Vm::builder().boot().unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

fn answers(vm: &Vm) {
    let output = vm.command("sh").args(["-c", "echo alive; exit 3"]).output().unwrap();
    assert_eq!((&output.stdout[..], output.status.code()), (&b"alive\n"[..], Some(3)));
}

fn kernel(vm: &Vm) -> Pid {
    let pid = fs::read_to_string(vm.run_dir().join("u/pid")).unwrap();
    Pid::from_raw(pid.trim().parse().unwrap())
}

fn supervisor(vm: &Vm) -> Pid {
    let status = fs::read_to_string(format!("/proc/{}/status", kernel(vm))).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    Pid::from_raw(parent.trim().parse().unwrap())
}

/// Waits for a process to end, a second at most. One that only waits to be collected has ended.
fn ends(pid: Pid) {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        if kill(pid, None) == Err(Errno::ESRCH) || state.starts_with(['Z', 'X']) {
            return;
        }
        assert!(Instant::now() < deadline, "{pid} is still there: {stat}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
