//! Configures and compiles a kernel with its own build system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::fragment::{self, Dropped, Fragment};
use super::kconfig::{self, Kconfig};
use super::progress;
use super::tools::{Lacking, Optional};
use super::unseen;
use super::version::Version;
use crate::error::Error;
use crate::process;
use crate::report::{Reporter, Unit};

/// A kernel build: a source tree, which it leaves alone, and a directory for everything that it writes.
pub(crate) struct Build {
    tree: PathBuf,
    directory: PathBuf,
    out: PathBuf,
    log: PathBuf,
    version: Version,
    /// Programs that the build is not to find.
    hidden: Vec<Optional>,
}

/// What Kconfig made of the fragments.
pub(crate) struct Resolved {
    /// What it did not honour, and why.
    pub(crate) dropped: Vec<Dropped>,
    /// Doubts about what it did honour.
    pub(crate) doubts: Vec<String>,
}

/// A finished build.
pub(crate) struct Built {
    pub(crate) linux: PathBuf,
    /// What the build wrote.
    pub(crate) out: PathBuf,
    pub(crate) duration: Duration,
    pub(crate) steps: u64,
    /// What the kernel calls itself: with what localversion files and `CONFIG_LOCALVERSION` add to its version.
    pub(crate) release: String,
}

impl Build {
    /// `directory` is created if need be; an interrupted build in its subdirectory `out` is resumed.
    pub(crate) fn new(
        tree: PathBuf,
        directory: &Path,
        out: &str,
        hidden: Vec<Optional>,
    ) -> Result<Self, Error> {
        let out = directory.join(out);
        for path in [&tree, &out] {
            if !is_buildable(path) {
                return Err(Error::UnbuildablePath { path: path.clone() });
            }
        }
        fs::create_dir_all(&out).map_err(Error::io("create", &out))?;
        let log = directory.join("build.log");
        File::create(&log).map_err(Error::io("create", &log))?;
        let version = Version::of_tree(&tree)?;
        Ok(Build { tree, directory: directory.to_path_buf(), out, log, version, hidden })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn tree(&self) -> &Path {
        &self.tree
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// The resolved configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.out.join(".config")
    }

    /// Resolves the fragments over `tinyconfig`.
    pub(crate) fn configure(&self, fragments: &[Fragment]) -> Result<Resolved, Error> {
        let requests = fragment::requests(fragments, &self.version)?;
        let text = fragment::text(&requests);
        let kconfig = Kconfig::read(&self.tree);
        // Kconfig takes seconds, which a rebuild of one file need not.
        let inputs = format!("{} {}\n{text}", self.version, kconfig.identity());
        let (path, stamp) = (self.config(), self.stamp());
        if !(path.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == inputs)) {
            // Killed in between, it would speak of another configuration.
            let _ = fs::remove_file(&stamp);
            self.run("tinyconfig", |_| ())?;
            // Of two assignments Kconfig takes the last.
            OpenOptions::new()
                .append(true)
                .open(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(Error::io("write", &path))?;
            self.run("olddefconfig", |_| ())?;
            fs::write(&stamp, inputs).map_err(Error::io("write", &stamp))?;
        }
        let resolved = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let mut dropped = fragment::dropped(&requests, &self.version, &resolved);
        for dropped in dropped.iter_mut().filter(|dropped| !dropped.optional) {
            dropped.because = kconfig::explain(dropped, &kconfig, &resolved);
        }
        Ok(Resolved { dropped, doubts: kconfig::misspelt(&requests, &kconfig) })
    }

    /// Says what `.config` was resolved from.
    fn stamp(&self) -> PathBuf {
        self.out.join(".uml-test-requests")
    }

    /// Runs the kernel's menus on the terminal.
    pub(crate) fn menuconfig(&self) -> Result<(), Error> {
        let stamp = self.stamp();
        fs::remove_file(&stamp).map_err(Error::io("remove", &stamp))?;
        let mut make = self.make("menuconfig");
        make.env("TERM", std::env::var_os("TERM").unwrap_or_else(|| "linux".into()));
        // What the menus show goes to the terminal; this command's stdout is for its result.
        make.stdout(io::stderr());
        let status =
            make.status().map_err(|source| Error::Spawn { program: "make".to_owned(), source })?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Command {
            command: "make menuconfig".to_owned(),
            status: status.to_string(),
            output: String::new(),
        })
    }

