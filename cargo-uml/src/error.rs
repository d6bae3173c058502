//! What can go wrong, and the exit codes that tell it apart.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::kernel::config::Dropped;
use crate::kernel::version::Version;

/// Anything that has no code of its own. Usage errors exit with 2 (clap's).
pub(crate) const EXIT_FAILURE: u8 = 1;
/// Build tools are missing and could not be installed.
pub(crate) const EXIT_MISSING_TOOLS: u8 = 3;
/// No kernel source: the mirror has none or can't be reached, or `--source` is not one.
pub(crate) const EXIT_NO_SOURCE: u8 = 4;
/// The kernel did not configure, compile or start.
pub(crate) const EXIT_BUILD_FAILED: u8 = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("could not {action} {path}", path = path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "no cache directory: none of UML_TEST_CACHE_DIR, XDG_CACHE_HOME and HOME is set; \
         set UML_TEST_CACHE_DIR to a directory for kernels"
    )]
    NoCacheDirectory,
    #[error(
        "the kernel's build system can't work below {path}: its makefiles accept neither white space nor colons \
         in paths; move the source tree, or set UML_TEST_CACHE_DIR to a path without them", path = path.display()
    )]
    UnbuildablePath { path: PathBuf },
    #[error("could not run {program}")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` failed with {status}{}", indented(output))]
    Command { command: String, status: String, output: String },

    #[error(
        "building a kernel needs {tools}, which this machine lacks; {remedy}, then run `cargo uml setup` again"
    )]
    MissingTools { tools: String, remedy: String },
    #[error("could not install {packages} through apt{}", indented(output))]
    InstallTools { packages: String, output: String },

    #[error(
        "no apt-get on this machine, so no package mirror to take kernel source from; \
         pass a Linux source tree or tarball with `--source`"
    )]
    NoApt,
    #[error(
        "apt has no configured mirror to take kernel source from; pass a Linux source tree or tarball with `--source`"
    )]
    NoMirror,
    #[error(
        "no package linux-source-X.Y (at least {minimum}) found; tried:{}\napt said:{}\n\
         check the network and apt's sources, or pass a Linux source tree or tarball with `--source`",
        indented(tried),
        indented(detail)
    )]
    NoSourcePackage { minimum: Version, tried: String, detail: String },
    #[error("{package} contains no tarball usr/src/linux-source-*.tar.*", package = package.display())]
    NoTarballInPackage { package: PathBuf },
    #[error(
        "{path} is not a Linux source tree with User Mode Linux: it has no {missing}; \
         `--source` takes the top directory of a Linux source tree, or a tarball of one", path = path.display()
    )]
    NotASourceTree { path: PathBuf, missing: &'static str },
    #[error(
        "{path} is neither a directory nor a tarball with a known ending (.tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst)",
        path = path.display()
    )]
    UnknownSource { path: PathBuf },
    #[error(
        "{path} has been built in ({evidence} exists), which the kernel's build system refuses for a build elsewhere; \
         run `make ARCH=um mrproper` there, or pass a clean tree (git worktree add) with `--source`",
        path = path.display()
    )]
    UncleanSourceTree { path: PathBuf, evidence: &'static str },
    #[error("could not unpack {path}{}", indented(output), path = path.display())]
    Unpack { path: PathBuf, output: String },
    #[error("{path} names no kernel version (VERSION, PATCHLEVEL)", path = path.display())]
    NoVersion { path: PathBuf },
    #[error("Linux {version} is too old: uml-test needs {minimum} or newer")]
    TooOld { version: Version, minimum: Version },

    #[error(
        "Linux {version} does not honour {count} of the requested options:{}\n\
         Kconfig drops an option whose dependencies are missing or that this version lacks; the resolved config is {config}",
        listed(dropped), count = dropped.len(), config = config.display()
    )]
    OptionsDropped { version: Version, dropped: Vec<Dropped>, config: PathBuf },
    #[error(
        "`make {target}` failed with {status}{}{}\nthe whole log: {log}",
        first(first_error.as_deref()), last(tail), log = log.display()
    )]
    Build {
        target: &'static str,
        status: String,
        first_error: Option<String>,
        tail: String,
        log: PathBuf,
    },
    #[error("the built kernel {path} does not start: `--version` gave {found:?}, expected {expected:?}", path = path.display())]
    KernelDoesNotStart { path: PathBuf, expected: String, found: String },
    #[error("could not write {path}", path = path.display())]
    Metadata {
        path: PathBuf,
        #[source]
        source: toml::ser::Error,
    },
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::Io { .. }
            | Error::NoCacheDirectory
            | Error::UnbuildablePath { .. }
            | Error::Spawn { .. }
            | Error::Command { .. }
            | Error::Metadata { .. } => EXIT_FAILURE,
            Error::MissingTools { .. } | Error::InstallTools { .. } => EXIT_MISSING_TOOLS,
            Error::NoApt
            | Error::NoMirror
            | Error::NoSourcePackage { .. }
            | Error::NoTarballInPackage { .. }
            | Error::NotASourceTree { .. }
            | Error::UnknownSource { .. }
            | Error::UncleanSourceTree { .. }
            | Error::Unpack { .. }
            | Error::NoVersion { .. }
            | Error::TooOld { .. } => EXIT_NO_SOURCE,
            Error::OptionsDropped { .. }
            | Error::Build { .. }
            | Error::KernelDoesNotStart { .. } => EXIT_BUILD_FAILED,
        }
    }
}

/// Output of another program, each line indented under the message; nothing if there was none.
fn indented(text: &str) -> String {
    text.trim_end().lines().fold(String::new(), |mut all, line| {
        let _ = write!(all, "\n    {line}");
        all
    })
}

fn listed(dropped: &[Dropped]) -> String {
    indented(&dropped.iter().map(Dropped::to_string).collect::<Vec<_>>().join("\n"))
}

fn first(error: Option<&str>) -> String {
    error.map_or_else(String::new, |error| format!("\nfirst error:{}", indented(error)))
}

fn last(tail: &str) -> String {
    format!("\nend of its output:{}", indented(tail))
}
