//! `Vm` on a real kernel: what a guest is, what a command does in it, what is left of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant, SystemTime};

use uml_test::{Error, Traps, Vm};

fn boot() -> Vm {
    Vm::builder().boot().unwrap_or_else(|error| panic!("{error}"))
}

/// A guest has fresh ones, unless one of them is where the host's program works.
#[test]
fn a_kept_place_is_the_hosts() {
    for place in ["/tmp", "/dev/shm"] {
        let file = tempfile::NamedTempFile::new_in(place).unwrap();
        fs::write(&file, "of the host's").unwrap();
        let vm = Vm::builder().keep(place).boot().unwrap_or_else(|error| panic!("{error}"));
        let script = format!("cat {0}; echo changed > {0}", file.path().display());
        assert_eq!(sh(&vm, &script), "of the host's", "{place}");
        drop(vm);
        assert_eq!(fs::read_to_string(&file).unwrap(), "of the host's", "{place}");
    }
}

/// A shell script's standard output; the script must succeed.
fn sh(vm: &Vm, script: &str) -> String {
    let output = vm.command("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(output: &Output) -> (&str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_guest_is_roots_own_world() {
    let vm = boot();
    assert_eq!(sh(&vm, "id -u; cat /proc/sys/kernel/hostname"), "0\numl-test\n");
    let capabilities = sh(&vm, "grep CapEff /proc/self/status");
    let mask = capabilities.split_whitespace().nth(1).unwrap();
    assert_eq!(u64::from_str_radix(mask, 16).unwrap().count_ones(), 41, "{capabilities}");
    let mounted = sh(&vm, "cat /proc/mounts");
    for place in [
        "/",
        "/proc",
        "/sys",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/run",
        "/tmp",
        "/sys/fs/cgroup",
        "/sys/kernel/security",
        "/sys/kernel/debug",
        "/sys/kernel/config",
    ] {
        let is_there = mounted.lines().any(|line| line.split(' ').nth(1) == Some(place));
        assert!(is_there, "{place} is not mounted:\n{mounted}");
    }
    // Loopback works: connect to oneself.
    let listener = sh(&vm, "cat /sys/class/net/lo/flags /sys/class/net/lo/operstate");
    let flags = u32::from_str_radix(listener.lines().next().unwrap().trim_start_matches("0x"), 16);
    assert_eq!(flags.unwrap() & 1, 1, "lo is not up: {listener}");
    // Names such as dummy0 are the tests' to give. One loop device is there, as programs look for its node.
    let devices = "ls /sys/block; links='tail -n +3 /proc/self/net/dev'; $links; unshare -n $links";
    let found = sh(&vm, devices);
    let names: Vec<&str> = found.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names.iter().map(|name| name.trim()).collect::<Vec<_>>(), ["loop0", "lo", "lo"]);
    assert!(vm.kernel_release().starts_with(sh(&vm, "cat /proc/sys/kernel/osrelease").trim()));
    vm.shutdown().unwrap();
}

/// What systemd and udev do on a host, and tests rely on.
#[test]
fn a_guest_is_as_an_init_system_leaves_it() {
    let vm = boot();
    assert_eq!(sh(&vm, "cat /proc/sys/net/ipv4/ping_group_range").trim(), "0\t2147483647");
    assert_eq!(sh(&vm, "stat -c %a /dev/fuse /dev/net/tun /dev/vsock"), "666\n666\n666\n");
    let all = sh(&vm, "cat /sys/fs/cgroup/cgroup.controllers");
    assert!(all.contains("memory"), "{all}");
    let below = sh(&vm, "mkdir /sys/fs/cgroup/x; cat /sys/fs/cgroup/x/cgroup.controllers");
    assert_eq!(below, all);
}

