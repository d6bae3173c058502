//! A stand-in for a Linux source tree that builds in well under a second with the real make and gcc, a cache of its
//! own, and the real `cargo-uml` run on them.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use wait_timeout::ChildExt;

/// Answers the targets that a build uses. Files in the home directory steer it: `break` fails the compilation with what it says, `drop`
/// lists options to lose, `menu` is a script in the place of menuconfig, `hold` keeps the compilation waiting as long as it exists (`held` says that it waits).
const MAKEFILE: &str = r#"VERSION = 7
PATCHLEVEL = 2
SUBLEVEL = 99
EXTRAVERSION =
RUSTC = rustc
tinyconfig:
	@mkdir -p $(O)
	@echo '# CONFIG_NOTHING is not set' > $(O)/.config
olddefconfig:
	@echo configured >> $(HOME)/configured
	@echo "CONFIG_RUSTC_VERSION_TEXT=\"$$($(RUSTC) --version)\"" >> $(O)/.config
	@for option in $$(cat $(HOME)/drop 2>/dev/null); do sed -i "/^CONFIG_$$option=/d" $(O)/.config; done
menuconfig:
	@sh $(HOME)/menu $(O)/.config
modules_prepare:
	@mkdir -p $(O)/scripts
	@echo prepared > $(O)/scripts/module.lds
linux: $(O)/linux
$(O)/linux: $(O)/a.o $(O)/b.o
	@echo '  LINK    linux'
	@gcc -g -o $@ $^
	@env > $(HOME)/environment
	@echo built >> $(HOME)/builds
$(O)/b.o: $(O)/a.o
$(O)/%.o: %.c
	@echo '  CC      $*.o'
	@echo $* >> $(HOME)/compiled
	@if test $* = b -a -e $(HOME)/hold; then touch $(HOME)/held; while test -e $(HOME)/hold; do sleep 0.02; done; fi
	@if test $* = b -a -e $(HOME)/break; then cat $(HOME)/break >&2; exit 1; fi
	@gcc $(KCFLAGS) -g -c -o $@.tmp $<
	@mv $@.tmp $@
"#;

/// Says its version, and boots as the machine's real kernel does.
const MAIN: &str = r#"#include <stdio.h>
#include <string.h>
#include <unistd.h>
int other(void);
int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "--version")) { puts("VERSION"); return other(); }
    execv("REAL", argv);
    return 1;
}
"#;

/// The kernel that `cargo uml setup` provided on this machine, or that `UML_TEST_KERNEL` names by its path.
pub(crate) fn real_kernel() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    if let Some(path) = variable("UML_TEST_KERNEL").filter(|path| path.is_absolute()) {
        return path;
    }
    let cache = variable("UML_TEST_CACHE_DIR")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("uml-test")))
        .or_else(|| Some(variable("HOME")?.join(".cache/uml-test")))
        .unwrap();
    let default = cache.join("names/default/linux");
    let kernels = fs::read_dir(cache.join("kernels")).into_iter().flatten();
    let mut all: Vec<_> = kernels.map(|entry| entry.unwrap().path().join("linux")).collect();
    all.retain(|path| path.exists());
    all.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    let found = Some(default).filter(|path| path.exists()).or_else(|| all.pop());
    found.expect("these tests boot a kernel: run `cargo uml setup` first")
}

pub(crate) struct Fixture {
    directory: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Fixture { directory: tempfile::tempdir().unwrap() };
        fixture.write("Makefile", MAKEFILE);
        fixture.write("Kconfig", "");
        fixture.write("arch/um/Kconfig", "");
        fixture.set_version("7.2.99");
        fixture.write("b.c", "int other(void) { return 0; }\n");
        fixture
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.path().join("linux")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.tree().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes the tree another version's.
    pub(crate) fn set_version(&self, version: &str) {
        let numbers: Vec<&str> = version.split('.').collect();
        let makefile = MAKEFILE
            .replace("VERSION = 7", &format!("VERSION = {}", numbers[0]))
            .replace("PATCHLEVEL = 2", &format!("PATCHLEVEL = {}", numbers[1]))
            .replace("SUBLEVEL = 99", &format!("SUBLEVEL = {}", numbers[2]));
        self.write("Makefile", &makefile);
        let real = real_kernel();
        let main = MAIN.replace("VERSION", version).replace("REAL", real.to_str().unwrap());
        self.write("a.c", &main);
    }

