//! Describing a program to run in a guest.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::mpsc::Receiver;

use uml_test_protocol::{Bytes, EnvChanges, Spawn, SpawnInput, TerminalSettings, TerminalSize};

use super::attached::{self, Input};
use super::{Child, Vm};
use crate::error::Error;
use crate::stream::OutputStream;
use crate::usage::ProgramEnd;

/// A program to run in a guest, in the manner of [`std::process::Command`].
///
/// It starts with the environment, the umask and the limits of open files, stack, core files and CPU time that
/// this process had when the guest was booted, with this process's working directory, and with an
/// empty standard input. It runs as root, in a session of its own that it does not lead.
#[derive(Clone, Debug)]
#[must_use = "nothing runs before `spawn`, `status` or `output` is called"]
pub struct Command<'vm> {
    vm: &'vm Vm,
    program: OsString,
    args: Vec<OsString>,
    clear_env: bool,
    /// Variables that are set, or with `None` unset.
    env: BTreeMap<OsString, Option<OsString>>,
    cwd: PathBuf,
    stdin: Option<Vec<u8>>,
    /// Whether both output streams are one pipe.
    joined: bool,
}

impl<'vm> Command<'vm> {
    pub(super) fn new(vm: &'vm Vm, program: &OsStr) -> Self {
        Self {
            vm,
            program: program.to_owned(),
            args: Vec::new(),
            clear_env: false,
            env: BTreeMap::new(),
            cwd: own_directory(),
            stdin: None,
            joined: false,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets variables.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Self {
        for (name, value) in variables {
            self.env(name, value);
        }
        self
    }

    /// Unsets a variable.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Unsets all variables.
    pub fn env_clear(&mut self) -> &mut Self {
        self.clear_env = true;
        self.env.clear();
        self
    }

    /// Sets the working directory, a path in the guest. A relative one starts at this process's
    /// working directory, where commands start without this.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.cwd = own_directory().join(dir);
        self
    }

    /// Gives these bytes as standard input, and then end of file.
    pub fn stdin(&mut self, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Has standard error be standard output, as a shell's `2>&1` has it: one pipe, so that what is
    /// written to both comes in the order in which it was written, all of it as standard output.
    pub fn stderr_to_stdout(&mut self) -> &mut Self {
        self.joined = true;
        self
    }

    /// Starts the program.
    ///
    /// # Errors
    /// [`Error::Refused`] with the error number and path where it cannot be started; as
    /// [`Child::wait`] otherwise.
    pub fn spawn(&mut self) -> Result<Child<'vm>, Error> {
        Child::start(self.vm, self.to_spawn(self.input()), self.stdin.clone())
    }

    fn to_spawn(&self, stdin: SpawnInput) -> Spawn {
        Spawn {
            id: 0, // given by the session
            program: bytes(&self.program),
            argv: std::iter::once(&self.program).chain(&self.args).map(|arg| bytes(arg)).collect(),
            env: self.env_changes(),
            cwd: bytes(self.cwd.as_os_str()),
            stdin,
            joined: self.joined,
            completion: None,
        }
    }

    fn env_changes(&self) -> EnvChanges {
        let mut changes = EnvChanges { clear: self.clear_env, ..EnvChanges::default() };
        for (name, value) in &self.env {
            match value {
                Some(value) => changes.set.push(variable(name, value)),
                None => changes.unset.push(bytes(name)),
            }
        }
        changes
    }

    /// Runs the program to its end, and returns how it ended; its output is thrown away.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Child::wait`].
    pub fn status(&mut self) -> Result<ExitStatus, Error> {
        let mut child = self.spawn()?;
        child.keeps_output = false;
        child.wait()
    }

    /// Runs the program to its end on this process's own standard input, output and error, in the
    /// place of what [`Command::stdin`] gave. To the program they are pipes; output and error are
    /// [one](Command::stderr_to_stdout) where they are [one file](OutputStream::are_one_file) here.
    ///
    /// Input is read as the program takes it, up to a pipe's length ahead. A read that is under way
    /// when the program ends goes on, and what it gets is lost: for programs that do nothing else
    /// with their input.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Child::wait`], and [`Error::Output`] where this process cannot
    /// write what the program wrote; the program goes on then until the guest ends.
    pub fn attach(&mut self) -> Result<ProgramEnd, Error> {
        let mut spawn = self.to_spawn(SpawnInput::Piped);
        spawn.joined |= OutputStream::are_one_file();
        attached::run(self.vm, spawn, Input::Inherited, OutputStream::write_all, None)
    }

    /// As [`Command::attach`], but for what the program writes: that is passed to `output` while
    /// the program runs, in pieces of any length, in the order of each stream. The two are apart,
    /// whatever this process's are; [`Command::stderr_to_stdout`] joins them. An error of its ends the
    /// wait. It must not wait for this guest: while it is behind by 4 MiB, no other program of the
    /// guest's is heard.
    ///
    /// # Errors
    /// As [`Command::attach`].
    pub fn attach_with(
        &mut self,
        output: impl FnMut(OutputStream, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<ProgramEnd, Error> {
        let spawn = self.to_spawn(SpawnInput::Piped);
        attached::run(self.vm, spawn, Input::Inherited, output, None)
    }

    /// Runs the program to its end on a terminal of its own in the guest, whose session it leads.
    /// What is written to that goes to this process's standard output; what this process's
    /// standard input has is typed there, byte by byte: a terminal has to be in raw mode.
    ///
    /// That terminal has these settings, as this process's had before it was made raw, or else those
    /// of a new one; `resized` has further sizes of it. The program's environment says what kind of
    /// terminal it is (`TERM`).
    ///
    /// # Errors
    /// As [`Command::attach`].
    pub fn attach_terminal(
        &mut self,
        size: TerminalSize,
        settings: Option<TerminalSettings>,
        resized: Receiver<TerminalSize>,
    ) -> Result<ProgramEnd, Error> {
        let spawn = self.to_spawn(SpawnInput::Terminal(size, settings));
        attached::run(self.vm, spawn, Input::Inherited, OutputStream::write_all, Some(resized))
    }

    /// Runs the program to its end, and passes what it writes to `output` as
    /// [`Command::attach_with`] does. Its input is what [`Command::stdin`] gave.
    ///
    /// # Errors
    /// As [`Command::attach`].
    pub fn stream(
        &mut self,
        output: impl FnMut(OutputStream, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<ProgramEnd, Error> {
        let spawn = self.to_spawn(self.input());
        let input = Input::Given(self.stdin.clone().unwrap_or_default());
        attached::run(self.vm, spawn, input, output, None)
    }

    fn input(&self) -> SpawnInput {
        if self.stdin.is_some() { SpawnInput::Piped } else { SpawnInput::Empty }
    }

    /// Runs the program to its end, and returns what it wrote.
    ///
    /// An error takes that away. Where it matters, after a kernel panic for instance, use
    /// [`Command::spawn`] and [`Child::wait`]: [`Child::stdout`] has what came until then.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Child::wait`].
    pub fn output(&mut self) -> Result<Output, Error> {
        self.spawn()?.wait_with_output()
    }
}

fn own_directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

/// `NAME=value`.
pub(crate) fn variable(name: &OsStr, value: &OsStr) -> Bytes {
    Bytes::from([name.as_bytes(), b"=", value.as_bytes()].concat())
}

fn bytes(text: &OsStr) -> Bytes {
    Bytes::from(text.as_bytes())
}
