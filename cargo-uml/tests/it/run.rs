//! Programs that know nothing of uml-test, in guests: `exec`, cargo's own commands, and the runner.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};

use crate::fixture::real_kernel;
use crate::package::{Package, TESTS, output, text, uml};

#[test]
fn a_program_ends_as_on_the_host() {
    let said = output(&mut uml(&["exec", "sh", "-c", "id -u; echo err >&2; exit 7"]));
    assert_eq!(said.status.code(), Some(7), "{}", text(&said));
    assert_eq!((&said.stdout[..], &said.stderr[..]), (&b"0\n"[..], &b"err\n"[..]));
    let killed = output(&mut uml(&["exec", "--", "sh", "-c", "kill -SEGV $$"]));
    assert_eq!(killed.status.signal(), Some(11), "{}", text(&killed));
    for (arguments, code, says) in [
        (&["exec", "no-such-program"][..], 127, "no-such-program"),
        (&["exec", ""], 127, "find program ``"),
        (&["exec", "/etc/hostname"], 126, "/etc/hostname"),
        // Longer than a boot on a host that has much else to do.
        (&["exec", "--timeout", "5s", "sleep", "60"], 124, "5s"),
        (&["exec", "sh", "-c", "echo c >/proc/sysrq-trigger"], 125, "sysrq triggered crash"),
        (&["exec", "--kernel", "/nonexistent", "true"], 125, "/nonexistent"),
        (&["exec", "--kernel", "", "true"], 2, "--kernel"),
        (&["matrix", "--kernel="], 2, "expected a kernel's name"),
        (&["exec", "--mem", "lots", "true"], 2, "expected a whole number"),
    ] {
        let said = output(&mut uml(arguments));
        assert_eq!(said.status.code(), Some(code), "{arguments:?}: {}", text(&said));
        assert!(text(&said).contains(says), "{arguments:?}: {}", text(&said));
    }
}

#[test]
fn the_guest_is_as_the_options_say() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let script = format!(
        "echo $A; grep MemTotal /proc/meminfo; cat /proc/cmdline; echo kept > {dir}/file; \
         echo too > /of/the/guest/file; echo to the console > /dev/kmsg"
    );
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = elsewhere.path().to_str().unwrap();
    let other = format!("{elsewhere}:/of/the/guest");
    let options = ["exec", "--env", "A=b c", "--mem=1G", "--cmdline", "foo=1", "--rw-dir", dir];
    let mut exec = uml(&options);
    exec.args(["--rw-dir", &other, "--keep", "sh", "-c", &script]);
    let said = output(&mut exec);
    assert!(said.status.success(), "{}", text(&said));
    let shown = text(&said);
    assert!(shown.starts_with("b c\n") && shown.contains(" foo=1"), "{shown}");
    let memory = shown.split_whitespace().nth(3).unwrap().parse::<u64>().unwrap();
    assert!((900_000..1 << 20).contains(&memory), "{shown}");
    assert_eq!(fs::read_to_string(Path::new(dir).join("file")).unwrap(), "kept\n");
    assert_eq!(fs::read_to_string(Path::new(elsewhere).join("file")).unwrap(), "too\n");
    let log = shown.rsplit_once("the guest's console is in ").unwrap().1.trim();
    let console = fs::read_to_string(log).unwrap();
    fs::remove_file(log).unwrap();
    assert!(console.contains("to the console"), "{console}");
}

