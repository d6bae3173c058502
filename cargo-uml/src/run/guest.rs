//! Guests for programs, and one program in one guest on this process's own standard streams.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use uml_test::config::Config;
use uml_test::{Error, OutputStream, ProgramEnd, Vm};

use super::ended::{Ended, How};
use super::options::GuestOptions;
use super::profiles::{self, Profiles};
use super::terminal;
use super::watch::{Found, Watch};
use crate::kernel::cache::Cache;
use crate::matrix;
use crate::package;

/// Somebody else's program may need more. Each 100 MiB cost 2 ms of the boot: the kernel describes every page.
const MEM: u64 = 256 << 20;
/// A test binary, whole or for one test, may make disk images in `/tmp`, which can take half of the memory.
const MEM_OF_TESTS: u64 = 512 << 20;

/// Lines of the console that are shown where the guest failed.
const CONSOLE_LINES: usize = 20;

/// What a program's standard streams are.
pub(crate) enum Streams {
    /// This process's, all three pipes to the program.
    Passed,
    /// This process's, and what is written is looked at.
    Watched(Box<Watch>),
    /// This process's terminal, as a terminal of the guest's.
    Terminal,
}

/// Runs a program to its end; how it ended, and what was seen of its output.
pub(crate) fn run(
    options: &GuestOptions,
    program: &OsStr,
    arguments: &[OsString],
    variables: &[(&str, &OsStr)],
    streams: Streams,
) -> anyhow::Result<(Ended, Found)> {
    let guest = Guest::boot(options, program)?;
    let mut command = guest.command(program, arguments);
    command.envs(variables.iter().copied());
    let mut found = Found::default();
    let result = match streams {
        Streams::Passed => command.attach(),
        Streams::Terminal => terminal::run(&mut command)?,
        Streams::Watched(watch) => {
            // As `attach` does of itself.
            if watch.may_join_streams() && OutputStream::are_one_file() {
                command.stderr_to_stdout();
            }
            let watch = Arc::new(Mutex::new(watch));
            let theirs = Arc::clone(&watch);
            let result = command.attach_with(move |stream, data| {
                theirs.lock().unwrap_or_else(PoisonError::into_inner).see(stream, data);
                stream.write_all(data)
            });
            found = watch.lock().unwrap_or_else(PoisonError::into_inner).finish();
            result
        }
    };
    Ok((guest.end(result).naming_interpreter(), found))
}

/// A guest for programs.
pub(crate) struct Guest {
    vm: Vm,
    /// Whether it may write anything on the host.
    writes_host: bool,
    /// Whether its console is to be kept.
    keeps_console: bool,
    profiles: Profiles,
}

impl Guest {
    /// Boots one that `program` can run in.
    pub(crate) fn boot(options: &GuestOptions, program: &OsStr) -> anyhow::Result<Self> {
        let directory = std::env::current_dir().context("no working directory")?;
        let options = options.clone().absolute().context("no working directory")?;
        let host = uml_test::Host::of(&package::directory()?)?;
        let is_set = options.env.iter().any(|(name, _)| name == profiles::VARIABLE)
            || host.config().env.contains_key(profiles::VARIABLE);
        let profiles = match is_set {
            true => Profiles::None, // The user knows where to.
            false => Profiles::of(program, &directory)?,
        };
        let booted = boot(&host, &options, program, &profiles);
        let (vm, writes_host) = booted.map_err(|error| match options.keep {
            true => keep_of_failure(error),
            false => error,
        })?;
        Ok(Guest { vm, writes_host, keeps_console: options.keep, profiles })
    }

    /// A program to run in it, on the package's terms.
    pub(crate) fn command(&self, program: &OsStr, arguments: &[OsString]) -> uml_test::Command<'_> {
        let mut command = self.vm.command(program);
        command.args(arguments);
        // For this runner only: a cargo that the program starts is to start programs as ever.
        for name in super::cargo::variables().filter(|name| std::env::var_os(name).is_some()) {
            command.env_remove(name);
        }
        command.envs(self.profiles.variable());
        command
    }

    /// Ends it, after a program that it was for.
    pub(crate) fn end(self, result: Result<ProgramEnd, Error>) -> Ended {
        let Guest { vm, writes_host, keeps_console, profiles } = self;
        // One that outlives its program, or the wait for that, has the host's files to write back.
        let writes_back = writes_host && !matches!(result, Err(Error::Gone { .. }));
        let killed = result.as_ref().ok().and_then(|end| end.other_oom.clone());
        let mut ended = Ended::of(match result {
            Ok(end) => How::Itself { status: end.status, is_out_of_memory: end.oom.is_some() },
            Err(error) => How::Unknown { error: error.into() },
        });
        // A control group's limit is not the guest's memory.
        ended.killed = killed.filter(|kill| !kill.cgroup);
        let stopped = match (keeps_console, writes_back) {
            (true, _) => ended.keep_console(vm),
            (false, true) => vm.shutdown(),
            // Nothing on the host is waiting for anything of it.
            (false, false) => {
                drop(vm);
                Ok(())
            }
        };
        if let Err(error) = stopped.map_err(anyhow::Error::from)
            && writes_back
        {
            ended.lose_writes(&error);
        }
        let lost = profiles.bring_back().err().map(|error| format!("{error:#}"));
        ended.lost.extend(lost);
        ended
    }
}