    pub(crate) fn compile(&self, reporter: &Reporter) -> Result<Built, Error> {
        reporter.note(format_args!("Build log: {}", self.log.display()));
        let phase = reporter.phase(format_args!("Compiling Linux {}", self.version));
        // Of a tree that was built before, counting what is left to do would take longer than doing it.
        if !self.out.join("linux").exists() {
            let mut dry_run = self.make("linux");
            // Its status says nothing: it ends where it needs a file that it did not make.
            let dry_run = process::output(dry_run.arg("--dry-run"))?;
            let total = progress::steps_of_dry_run(&String::from_utf8_lossy(&dry_run.stdout));
            phase.set_total(total, Unit::Steps);
        }
        unseen::note_start(&self.directory)?;
        let started = Instant::now();
        let mut steps = 0;
        let made = self.run("linux", |line| {
            if progress::is_step(line) {
                steps += 1;
                phase.steps(steps);
            }
        });
        unseen::note_end(&self.directory)?;
        made?;
        let duration = started.elapsed();
        drop(phase);
        let config = self.config();
        let config = fs::read_to_string(&config).map_err(Error::io("read", &config))?;
        if config.lines().any(|line| line == "CONFIG_MODULES=y") {
            let _phase = reporter.phase("Preparing for modules outside the tree");
            self.run("modules_prepare", |_| ())?;
        }
        let (linux, out, release) = (self.out.join("linux"), self.out.clone(), self.release());
        Ok(Built { linux, out, duration, steps, release })
    }

    /// As the build wrote it down; where it did not, there is only the version.
    fn release(&self) -> String {
        let written = fs::read_to_string(self.out.join("include/config/kernel.release"));
        let release = written.unwrap_or_default().trim().to_owned();
        if release.is_empty() { self.version.to_string() } else { release }
    }