/// Those of procps 4.0.2 want more of `/proc/cpuinfo` than User Mode Linux writes there.
#[test]
fn programs_that_list_processes_work() {
    let vm = boot();
    let processors = sh(&vm, "cat /proc/cpuinfo");
    let count = |name: &str| processors.lines().filter(|line| line.starts_with(name)).count();
    assert!(count("processor") > 0 && count("core id") == count("processor"), "{processors}");
    // Minimal hosts have neither.
    if sh(&vm, "command -v ps vmstat || true").lines().count() == 2 {
        let listed = sh(&vm, "ps -ef && vmstat");
        let first = listed.lines().nth(1).unwrap().split_whitespace().nth(1);
        assert_eq!(first, Some("1"), "{listed}");
    }
    // The kernel allows that only beside a `/proc` with nothing over its files.
    let mounts = "mount -t proc proc /proc && echo $$";
    let own = vm.command("unshare").args(["-Urmpf", "sh", "-c", mounts]).output().unwrap();
    assert_eq!(text(&own), ("1\n", ""));
}

#[test]
fn a_guests_name_resolves_in_the_guest_alone() {
    let hosts = fs::read("/etc/hosts");
    let vm = boot();
    let addresses = sh(&vm, "getent ahosts \"$(cat /etc/hostname)\"; getent ahosts uml-test");
    let all_are_ours = addresses.lines().all(|line| line.starts_with("127.0.1.1"));
    assert!(all_are_ours && addresses.lines().count() > 1, "{addresses}");
    assert_eq!(fs::read("/etc/hosts").ok(), hosts.ok());

    // Not even where the guest may write there.
    let etc = tempfile::tempdir().unwrap();
    let builder = Vm::builder().rw_dir_at(etc.path(), "/etc");
    let vm = builder.boot().unwrap_or_else(|error| panic!("{error}"));
    vm.shutdown().unwrap();
    assert_eq!(fs::read_dir(etc.path()).unwrap().count(), 0);
}

#[test]
fn the_hosts_files_are_there_and_writes_vanish() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("written-in-a-guest");
    let vm = boot();
    let read = vm.command("cat").arg(&manifest).output().unwrap();
    assert_eq!(read.stdout, fs::read(&manifest).unwrap());
    let write = format!("echo x > '{}'; cat '{0}'; rm '{}'", probe.display(), manifest.display());
    assert_eq!(sh(&vm, &write), "x\n");
    assert!(!probe.exists() && manifest.exists(), "the host saw the guest's writes");
    let other = boot();
    assert_eq!(other.command("test").arg("-e").arg(&probe).status().unwrap().code(), Some(1));
}

/// The kernel has taken it from the host's itself, and nothing has set it since.
#[test]
fn the_clock_is_the_hosts() {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let vm = boot();
    let before = now();
    let guests: u128 = sh(&vm, "date +%s%N").trim().parse().unwrap();
    let after = now();
    let slack = Duration::from_millis(20).as_nanos();
    assert!((before - slack..after + slack).contains(&guests), "{before} {guests} {after}");
    let log = sh(&vm, "dmesg");
    assert!(!log.contains("setting system clock"), "{log}");
}

/// Files that are named by a pid, as coverage profiles are, stay apart.
#[test]
fn guests_number_their_processes_apart() {
    let pids: Vec<String> = (0..3).map(|_| sh(&boot(), "echo $$")).collect();
    let numbers: std::collections::BTreeSet<i32> =
        pids.iter().map(|pid| pid.trim().parse().unwrap()).collect();
    assert_eq!(numbers.len(), 3, "{pids:?}");
    assert!(numbers.iter().all(|pid| (300..1 << 22).contains(pid)), "{pids:?}");
}