#[test]
fn input_is_passed_on_and_a_closed_output_ends_it() {
    let mut copy =
        uml(&["exec", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut stdin = copy.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(&sent).unwrap()
    });
    let said = copy.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(said.status.success() && said.stdout == sent, "{} bytes", said.stdout.len());

    // Nobody reads, and the limit passes all the same.
    let mut stuck = uml(&["exec", "--timeout", "2s", "yes"]);
    let mut stuck = stuck.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    assert_eq!(stuck.wait().unwrap().code(), Some(124));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());

    let mut endless = uml(&["exec", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(endless.stdout.take());
    assert_eq!(endless.wait().unwrap().signal(), Some(13));
}

/// As on the host, where one terminal, pipe or file is both.
#[test]
fn output_and_errors_to_one_file_are_in_order() {
    const SCRIPT: &str =
        "n=0; while [ $n -lt 1000 ]; do echo out $n; echo err $n >&2; n=$((n + 1)); done";
    let expected: String = (0..1000).map(|n| format!("out {n}\nerr {n}\n")).collect();
    // In Actions the output is looked at on its way.
    for (how, actions) in [("exec", ""), ("runner", "true")] {
        let mut log = tempfile::tempfile().unwrap();
        let mut command = uml(&[how]);
        command.env("GITHUB_ACTIONS", actions);
        command.args(["sh", "-c", SCRIPT]).stdin(Stdio::null());
        let status =
            command.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap()).status();
        assert!(status.unwrap().success(), "{how:?}");
        let mut found = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut found).unwrap();
        let differs =
            found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
        assert!(found == expected, "{how:?}: {differs:?}");
    }
}

/// A program reserves what it likes, however little memory the guest has; what it touches is another matter.
#[test]
fn memory_is_short_where_it_is_used() {
    let dd = |file: &str| {
        output(&mut uml(&["exec", "--mem", "128M", "dd", file, "of=/dev/null", "bs=1G", "count=1"]))
    };
    let reserved = dd("if=/dev/null");
    assert!(reserved.status.success(), "{}", text(&reserved));
    let used = dd("if=/dev/zero");
    assert_eq!(used.status.signal(), Some(9), "{}", text(&used));
    assert!(text(&used).contains("give it more with --mem"), "{}", text(&used));
}

#[test]
fn limits_and_the_umask_are_the_callers() {
    const SHOW: &str = "umask; for limit in n s c; do ulimit -S$limit; ulimit -H$limit; done";
    // With as large cores as there may be.
    let run = |rest: &[&str]| {
        let set = "umask 027; ulimit -Sn 700; ulimit -Hn 4000; ulimit -Ss 4096; ulimit -Sc $(ulimit -Hc); exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", set, "sh"]).args(rest).env("UML_TEST_KERNEL", real_kernel());
        let said = output(&mut command);
        assert!(said.status.success(), "{}", text(&said));
        text(&said)
    };
    let show = ["sh", "-c", SHOW];
    let hosts = run(&show);
    assert!(hosts.starts_with("0027\n700\n4000\n4096\n"), "{hosts}");
    assert_eq!(run(&[&[env!("CARGO_BIN_EXE_cargo-uml"), "exec"], &show[..]].concat()), hosts);
}

#[test]
fn a_crash_leaves_a_core_file_where_the_limit_allows_one() {
    let core = |limit: &str| {
        let dir = tempfile::tempdir().unwrap();
        let script =
            format!("ulimit -Sc {limit}; exec \"$0\" exec --rw-dir . sh -c 'kill -SEGV $$'");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_cargo-uml")]).current_dir(dir.path());
        let said = output(command.env("UML_TEST_KERNEL", real_kernel()));
        assert_eq!(said.status.signal(), Some(11), "{}", text(&said));
        fs::read(dir.path().join("core")).ok()
    };
    assert_eq!(core("0"), None);
    let (_, most) = getrlimit(Resource::RLIMIT_CORE).unwrap();
    if most < 1 << 20 {
        return; // nobody can have one
    }
    let core = core("$(ulimit -Hc)").unwrap();
    // Of an ordinary user's the guest's kernel makes the file, sees that it is not root's, and goes no further.
    let expected: &[u8] = if nix::unistd::getuid().is_root() { b"\x7fELF" } else { b"" };
    assert_eq!(&core[..core.len().min(4)], expected);
}