    fn make(&self, target: &'static str) -> Command {
        let mut make = Command::new("make");
        make.arg("-C").arg(&self.tree);
        make.arg("ARCH=um").arg(format!("O={}", self.out.display())).arg(target);
        // Else their versions, or that they are missing, would be in the kernel's copy of its configuration.
        make.args(self.hidden.iter().map(|tool| format!("{}=false", tool.variable)));
        // Cargo's, make's and the user's variables would change the build.
        make.env_clear();
        make.envs(
            ["PATH", "HOME", "TMPDIR"]
                .into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        make.env("LC_ALL", "C");
        // The same inputs give the same kernel, whenever, wherever and by whomever it is built.
        make.envs([
            ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
            ("KBUILD_BUILD_VERSION", "1"),
            ("KBUILD_BUILD_USER", "uml-test"),
            ("KBUILD_BUILD_HOST", "uml-test"),
            // Set but empty: no suffix for a modified git tree.
            ("LOCALVERSION", ""),
        ]);
        let map = |path: &Path| format!("-ffile-prefix-map={}=/usr/src/linux", path.display());
        let maps = format!("{} {}", map(&self.out), map(&self.tree));
        // The second is for assembly, whose debug information has paths too.
        make.env("KCFLAGS", &maps).env("KAFLAGS", &maps);
        make
    }

    /// Runs make to its end, its output into the log and line by line to `observe`.
    fn run(&self, target: &'static str, mut observe: impl FnMut(&str)) -> Result<(), Error> {
        let spawn_error = |source: io::Error| Error::Spawn { program: "make".to_owned(), source };
        let log_error = Error::io("write", &self.log);
        let mut log = match OpenOptions::new().append(true).open(&self.log) {
            Ok(log) => log,
            Err(error) => return Err(log_error(error)),
        };
        let (reader, writer) = io::pipe().map_err(spawn_error)?;
        let mut make = self.make(target);
        make.arg(format!("-j{}", std::thread::available_parallelism().map_or(1, usize::from)));
        let stderr = writer.try_clone().map_err(spawn_error)?;
        let mut child =
            make.stdin(Stdio::null()).stdout(writer).stderr(stderr).spawn().map_err(spawn_error)?;
        // The command holds the pipe's write ends, and the pipe must close when make does.
        drop(make);

        let mut output = String::new();
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        let copied = loop {
            line.clear();
            match reader.read_until(b'\n', &mut line).and_then(|_| log.write_all(&line)) {
                Ok(()) if line.is_empty() => break Ok(()),
                Ok(()) => {
                    let text = String::from_utf8_lossy(&line);
                    observe(text.trim_end());
                    output.push_str(&text);
                }
                Err(error) => break Err(error),
            }
        };
        // Closed before waiting, so that make does not wait for a reader when copying failed.
        drop(reader);
        let status = child.wait().map_err(spawn_error)?;
        copied.map_err(log_error)?;
        if status.success() {
            return Ok(());
        }
        let first_error = first_error(&output);
        Err(Error::Build {
            target,
            status,
            lacking: first_error.and_then(Lacking::told_by),
            first_error: first_error.map(str::to_owned),
            tail: process::tail(&output),
            log: self.log.clone(),
        })
    }
}

/// Whether make, the shell and the compiler's options that the kernel's makefiles write all leave the path as it is.
fn is_buildable(path: &Path) -> bool {
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+@~".contains(letter);
    path.to_str().is_some_and(|path| path.chars().all(is_plain))
}

/// The line that says what went wrong first; with several jobs it may be far from the end.
fn first_error(output: &str) -> Option<&str> {
    const MARKS: [&str; 8] = [
        ": error: ",
        ": fatal error: ",
        "undefined reference to",
        "multiple definition of",
        "No space left on device",
        // Of dash and of bash.
        ": not found",
        ": command not found",
        "internal compiler error",
    ];
    let compiler = output.lines().find(|line| MARKS.iter().any(|mark| line.contains(mark)));
    compiler.or_else(|| output.lines().find(|line| line.contains("*** ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_such_that_make_takes_them() {
        use std::os::unix::ffi::OsStrExt;
        for path in ["/home/me/.cache/uml-test/build/0a", "/x/linux-7.2_rc+1~", "/home/müller@x"] {
            assert!(is_buildable(Path::new(path)), "{path}");
        }
        for path in
            ["/a b", "/a:b", "/a#b", "/a$b", "/a%b", "/a,b", "/a=b", "/a'b", "/a\\b", "/a;b"]
        {
            assert!(!is_buildable(Path::new(path)), "{path}");
        }
        assert!(!is_buildable(Path::new(std::ffi::OsStr::from_bytes(b"/\xff"))));
    }

    #[test]
    fn finds_the_first_error() {
        let output = "  CC a.o\n  CC b.o\na.c:3:1: error: expected ';'\nb.c:1:1: error: later\nmake[2]: *** [a.o] Error 1\n";
        assert_eq!(first_error(output), Some("a.c:3:1: error: expected ';'"));
        assert_eq!(
            first_error("  CC a.o\nmake: *** No rule to make target 'x'.  Stop.\n"),
            Some("make: *** No rule to make target 'x'.  Stop.")
        );
        for shell in ["/bin/sh: 1: flex: not found", "/bin/sh: line 1: flex: command not found"] {
            let output = format!("  LEX a.c\n{shell}\nmake[1]: *** [a.c] Error 127\n");
            assert_eq!(first_error(&output), Some(shell));
        }
        let twice = "ld: b.o:b.c:1: multiple definition of `x'; a.o:a.c:1: first defined here";
        assert_eq!(first_error(&format!("  LD linux\n{twice}\nmake: *** [linux]\n")), Some(twice));
        assert_eq!(first_error("  CC a.o\n"), None);
    }
}