#[test]
fn commands_are_like_the_standard_librarys() {
    let vm = boot();
    let output = vm.command("sh").args(["-c", "echo out; echo err >&2; exit 7"]).output().unwrap();
    assert_eq!(text(&output), ("out\n", "err\n"));
    assert_eq!(output.status.code(), Some(7));

    let killed = vm.command("sh").args(["-c", "kill -SEGV $$"]).status().unwrap();
    assert_eq!(killed.signal(), Some(11));

    let mut command = vm.command("sh");
    command.args(["-c", "echo \"$A/$B\"; pwd; cat"]).env("A", "1").env("B", "2").env_remove("B");
    let output = command.current_dir("/usr").stdin("typed").output().unwrap();
    assert_eq!(text(&output), ("1/\n/usr\ntyped", ""));
    // As the standard library has it: from this process's, whatever was said before.
    let output = vm.command("pwd").current_dir("/usr").current_dir("tests").output().unwrap();
    assert_eq!(text(&output), (concat!(env!("CARGO_MANIFEST_DIR"), "/tests\n"), ""));

    let output = vm.command("/usr/bin/env").env_clear().env("ONLY", "this").output().unwrap();
    assert_eq!(text(&output), ("ONLY=this\n", ""));

    let both = "echo out; echo err >&2; echo out again";
    let output = vm.command("sh").args(["-c", both]).stderr_to_stdout().output().unwrap();
    assert_eq!(text(&output), ("out\nerr\nout again\n", ""));

    let bytes = OsStr::from_bytes(b"\xff\x01 \n");
    let output = vm.command("printf").arg("%s").arg(bytes).output().unwrap();
    assert_eq!(output.stdout, bytes.as_bytes());

    // In a session of its own that it does not lead, with nothing ignored or blocked.
    let status = sh(&vm, "cat /proc/self/status; cut -d' ' -f1,5,6 /proc/$$/stat");
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    for mask in ["SigBlk:", "SigIgn:"] {
        assert!(line(mask).ends_with("0000000000000000"), "{}", line(mask));
    }
    let ids: Vec<i32> =
        status.lines().last().unwrap().split(' ').map(|id| id.parse().unwrap()).collect();
    let [pid, group, session] = ids[..] else { panic!("{ids:?}") };
    assert!(group == session && session > 1, "of its own, not the agent's: {ids:?}");
    assert_ne!(pid, session, "its leader");
}

#[test]
fn what_cannot_be_started_is_named_and_the_guest_goes_on() {
    let vm = boot();
    let refusal = |command: &mut uml_test::Command<'_>| match command.spawn() {
        Err(Error::Refused(failure)) => failure.to_string(),
        other => panic!("{other:?}"),
    };
    let message = refusal(&mut vm.command("/nonexistent/program"));
    assert!(message.starts_with("execute /nonexistent/program: No such file"), "{message}");
    let message = refusal(&mut vm.command("no-such-program"));
    assert!(message.contains("`no-such-program` along PATH"), "{message}");
    let message = refusal(vm.command("true").current_dir("/nonexistent"));
    assert!(message.starts_with("chdir to /nonexistent: No such file"), "{message}");
    let message = refusal(&mut vm.command("/etc/passwd"));
    assert!(message.starts_with("execute /etc/passwd: Permission denied"), "{message}");
    let message = refusal(vm.command("true").arg(OsStr::from_bytes(b"a\0b")));
    assert!(message.contains("NUL"), "{message}");
    assert!(vm.command("true").status().unwrap().success());
}

#[test]
fn large_input_and_output_pass_whole() {
    let vm = boot();
    let input: Vec<u8> = (0..400_000u32).flat_map(|number| number.to_le_bytes()).collect();
    let output = vm.command("cat").stdin(input.clone()).output().unwrap();
    assert!(output.stdout == input, "{} of {} bytes", output.stdout.len(), input.len());
    // A reader that does not read on: the writer's fate is no error.
    let status = vm.command("true").stdin(input).status().unwrap();
    assert!(status.success());
}

#[test]
fn commands_run_beside_each_other() {
    let vm = boot();
    let mut sleeper = vm.command("sleep").arg("1000").spawn().unwrap();
    let quick = vm.command("echo").arg("quick").output().unwrap();
    assert_eq!(quick.stdout, b"quick\n");
    assert!(sleeper.id() > 1 && sleeper.usage().is_none());
    sleeper.kill().unwrap();
    assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
    assert!(sleeper.usage().unwrap().max_rss_kib > 0);
    sleeper.kill().unwrap(); // it has ended: no error
}

#[test]
fn a_dropped_guest_is_gone_at_once() {
    let vm = boot();
    let run_dir = vm.run_dir().to_owned();
    assert!(run_dir.join("root/init").exists());
    assert!(!kernels(&run_dir).is_empty());
    let _running = vm.command("sleep").arg("1000").spawn().unwrap();
    drop(vm);
    let left = kernels(&run_dir);
    assert!(left.is_empty(), "{left:?}");
    assert!(!run_dir.exists());
}