/// A repository that is not root's, and an option that has git take its owner for the user.
#[test]
fn git_takes_an_ordinary_users_repository_if_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let git = output(Command::new("git").args(["init", "--quiet"]).arg(dir.path()));
    assert!(git.status.success(), "{}", text(&git));
    let owner = match nix::unistd::getuid() {
        root if root.is_root() => {
            let chown = output(Command::new("chown").args(["-R", "12345"]).arg(dir.path()));
            assert!(chown.status.success(), "{}", text(&chown));
            12_345
        }
        user => user.as_raw(),
    };
    let sudo = format!("--env=SUDO_UID={owner}");
    for (options, code, says) in
        [(&["exec"][..], 128, "dubious ownership"), (&["exec", &sudo], 0, "")]
    {
        let mut status = uml(options);
        status.args(["git", "status", "--short"]).current_dir(dir.path());
        status.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        let said = output(status.env_remove("SUDO_UID"));
        assert_eq!(said.status.code(), Some(code), "{options:?}: {}", text(&said));
        assert!(text(&said).contains(says), "{options:?}: {}", text(&said));
    }
}

#[test]
fn a_packages_tests_and_doctests_run_in_a_guest() {
    let package = Package::new();
    for today in [
        "[target.'cfg(unix)']\nrunner = \"false\"\n",
        "[target.x86_64-unknown-linux-gnu]\nrunner = \"sudo -E\"\n",
        "[target.x86_64-unknown-linux-gnu]\nrunner = [\"sudo\", \"-E\"]\n",
    ] {
        package.write(".cargo/config.toml", today);
        let said = output(&mut package.uml(&["test", "--mem", "256M"]));
        assert!(said.status.success(), "{today}: {}", text(&said));
        let passed = text(&said).matches("test result: ok. 1 passed").count();
        assert_eq!(passed, 2, "a unit test and a doctest: {}", text(&said));
    }

    let elsewhere = output(&mut package.uml(&["test", "--target", "i686-unknown-linux-gnu"]));
    assert!(text(&elsewhere).contains("not i686-unknown-linux-gnu"), "{}", text(&elsewhere));

    // The exit status is cargo's, and so are its options.
    package.write("tests/two.rs", TESTS);
    let both = ["test", "--test", "two", "--timeout=1m", "--", "--test-threads", "1"];
    let said = output(&mut package.uml(&both));
    assert_eq!(said.status.code(), Some(101), "{}", text(&said));
    assert!(text(&said).contains("1 passed; 1 failed"), "one kernel for both: {}", text(&said));
}

#[test]
fn a_packages_program_is_the_hosts_but_for_its_kernel() {
    let package = Package::new();
    let mut run = package.uml(&["run", "--quiet", "--", "3", "a b", "\""]);
    run.arg(std::ffi::OsStr::from_bytes(b"\xff")).stdin(Stdio::piped());
    let mut running = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(b"typed").unwrap();
    let said = running.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(3), "{}", text(&said));
    let seen = format!("true {}\na b\"", package.path().display());
    assert_eq!(said.stdout, [seen.as_bytes(), b"\xfftyped"].concat(), "{}", text(&said));
    assert_eq!(said.stderr, b"complaint\n");

    let program = package.path().join("target/debug/plain");
    let aborted = output(uml(&["runner"]).arg(&program).arg("abort"));
    assert_eq!(aborted.status.signal(), Some(6), "{}", text(&aborted));
    assert!(text(&aborted).starts_with("true "), "{}", text(&aborted));
}

