//! In the place of [`crate::vm`] and the harness on hosts that no guest runs on: the same API, of
//! which nothing runs. Tests are ignored where that can be shown, and refused where not.
#![allow(missing_docs, reason = "documented where they do something")]

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Output};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Trial};
use uml_test_protocol::{TerminalSettings, TerminalSize};

use crate::builder::VmBuilder;
use crate::case::{ShouldPanic, TestCase, TestReturn};
use crate::config::Config;
use crate::error::{Error, KernelError};
use crate::registry;
use crate::stream::OutputStream;
use crate::usage::{ProgramEnd, Usage};

/// Why nothing runs; the build script knows.
const REASON: &str = env!("UML_TEST_UNSUPPORTED");

/// A guest, of which there is none here.
#[derive(Debug)]
pub struct Vm(Infallible);

/// The host, as `cargo uml doctor` asks for it: no guest runs here.
#[derive(Debug)]
pub struct Host(Infallible);

/// A directory for guests' memory, of which there is none here.
#[derive(Debug)]
pub struct Place {
    pub path: PathBuf,
    pub room: Result<u64, String>,
}

impl Host {
    pub fn is_guest() -> bool {
        false
    }

    pub fn target_dir(_: &Path) -> Option<PathBuf> {
        None
    }

    pub fn of(_: &Path) -> Result<Self, Error> {
        Err(Error::Unsupported { reason: REASON })
    }

    pub fn config(&self) -> &Config {
        match self.0 {}
    }

    pub fn kernel(&self) -> Result<(PathBuf, String), KernelError> {
        match self.0 {}
    }

    pub fn places(&self) -> Vec<Place> {
        match self.0 {}
    }

    pub fn check_file_size(&self) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn agent(&self) -> Result<String, Error> {
        match self.0 {}
    }

    pub fn boot_limit(&self) -> Duration {
        match self.0 {}
    }

    pub fn builder(&self) -> VmBuilder {
        match self.0 {}
    }
}

/// A command in a guest.
#[derive(Clone, Debug)]
#[must_use = "nothing runs before `spawn`, `status` or `output` is called"]
pub struct Command<'vm>(Infallible, PhantomData<&'vm Vm>);

/// A program in a guest.
#[derive(Debug)]
pub struct Child<'vm>(Infallible, PhantomData<&'vm Vm>);

/// Refuses.
pub(crate) fn boot(_: &Config, _: &Path, _: Option<Duration>) -> Result<Vm, Error> {
    Err(Error::Unsupported { reason: REASON })
}

impl Vm {
    pub fn builder() -> VmBuilder {
        VmBuilder::new()
    }

    pub fn command(&self, _: impl AsRef<OsStr>) -> Command<'_> {
        match self.0 {}
    }

    pub fn kernel_release(&self) -> &str {
        match self.0 {}
    }

    pub fn console(&self) -> String {
        match self.0 {}
    }

    pub fn shutdown_with_console(self, _: &Path) -> (Result<(), Error>, io::Result<()>) {
        match self.0 {}
    }

    pub fn run_dir(&self) -> &Path {
        match self.0 {}
    }

    pub fn shutdown(self) -> Result<(), Error> {
        match self.0 {}
    }
}

/// As the real one has: `drop(vm)` in a test gets no warning that it does nothing.
impl Drop for Vm {
    fn drop(&mut self) {}
}

impl<'vm> Command<'vm> {
    pub fn arg(&mut self, _: impl AsRef<OsStr>) -> &mut Self {
        match self.0 {}
    }

    pub fn args<A: AsRef<OsStr>>(&mut self, _: impl IntoIterator<Item = A>) -> &mut Self {
        match self.0 {}
    }

    pub fn env(&mut self, _: impl AsRef<OsStr>, _: impl AsRef<OsStr>) -> &mut Self {
        match self.0 {}
    }

    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        _: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Self {
        match self.0 {}
    }

    pub fn env_remove(&mut self, _: impl AsRef<OsStr>) -> &mut Self {
        match self.0 {}
    }

    pub fn env_clear(&mut self) -> &mut Self {
        match self.0 {}
    }

    pub fn current_dir(&mut self, _: impl AsRef<Path>) -> &mut Self {
        match self.0 {}
    }

    pub fn stdin(&mut self, _: impl Into<Vec<u8>>) -> &mut Self {
        match self.0 {}
    }

    pub fn stderr_to_stdout(&mut self) -> &mut Self {
        match self.0 {}
    }

    pub fn spawn(&mut self) -> Result<Child<'vm>, Error> {
        match self.0 {}
    }

    pub fn status(&mut self) -> Result<ExitStatus, Error> {
        match self.0 {}
    }

    pub fn attach(&mut self) -> Result<ProgramEnd, Error> {
        match self.0 {}
    }

    pub fn attach_with(
        &mut self,
        _: impl FnMut(OutputStream, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<ProgramEnd, Error> {
        match self.0 {}
    }

    pub fn attach_terminal(
        &mut self,
        _: TerminalSize,
        _: Option<TerminalSettings>,
        _: Receiver<TerminalSize>,
    ) -> Result<ProgramEnd, Error> {
        match self.0 {}
    }

    pub fn stream(
        &mut self,
        _: impl FnMut(OutputStream, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<ProgramEnd, Error> {
        match self.0 {}
    }

    pub fn output(&mut self) -> Result<Output, Error> {
        match self.0 {}
    }
}

impl Child<'_> {
    pub fn id(&self) -> i32 {
        match self.0 {}
    }

    pub fn usage(&self) -> Option<Usage> {
        match self.0 {}
    }

    pub fn stdout(&self) -> &[u8] {
        match self.0 {}
    }

    pub fn stderr(&self) -> &[u8] {
        match self.0 {}
    }

    pub fn kill(&mut self) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn signal(&mut self, _: i32) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        match self.0 {}
    }

    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        match self.0 {}
    }

    pub fn wait_with_output(self) -> Result<Output, Error> {
        match self.0 {}
    }
}

/// What a `#[test]` function that `#[uml_test]` made does when libtest runs it all the same: it
/// fails. With `#[should_panic]` a panic would pass, so it returns.
#[expect(clippy::print_stderr, reason = "libtest captures this macro only")]
pub fn run_under_libtest<R: TestReturn>(case: &'static TestCase) -> R {
    eprintln!("{} not run: {REASON}", case.name());
    match case.should_panic {
        ShouldPanic::No => std::panic::resume_unwind(Box::new(REASON)),
        ShouldPanic::Any | ShouldPanic::Containing(_) => R::passed(),
    }
}

/// The custom runner's `main`: every test is ignored, also when asked for.
#[expect(clippy::print_stderr, reason = "this is the runner")]
pub fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = match registry::cases() {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("uml-test: {error}");
            return ExitCode::FAILURE;
        }
    };
    if !arguments.list {
        eprintln!("uml-test: tests are ignored: {REASON}");
    }
    let trials = cases
        .into_iter()
        .map(|(name, _)| {
            Trial::ignorable_test(name, || Ok(Completion::ignored_with(REASON)))
                .with_ignored_flag(true)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// `skip!`, in a body that nothing calls.
pub fn skip(reason: String) -> ! {
    panic!("skipped: {reason}")
}