#[test]
fn the_end_of_a_guest_is_told_apart() {
    let end = |script: &str| {
        let vm = boot();
        match vm.command("sh").args(["-c", script]).status() {
            Err(Error::Gone { end, .. }) => end,
            other => panic!("{other:?}"),
        }
    };
    let off = end("echo o > /proc/sysrq-trigger; sleep 100");
    assert_eq!(off.panic_message, None);
    assert_eq!(off.kernel.unwrap().to_string(), "exit code 0");
    let said = "Kernel panic - not syncing: said";
    let forged =
        end(&format!("echo '{said}' > /dev/kmsg; echo o > /proc/sysrq-trigger; sleep 100"));
    assert_eq!(forged.panic_message, None, "{forged:?}");
    assert!(forged.console.contains(said), "{forged:?}");
    let crash = end("echo c > /proc/sysrq-trigger");
    assert_eq!(crash.panic_message.as_deref(), Some("sysrq triggered crash"));
    assert_eq!(crash.kernel.unwrap().to_string(), "killed by signal 6 (SIGABRT)");
}

#[test]
#[should_panic(expected = "skip! outside of a #[uml_test], where nothing can be skipped: no nft")]
fn an_ordinary_test_cannot_be_skipped_and_says_so() {
    uml_test::skip!("no {}", "nft");
}

#[test]
fn what_was_written_outlives_the_guest() {
    let vm = boot();
    let script = "echo out; echo err >&2; sleep 0.3; echo c > /proc/sysrq-trigger";
    let mut child = vm.command("sh").args(["-c", script]).spawn().unwrap();
    assert!(matches!(child.wait(), Err(Error::Gone { .. })));
    assert_eq!((child.stdout(), child.stderr()), (&b"out\n"[..], &b"err\n"[..]));
}