#[test]
fn what_boots_guests_itself_and_lists_run_on_the_host() {
    let ours = env!("CARGO_BIN_EXE_cargo-uml");
    let said = output(uml(&["runner", ours, "--version"]).env("UML_TEST_KERNEL", "/nonexistent"));
    assert!(said.status.success() && text(&said).starts_with("cargo uml"), "{}", text(&said));

    let dir = tempfile::tempdir().unwrap();
    let deps = dir.path().join("deps");
    fs::create_dir(&deps).unwrap();
    fs::copy("/bin/echo", deps.join("echo")).unwrap();
    let source = dir.path().join("tests.rs");
    fs::write(&source, "#[test]\nfn a() {}\n").unwrap();
    let tests = deps.join("tests");
    let built = output(Command::new("rustc").args(["--test", "-o"]).arg(&tests).arg(&source));
    assert!(built.status.success(), "{}", text(&built));
    let run = |program: &Path, arguments: &[&str]| {
        let mut runner = uml(&["runner"]);
        runner.arg(program).args(arguments).env("UML_TEST_KERNEL", "/nonexistent");
        output(&mut runner)
    };
    let list = ["--list", "--format", "terse"];
    assert_eq!(text(&run(&tests, &list)), "a: test\n");
    // What is no list of a test harness needs a guest.
    for (program, arguments) in
        [(&tests, &["--list", "--flush"][..]), (&tests, &[]), (&deps.join("echo"), &list)]
    {
        let no_guest = run(program, arguments);
        assert_eq!(no_guest.status.code(), Some(125), "{}", text(&no_guest));
    }

    let foreign = dir.path().join("foreign");
    let mut elf = fs::read("/bin/true").unwrap();
    elf[18] = 0xb7; // the machine: AArch64
    fs::write(&foreign, elf).unwrap();
    for how in ["runner", "exec"] {
        let said = output(uml(&[how]).arg(&foreign));
        assert_eq!(said.status.code(), Some(126), "{how}: {}", text(&said));
        assert!(text(&said).contains("Aarch64"), "{how}: {}", text(&said));
    }
}

/// Of `cargo-uml` in the place of a test binary, as uml-test is in it.
#[test]
fn plain_tests_on_the_host_are_told_unless_it_is_roots() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let deps = dir.path().join("deps");
    fs::create_dir(&deps).unwrap();
    let tests = deps.join("tests");
    fs::copy(env!("CARGO_BIN_EXE_cargo-uml"), &tests).unwrap();
    let is_told = |user: Option<u32>, arguments: &[&str]| {
        let mut runner = Command::new(&tests);
        runner.arg("runner").arg(&tests).args(arguments).current_dir("/");
        if let Some(user) = user {
            runner.uid(user);
        }
        text(&output(&mut runner)).contains("plain `#[test]`s in it run on this host")
    };
    let is_root = nix::unistd::getuid().is_root();
    assert_eq!(is_told(None, &["--version"]), !is_root);
    let ordinary = is_root.then_some(65_534);
    assert!(is_told(ordinary, &["--version"]));
    assert!(!is_told(ordinary, &["--list"]) && !is_told(ordinary, &["--exact", "a"]));
}

#[test]
fn the_network_is_the_guests_own() {
    let dir = tempfile::tempdir().unwrap();
    let source = "#include <arpa/inet.h>\n#include <errno.h>\n#include <stdlib.h>\n\
                  int main(int argc, char **argv) {\n    \
                      struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) };\n    \
                      to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);\n    \
                      int fd = socket(AF_INET, SOCK_STREAM, 0);\n    \
                      return connect(fd, (struct sockaddr *)&to, sizeof to) ? errno : 0;\n}\n";
    let connect = compiled(dir.path(), source, &[]);
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    assert!(output(Command::new(&connect).arg(&port)).status.success(), "the host has it");
    let said = output(uml(&["exec"]).arg(&connect).arg(&port));
    assert_eq!(said.status.code(), Some(nix::libc::ECONNREFUSED), "{}", text(&said));
    let said = text(&output(&mut uml(&["exec", "cat", "/proc/net/dev"])));
    let devices: Vec<_> = said.lines().skip(2).map(|line| line.split(':').next()).collect();
    assert_eq!(devices, [Some("    lo")], "{said}");
}

#[test]
fn the_console_says_why_a_guest_does_not_boot() {
    let mut command = uml(&["exec", "--cmdline", "init=/nonexistent rdinit=/nonexistent", "true"]);
    let said = output(&mut command);
    assert_eq!(said.status.code(), Some(125), "{}", text(&said));
    for part in ["while booting", "last lines of the guest's console", "Call Trace:"] {
        assert!(text(&said).contains(part), "{part} is missing: {}", text(&said));
    }
}

