//! A stand-in for a Linux source tree that builds in well under a second with the real make and gcc, a cache of its
//! own, and the real `cargo-uml` run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Answers the targets that a build uses. Files in the home directory steer it: `break` fails the compilation, `drop`
/// loses an option, `hold` keeps the compilation waiting as long as it exists (`held` says that it waits).
const MAKEFILE: &str = r#"VERSION = 7
PATCHLEVEL = 2
SUBLEVEL = 99
EXTRAVERSION =
tinyconfig:
	@mkdir -p $(O)
	@echo '# CONFIG_NOTHING is not set' > $(O)/.config
olddefconfig:
	@if test -e $(HOME)/drop; then sed -i '/CONFIG_VETH=/d' $(O)/.config; fi
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
	@if test $* = b -a -e $(HOME)/break; then echo 'b.c:1:2: error: this is broken' >&2; exit 1; fi
	@gcc $(KCFLAGS) -g -c -o $@.tmp $<
	@mv $@.tmp $@
"#;

const MAIN: &str = r#"#include <stdio.h>
int other(void);
int main(void) { puts("7.2.99"); return other(); }
"#;

pub(crate) struct Fixture {
    directory: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Fixture { directory: tempfile::tempdir().unwrap() };
        fixture.write("Makefile", MAKEFILE);
        fixture.write("Kconfig", "");
        fixture.write("arch/um/Kconfig", "");
        fixture.write("a.c", MAIN);
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

    /// A file that steers the build, or that it leaves.
    pub(crate) fn at_home(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A tarball of the tree.
    pub(crate) fn tarball(&self) -> PathBuf {
        let path = self.path().join("linux-7.2.99.tar.xz");
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-uml"));
        command.arg("setup").env("UML_TEST_CACHE_DIR", self.cache()).env("HOME", self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
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

    fn lines(&self, name: &str) -> usize {
        fs::read_to_string(self.at_home(name)).unwrap_or_default().lines().count()
    }
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
    command.output().unwrap().into()
}

impl Run {
    /// The kernel's path, which must be all that stdout has.
    #[track_caller]
    pub(crate) fn kernel(&self) -> PathBuf {
        assert_eq!(self.code, Some(0), "{self:?}");
        PathBuf::from(self.stdout.strip_suffix('\n').unwrap())
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