#[test]
fn the_end_of_a_program_can_be_asked_for() {
    let vm = boot();
    let mut child = vm.command("sh").args(["-c", "seq 100000; sleep 0.2; exit 7"]).spawn().unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(7));
    assert_eq!(child.try_wait().unwrap(), Some(status), "also when it is asked again");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 100_000);

    // What writes without end keeps nobody, and the guest's end is told of.
    let mut endless = vm.command("yes").spawn().unwrap();
    assert_eq!(endless.try_wait().unwrap(), None);
    // It may be gone before it has said that the program runs.
    let powers_off = vm.command("sh").args(["-c", "echo o > /proc/sysrq-trigger"]).spawn();
    let _ = powers_off.and_then(|mut child| child.wait());
    let started = Instant::now();
    loop {
        match endless.try_wait() {
            Ok(None) => assert!(started.elapsed() < Duration::from_secs(10)),
            Err(Error::Gone { .. }) => break,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_guests_life_can_be_limited() {
    let start = Instant::now();
    let limit = Duration::from_secs(3);
    let vm = Vm::builder().timeout(limit).boot().unwrap();
    match vm.command("sleep").arg("1000").status() {
        Err(Error::TimedOut { limit: found, .. }) => assert_eq!(found, limit),
        other => panic!("{other:?}"),
    }
    drop(vm);
    assert!(start.elapsed() < limit + Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn an_end_in_time_is_one_whenever_it_is_asked_for() {
    let limit = Duration::from_secs(3);
    let vm = Vm::builder().timeout(limit).boot().unwrap();
    let mut ended = vm.command("sh").args(["-c", "echo said; exit 7"]).spawn().unwrap();
    let mut endless = vm.command("yes").spawn().unwrap();
    std::thread::sleep(limit + Duration::from_millis(100));
    assert_eq!(ended.wait().unwrap().code(), Some(7));
    assert_eq!(ended.wait_with_output().unwrap().stdout, b"said\n");
    assert!(matches!(endless.wait(), Err(Error::TimedOut { .. })));
}

#[test]
fn what_a_program_hides_by_a_mount_is_not_hidden_from_the_agent() {
    let vm = boot();
    sh(&vm, "umount /dev/mqueue /dev/shm /dev/pts /dev");
    sh(&vm, "mount -t tmpfs none /dev && mkfifo /dev/null /dev/kmsg");
    let empty = vm.command("cat").output().unwrap();
    assert!(empty.status.success() && empty.stdout.is_empty(), "{empty:?}");
    let (_resizes, resized) = std::sync::mpsc::channel();
    let size = uml_test::TerminalSize { rows: 24, columns: 80 };
    // Which is hung up when this process's standard input ends, and that may be at once.
    vm.command("true").attach_terminal(size, None, resized).unwrap();
}

#[test]
fn a_request_that_is_too_large_is_one_and_harms_nothing() {
    let vm = boot();
    let large = "x".repeat(9 << 20);
    match vm.command("true").arg(large).status() {
        Err(Error::Request(why)) => assert!(why.contains("over the limit"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(sh(&vm, "echo well"), "well\n");
}

#[test]
fn a_file_can_be_a_disk() {
    let image = tempfile::NamedTempFile::new().unwrap();
    fs::write(image.path(), "a disk's content".repeat(1 << 10)).unwrap();
    let disk = format!("ubd0r={}", image.path().display());
    let vm = Vm::builder().cmdline(&disk).boot().unwrap();
    assert_eq!(sh(&vm, "head -c 6 /dev/ubda; blockdev --getsize64 /dev/ubda"), "a disk16384\n");
}

#[test]
fn memory_is_in_bytes() {
    let error = Vm::builder().mem(256).boot().unwrap_err().to_string();
    assert!(error.contains("VmBuilder::mem") && error.contains("at least 32 MiB"), "{error}");
}

#[test]
fn what_is_written_to_an_rw_dir_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kept");
    let vm = Vm::builder().rw_dir(dir.path()).boot().unwrap();
    sh(&vm, &format!("seq 100000 > '{}'", file.display()));
    vm.shutdown().unwrap();
    let kept = fs::read_to_string(&file).unwrap();
    assert_eq!(kept.lines().count(), 100_000);
    assert_eq!(kept.lines().last(), Some("100000"));
}

/// The processes that run there, by their places in the host's /proc, the kernel's first.
fn kernels(run_dir: &Path) -> Vec<PathBuf> {
    let argument = [b"uml_dir=", run_dir.as_os_str().as_bytes()].concat();
    let is_kernel = |process: &PathBuf| {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|found| found == argument)
    };
    fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).filter(is_kernel).collect()
}

fn kernel(vm: &Vm) -> PathBuf {
    kernels(vm.run_dir()).into_iter().next().expect("the guest's kernel runs")
}

/// What the host's kernel says of the process of a guest's kernel, and of those of its user space.
fn on_the_host(vm: &Vm) -> (String, Vec<String>) {
    let kernel = kernel(vm);
    let mut children = String::new();
    for task in fs::read_dir(kernel.join("task")).unwrap() {
        children += &fs::read_to_string(task.unwrap().path().join("children")).unwrap();
    }
    let status = |process: &Path| fs::read_to_string(process.join("status")).unwrap();
    let stubs = children.split_whitespace().map(|id| status(&Path::new("/proc").join(id)));
    let stubs: Vec<String> = stubs.collect();
    assert!(!stubs.is_empty(), "no process of the guest's user space");
    (status(&kernel), stubs)
}

fn field<'s>(status: &'s str, name: &str) -> &'s str {
    let line = status.lines().find(|line| line.starts_with(name)).expect("a field of proc(5)");
    line.split_once(':').unwrap().1.trim()
}

#[test]
fn a_guest_runs_on_one_cpu_and_intercepts_calls_as_asked() {
    let release = {
        let vm = boot();
        let (kernel, stubs) = on_the_host(&vm);
        for status in stubs.iter().chain([&kernel]) {
            let cpus = field(status, "Cpus_allowed_list");
            assert!(cpus.parse::<usize>().is_ok(), "not one CPU: {cpus}");
        }
        vm.kernel_release().to_owned()
    };
    let vm = Vm::builder().traps(Traps::Ptrace).boot().unwrap();
    let (kernel, stubs) = on_the_host(&vm);
    let pid = field(&kernel, "Pid");
    assert!(stubs.iter().all(|status| field(status, "TracerPid") == pid), "{stubs:?}");

    let numbers: Vec<u32> =
        release.split(['.', '-']).take(2).map(|number| number.parse().unwrap()).collect();
    if numbers < vec![6, 16] {
        return; // knows nothing else
    }
    let vm = Vm::builder().traps(Traps::Seccomp).boot().unwrap();
    let (_, stubs) = on_the_host(&vm);
    assert!(stubs.iter().all(|status| field(status, "TracerPid") == "0"), "{stubs:?}");
}

/// It would be as large as the guest's memory; a limit of 1 holds for programs that cores are piped to.
#[test]
fn a_kernel_leaves_no_core_dump() {
    let vm = boot();
    let kernel = kernel(&vm);
    let limits = fs::read_to_string(kernel.join("limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let core: Vec<&str> = core.split_whitespace().take(2).collect();
    assert!(core.iter().all(|limit| ["0", "1"].contains(limit)), "{limits}");
    let filter = fs::read_to_string(kernel.join("coredump_filter")).unwrap();
    assert_eq!(u64::from_str_radix(filter.trim(), 16), Ok(0), "{filter}");
}

#[test]
fn what_keeps_a_guest_from_coming_up_is_shown_with_a_remedy() {
    let error = Vm::builder().cmdline("init=/nonexistent").boot().unwrap_err();
    let shown = error.to_string();
    for says in ["the guest is gone while booting", "cargo uml doctor", "cargo uml kernel build"] {
        assert!(shown.contains(says), "nothing says `{says}`: {shown}");
    }
    // What `unwrap` shows.
    let shown = format!("{error:?}");
    let (before, console) = shown.split_once("last lines of the guest's console").unwrap();
    assert!(before.contains("cargo uml doctor"), "{shown}");
    assert!(console.contains("nonexistent"), "{shown}");
}

#[test]
fn little_memory_is_named_where_a_guest_does_not_come_up() {
    let shown = |mem| {
        let builder = Vm::builder().kernel("/usr/bin/false").mem(mem);
        builder.boot().unwrap_err().to_string()
    };
    let (little, enough) = (shown(32 << 20), shown(64 << 20));
    assert!(little.contains("32 MiB") && little.contains("--mem"), "{little}");
    assert!(!enough.contains("--mem"), "{enough}");
}

#[test]
fn wrong_settings_are_named() {
    let error = Vm::builder().kernel("/etc/passwd").boot().unwrap_err().to_string();
    assert!(error.starts_with("/etc/passwd (from"), "{error}");
    let error = Vm::builder().rw_dir("/nonexistent").boot().unwrap_err().to_string();
    assert!(error.contains("/nonexistent"), "{error}");
}

#[test]
fn threads_share_a_guest() {
    let vm = boot();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let mut command = vm.command("sh");
                command.args(["-c", &format!("exit {number}")]);
                scope.spawn(move || command.status().unwrap().code())
            })
            .collect();
        let codes: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(codes, [Some(0), Some(1), Some(2), Some(3)]);
    });
}