#[test]
fn nothing_nests() {
    let ours = env!("CARGO_BIN_EXE_cargo-uml");
    let inner = ["runner", "--mem", "64M", "sh", "-c", "env; grep MemTotal /proc/meminfo"];
    let mut program = uml(&["exec", "--mem=300M", ours]);
    program.args(inner);
    program
        .env("UML_RUNNER_OPTIONS", "none")
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "none");
    let said = output(&mut program);
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).contains("PATH=") && !text(&said).contains("=none"), "{}", text(&said));
    let memory = text(&said).rsplit("MemTotal:").next().unwrap().trim().to_owned();
    assert!(memory.len() == "300000 kB".len(), "one guest, the outer one: {memory}");
}

/// Compiles a program in C.
pub(crate) fn compiled(dir: &Path, source: &str, options: &[&str]) -> std::path::PathBuf {
    let (text, program) = (dir.join("source.c"), dir.join("program"));
    fs::write(&text, source).unwrap();
    let mut gcc = Command::new("gcc");
    let done = output(gcc.arg("-o").arg(&program).arg(&text).args(options).current_dir(dir));
    assert!(done.status.success(), "{}", super::package::text(&done));
    program
}

#[test]
fn programs_of_every_kind_run_or_say_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let hello = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 4; }\n";
    let exec = |program: &Path| output(uml(&["exec"]).arg(program));
    let fixed = compiled(dir.path(), hello, &["-static"]);
    assert_eq!((exec(&fixed).status.code(), &exec(&fixed).stdout[..]), (Some(4), &b"hello\n"[..]));

    // With a library that lies below /tmp and is found by a variable, and then not at all.
    let library = dir.path().join("libother.so");
    fs::rename(
        compiled(dir.path(), "int four(void) { return 4; }", &["-shared", "-fPIC"]),
        &library,
    )
    .unwrap();
    let source = "int four(void);\nint main(void) { return four(); }\n";
    let linked = compiled(dir.path(), source, &["-L.", "-lother"]);
    let found = output(uml(&["exec"]).arg(&linked).env("LD_LIBRARY_PATH", dir.path()));
    assert_eq!(found.status.code(), Some(4), "{}", text(&found));
    let lost = exec(&linked);
    assert_eq!(lost.status.code(), Some(127), "as on the host: {}", text(&lost));
    assert!(text(&lost).contains("libother.so"), "{}", text(&lost));

    // Without what executes it.
    let linker = ["-Wl,--dynamic-linker=/no/linker"];
    let script = dir.path().join("script");
    fs::write(&script, "#!/no/shell\n").unwrap();
    fs::set_permissions(&script, fs::metadata(&fixed).unwrap().permissions()).unwrap();
    for (program, says) in
        [(&compiled(dir.path(), hello, &linker), "/no/linker"), (&script, "/no/shell")]
    {
        let lost = exec(program);
        assert_eq!(lost.status.code(), Some(127), "as on the host: {}", text(&lost));
        assert!(text(&lost).contains(says), "{}", text(&lost));
    }

    // No standard input at all, and arguments of any bytes.
    let mut closed = Command::new("sh");
    let ours = env!("CARGO_BIN_EXE_cargo-uml");
    closed.env("UML_TEST_KERNEL", real_kernel()).args(["-c", "exec \"$0\" exec cat <&-", ours]);
    let said = output(&mut closed);
    assert!(said.status.success() && said.stdout.is_empty(), "{}", text(&said));
    let odd = std::ffi::OsStr::from_bytes(b" a\t\xff\n\"'");
    let said = output(uml(&["exec", "printf", "%s"]).arg(odd));
    assert_eq!(said.stdout, odd.as_bytes(), "{}", text(&said));
}

/// Backtraces have files and lines, as on the host.
#[test]
fn backtraces_are_the_hosts() {
    let package = Package::new();
    package.write("tests/two.rs", "#[test]\nfn fails() {\n    inner();\n}\n#[inline(never)]\nfn inner() {\n    panic!(\"no\")\n}\n");
    let said = output(package.uml(&["test", "--test", "two"]).env("RUST_BACKTRACE", "1"));
    let shown = text(&said);
    for place in ["two::inner", "./tests/two.rs:7:", "two::fails", "./tests/two.rs:3:"] {
        assert!(shown.contains(place), "{place}: {shown}");
    }
}