    /// A file that steers the build, or that it leaves.
    pub(crate) fn at_home(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A tarball of the tree.
    pub(crate) fn tarball(&self) -> PathBuf {
        self.tarball_of("7.2.99")
    }

    /// A tarball of the tree, called after a version.
    pub(crate) fn tarball_of(&self, version: &str) -> PathBuf {
        let path = self.path().join(format!("linux-{version}.tar.xz"));
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(self.path()).arg("-cJf").arg(&path).arg("linux");
        assert!(tar.status().unwrap().success());
        path
    }

    /// `cargo-uml setup --source <source>`, not yet started.
    pub(crate) fn setup(&self, source: &Path) -> Command {
        let mut command = self.command();
        command.arg("--source").arg(source);
        command
    }

    /// `cargo-uml setup`, not yet started.
    pub(crate) fn command(&self) -> Command {
        self.uml(&["setup"])
    }

    /// `cargo-uml` with arguments, not yet started.
    pub(crate) fn uml(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-uml"));
        command.args(arguments).env("UML_TEST_CACHE_DIR", self.cache()).env("HOME", self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `cargo-uml kernel build <tree>` with more arguments; the kernel's path.
    #[track_caller]
    pub(crate) fn build(&self, arguments: &[&str]) -> PathBuf {
        let tree = self.tree();
        let all = [&["kernel", "build", tree.to_str().unwrap()], arguments].concat();
        run(&mut self.uml(&all)).kernel()
    }

    /// The kernel that a name in the cache points to.
    pub(crate) fn named(&self, name: &str) -> Option<PathBuf> {
        self.cache().join("names").join(name).canonicalize().ok()
    }

    /// The only kernel in the cache.
    pub(crate) fn kernel(&self) -> PathBuf {
        let kernels = self.kernels();
        assert_eq!(kernels.len(), 1, "{kernels:?}");
        kernels[0].clone()
    }

    /// All that lies in the cache's `kernels`, finished or not.
    pub(crate) fn kernels(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache().join("kernels")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// How often a kernel was linked.
    pub(crate) fn builds(&self) -> usize {
        self.lines("builds")
    }

    /// How many files were compiled.
    pub(crate) fn compiled(&self) -> usize {
        self.lines("compiled")
    }

    /// How often Kconfig ran.
    pub(crate) fn configured(&self) -> usize {
        self.lines("configured")
    }

    fn lines(&self, name: &str) -> usize {
        fs::read_to_string(self.at_home(name)).unwrap_or_default().lines().count()
    }
}

pub(crate) fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Whether this machine has what guests' kernels load modules with.
pub(crate) fn has_modprobe() -> bool {
    ["/sbin/modprobe", "/usr/sbin/modprobe"].iter().any(|path| Path::new(path).exists())
}

pub(crate) fn sha256(path: &Path) -> String {
    let said = run(Command::new("sha256sum").arg(path)).stdout;
    said.split(' ').next().unwrap().to_owned()
}

/// A finished run, with what it said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn run(command: &mut Command) -> Run {
    finished(command).into()
}

/// Longer than any of these takes, also where cargo compiles on a machine with other work.
pub(crate) const DEADLINE: Duration = Duration::from_secs(600);

/// Runs a command to its end, with all that it wrote. One that hangs is killed, with all that it started.
pub(crate) fn finished(command: &mut Command) -> Output {
    finished_within(command, DEADLINE)
}

fn finished_within(command: &mut Command, limit: Duration) -> Output {
    let deadline = Instant::now() + limit;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let status = child.wait_timeout(limit).unwrap();
    // What it has left running may hold the pipes.
    let left = || deadline.saturating_duration_since(Instant::now());
    let (out, err) = (stdout.recv_timeout(left()).ok(), stderr.recv_timeout(left()).ok());
    if let (Some(status), Some(stdout), Some(stderr)) = (status, &out, &err) {
        return Output { status, stdout: stdout.clone(), stderr: stderr.clone() };
    }
    let group = Pid::from_raw(child.id() as i32);
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    let written = |before: Option<Vec<u8>>, pipe: &Receiver<Vec<u8>>| {
        let all = before.or_else(|| pipe.recv_timeout(Duration::from_secs(5)).ok());
        String::from_utf8_lossy(&all.unwrap_or_default()).into_owned()
    };
    let said = written(out, &stdout) + &written(err, &stderr);
    panic!("{command:?} has not ended after {limit:?}; it said: {said}");
}

/// All that comes through a pipe, when it is closed.
fn read(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        pipe.unwrap().read_to_end(&mut all).unwrap();
        let _ = sender.send(all);
    });
    receiver
}

#[test]
fn what_hangs_is_ended_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("echo up; sleep 100 & echo $! > {}/pid; wait", dir.path().display());
    let panic = std::panic::catch_unwind(|| {
        let mut hangs = Command::new("sh");
        // Time for the shell to start where other tests run.
        finished_within(hangs.arg("-c").arg(&script), Duration::from_secs(5))
    });
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("not ended after 5s; it said: up"), "{message}");
    let pid = fs::read_to_string(dir.path().join("pid")).unwrap();
    let stat = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // Nobody may have waited for it yet.
    let is_gone = || stat().is_empty() || stat().contains(") Z ");
    let deadline = Instant::now() + Duration::from_secs(5);
    while !is_gone() {
        assert!(Instant::now() < deadline, "it still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says that a test is not run for lack of a tool. In CI none lacks: there it fails.
#[track_caller]
pub(crate) fn skip(lacking: &str) {
    assert!(std::env::var_os("CI").is_none(), "this test needs {lacking}, and in CI it has to run");
    forgo(lacking);
}

/// Says that a test is not run for what the host does not allow, in CI either: Ubuntu keeps user
/// namespaces from ordinary users.
#[expect(clippy::print_stderr, reason = "a test says to its user what it did not test")]
pub(crate) fn forgo(lacking: &str) {
    eprintln!("not tested: this needs {lacking}");
}

impl Run {
    /// The kernel's path, which must be all that stdout has.
    #[track_caller]
    pub(crate) fn kernel(&self) -> PathBuf {
        assert_eq!(self.code, Some(0), "{self:?}");
        PathBuf::from(self.stdout.strip_suffix('\n').unwrap())
    }

    #[track_caller]
    pub(crate) fn succeeds(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "");
        for text in says {
            assert!(self.stderr.contains(text), "{text:?} is missing from: {}", self.stderr);
        }
    }
}