#[test]
fn a_program_gets_its_input_while_nobody_waits_for_it() {
    let vm = boot();
    let mut tee = vm.command("tee").arg("/run/x").stdin("some words").spawn().unwrap();
    let started = Instant::now();
    while sh(&vm, "cat /run/x 2>/dev/null || true") != "some words" {
        assert!(started.elapsed() < Duration::from_secs(10));
    }
    assert!(tee.wait().unwrap().success());
    assert_eq!(tee.wait_with_output().unwrap().stdout, b"some words");
}

#[test]
fn a_number_that_is_no_signals_is_refused() {
    let vm = boot();
    let mut child = vm.command("sleep").arg("60").spawn().unwrap();
    for number in [0, 65, -9] {
        let error = child.signal(number).unwrap_err();
        assert!(matches!(&error, Error::Request(what) if what.contains("from 1 to 64")), "{error}");
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    vm.shutdown().unwrap();
}

#[test]
fn a_guests_life_limits_its_boot() {
    // A kernel that never is up.
    let builder = Vm::builder().kernel("/usr/bin/yes").timeout(Duration::from_millis(500));
    let started = Instant::now();
    let error = builder.boot().unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(!error.to_string().contains("UML_TEST_BOOT_TIMEOUT"), "{error}");
    let Error::TimedOut { limit, of_boot, .. } = error else { panic!("{error:?}") };
    assert_eq!((limit, of_boot), (Duration::from_millis(500), false));
}

#[test]
fn after_a_broken_channel_every_command_is_told_so() {
    let vm = boot();
    let junk = "mknod /dev/line c 4 64; exec 3>/dev/line; while head -c 65536 /dev/urandom >&3; do :; done";
    for command in [junk, "true"] {
        let error = vm.command("sh").args(["-c", command]).status().unwrap_err();
        assert!(matches!(error, Error::Gone { .. }), "{command}: {error}");
    }
}

#[test]
fn however_deep_a_run_directory_is_it_goes() {
    let vm = boot();
    let run_dir = vm.run_dir().to_owned();
    let nested = format!(
        "mkdir /tmp/run; mount -t hostfs none /tmp/run -o {}; cd /tmp/run; \
         mkdir -p $(yes d | head -n 1500 | tr '\\n' /)",
        run_dir.display()
    );
    sh(&vm, &nested);
    assert!(run_dir.join("d/d/d/d").is_dir());
    drop(vm);
    assert!(!run_dir.exists());
}

#[test]
fn the_place_of_an_rw_dir_is_none_of_the_guests_own() {
    let dir = env!("CARGO_TARGET_TMPDIR");
    for place in ["here", "/", "/sys/x"] {
        let error = Vm::builder().rw_dir_at(dir, place).boot().unwrap_err();
        let expected = format!(
            "the place in the guest of {dir}: expected an absolute path without `..`, neither / nor /dev, and not in \
             /proc or /sys, found `{place}`"
        );
        assert_eq!(error.to_string(), expected);
    }
    let error = Vm::builder().rw_dir("/").boot().unwrap_err().to_string();
    assert!(error.starts_with("the place in the guest of /: expected"), "{error}");
}

#[test]
fn an_rw_dir_can_be_at_a_place_that_a_link_leads_to() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let link = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // Absolute, and the place it names is made anew in a guest.
    std::os::unix::fs::symlink("/run", link.path().join("run")).unwrap();
    let place = link.path().join("run/app");
    let vm = Vm::builder().rw_dir_at(dir.path(), &place).boot().unwrap();
    sh(&vm, "echo words > /run/app/file");
    vm.shutdown().unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "words\n");
}