/// A new file for the console of a guest.
pub(super) fn console_file() -> anyhow::Result<PathBuf> {
    let file = tempfile::Builder::new().prefix("uml-console-").suffix(".log").tempfile();
    file.and_then(|file| Ok(file.keep()?.1)).context("make a file for --keep")
}

/// Keeps what is known of the console of a guest that did not come up, and says where.
fn keep_of_failure(error: anyhow::Error) -> anyhow::Error {
    let Some(console) = error.downcast_ref().and_then(Error::console) else { return error };
    let written = console_file().and_then(|path| {
        std::fs::write(&path, console).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    });
    match written {
        Ok(path) => error.context(format!("no guest; its console is in {}", path.display())),
        Err(lost) => error.context(format!("no guest, nor its console ({lost:#})")),
    }
}

/// The kernel that guests with these options boot, if there is one.
pub(super) fn kernel(options: &GuestOptions) -> Option<PathBuf> {
    match &options.kernel {
        Some(kernel) => {
            let chosen = matrix::choose(&[kernel.into()], Cache::locate().ok().as_ref()).ok()?;
            chosen.into_iter().next().map(|chosen| chosen.linux)
        }
        None => uml_test::Host::of(&package::directory().ok()?)
            .ok()?
            .kernel()
            .ok()
            .map(|(path, _)| path),
    }
}

/// A guest, and whether it may write anything on the host.
fn boot(
    host: &uml_test::Host,
    options: &GuestOptions,
    program: &OsStr,
    profiles: &Profiles,
) -> anyhow::Result<(Vm, bool)> {
    let mut builder = host.builder().keep(program);
    if let Some(kernel) = &options.kernel {
        let chosen = matrix::choose(&[kernel.into()], Cache::locate().ok().as_ref())?;
        builder = chosen.into_iter().fold(builder, |builder, chosen| builder.kernel(chosen.linux));
    }
    if let Some(mem) = options.mem {
        builder = builder.mem(mem);
    } else if host.config().mem == Config::default().mem
        && std::env::var_os("UML_TEST_MEM").is_none()
    {
        builder = builder.mem(if super::is_test(Path::new(program)) { MEM_OF_TESTS } else { MEM });
    }
    if let Some(timeout) = options.timeout {
        builder = builder.timeout(timeout);
    }
    for cmdline in &options.cmdline {
        builder = builder.cmdline(cmdline);
    }
    for dir in &options.rw_dir {
        builder = match &dir.guest {
            Some(guest) => builder.rw_dir_at(&dir.host, guest),
            None => builder.rw_dir(&dir.host),
        };
    }
    for (name, value) in &options.env {
        builder = builder.env(name, value);
    }
    let writes_host =
        !options.rw_dir.is_empty() || !host.config().rw_dirs.is_empty() || profiles.dir().is_some();
    builder = profiles.given_to(builder);
    for dir in hidden_dirs(program) {
        builder = builder.keep(dir);
    }
    Ok((builder.boot()?, writes_host))
}

/// Directories that the program needs and that may lie below `/tmp`: its own, as rustdoc has doctests there, and the
/// target directory that it was built in, whose files its tests may know the paths of; those with libraries. Not `/tmp`
/// itself, which is to be fresh.
fn hidden_dirs(program: &OsStr) -> Vec<PathBuf> {
    let libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let program = Path::new(program);
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&libraries).collect();
    dirs.extend(program.parent().map(Path::to_owned));
    dirs.extend(uml_test::Host::target_dir(program));
    dirs.retain(|dir| dir.canonicalize().is_ok_and(|dir| dir.components().count() > 2));
    dirs
}

/// The end of the console of a guest that did not come up or is gone, where there is anything on it.
pub(super) fn console_of(error: &anyhow::Error) -> Option<String> {
    let lines: Vec<&str> = error.downcast_ref().and_then(Error::console)?.lines().collect();
    let text = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n");
    (!text.is_empty()).then(|| format!("---- last lines of the guest's console ----\n{text}"))
}