#[test]
fn an_rw_dir_is_where_a_link_below_tmp_says_too() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let links = tempfile::tempdir_in("/tmp").unwrap();
    let link = links.path().join("link");
    std::os::unix::fs::symlink(dir.path(), &link).unwrap();
    let vm = Vm::builder().rw_dir(&link).boot().unwrap();
    let script =
        "echo one > \"$LINK/one\"; echo two > \"$DIR/two\"; readlink \"$LINK\"; ls \"$DIR\"";
    let mut command = vm.command("sh");
    command.args(["-ec", script]).env("LINK", &link).env("DIR", dir.path());
    let output = command.output().unwrap();
    assert_eq!(text(&output), (&*format!("{}\none\ntwo\n", dir.path().display()), ""));
    vm.shutdown().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_kept_file_below_tmp_is_where_a_link_elsewhere_leads() {
    let fresh = tempfile::tempdir_in("/tmp").unwrap();
    let visible = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (file, link) = (fresh.path().join("file"), visible.path().join("link"));
    fs::write(&file, "words\n").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let read = |vm: &Vm| vm.command("cat").arg(&link).output().unwrap();
    assert!(!read(&boot()).status.success());
    assert_eq!(text(&read(&Vm::builder().keep(&link).boot().unwrap())), ("words\n", ""));
}
