//! What can go wrong, and the exit codes that tell it apart.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::kernel::fragment::Dropped;
use crate::kernel::tools::Lacking;
use crate::kernel::version::{Version, Wanted};

/// Anything that has no code of its own.
pub(crate) const EXIT_FAILURE: u8 = 1;
/// The command line, or a file that it names, is wrong; clap's code too.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Build tools are missing and could not be installed.
pub(crate) const EXIT_MISSING_TOOLS: u8 = 3;
/// No kernel source: the mirror has none or can't be reached, or what the user named is not one.
pub(crate) const EXIT_NO_SOURCE: u8 = 4;
/// The kernel did not configure, compile, start or boot.
pub(crate) const EXIT_BUILD_FAILED: u8 = 5;
/// No guest can run on this host.
pub(crate) const EXIT_NO_GUEST: u8 = 10;
/// `cargo uml matrix`: a test failed or left no record with some kernel.
pub(crate) const EXIT_TESTS_FAILED: u8 = 11;
/// `cargo uml matrix`: cargo failed otherwise than by failed tests: what it was to run did not compile, say.
pub(crate) const EXIT_CARGO_FAILED: u8 = 12;
/// A test binary with failed tests, as libtest says it.
pub(crate) const EXIT_HARNESS_FAILED: u8 = 101;
/// The time limit of a guest passed, as `timeout(1)` says it.
pub(crate) const EXIT_TIMED_OUT: u8 = 124;
/// What a program in a guest did is not known: no guest, or one that ended first.
pub(crate) const EXIT_NO_VERDICT: u8 = 125;
/// The program cannot be executed, or is not there, as shells say it.
pub(crate) const EXIT_NOT_EXECUTABLE: u8 = 126;
pub(crate) const EXIT_NOT_FOUND: u8 = 127;
/// Ended by a signal, as shells give it for SIGINT.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

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
        "UML_TEST_CACHE_DIR: expected an absolute path, as cargo starts each test in its package's directory; found {}",
        found.display()
    )]
    RelativeCacheDirectory { found: PathBuf },
    #[error(
        "the cache has nothing to build modules against for kernel {id}: it was not built by cargo uml, or by one \
         before this was kept; `cargo uml kernel remove {id}` and build it again"
    )]
    NothingToBuildAgainst { id: String },
    #[error(
        "the kernel's build system can't work below {path}: its makefiles accept only letters, digits and /._-+@~ \
         in paths, and no white space; move the source tree, or set UML_TEST_CACHE_DIR to such a path",
        path = path.display()
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
        "building a kernel needs {tools}, which this machine lacks; {remedy}, then run this again"
    )]
    MissingTools { tools: String, remedy: String },
    #[error("could not install {packages} through apt{}", indented(output))]
    InstallTools { packages: String, output: String },

    #[error(
        "no apt-get on this machine, so no package mirror to take kernels from; \
         name a Linux source tree or a tarball instead: `cargo uml kernel build PATH`"
    )]
    NoApt,
    #[error(
        "apt has no configured mirror to take kernels from; \
         name a Linux source tree or a tarball instead: `cargo uml kernel build PATH`"
    )]
    NoMirror,
    #[error(
        "no package {what} found; tried:{}\napt said:{}\n\
         check the network and apt's sources, or name a Linux source tree or a tarball instead: \
         `cargo uml kernel build PATH`",
        indented(tried),
        indented(detail)
    )]
    NoPackage { what: String, tried: String, detail: String },
    #[error("could not fetch the package {package} from the mirror ({status}){}", indented(output))]
    FetchPackage { package: String, status: String, output: String },
    #[error(
        "Linux {wanted} can be had neither from the package mirror nor as one of the releases whose checksums are known ({known}); \
         for another release of kernel.org give its checksum: `cargo uml kernel build X.Y.Z --sha256 HEX`"
    )]
    NoVersionAnywhere {
        wanted: Wanted,
        known: String,
        #[source]
        source: Box<Error>,
    },
    #[error(
        "{text} is neither a version, such as 7.2 or 7.2.12, nor a source tree or tarball that exists"
    )]
    NoSuchSource { text: String },
    #[error(
        "there is no {path}; name the top directory of a Linux source tree, or a tarball of one",
        path = path.display()
    )]
    SourceNotThere { path: PathBuf },
    #[error(
        "the flavours {flavours} exclude each other: each is what all else is built on; give one of them"
    )]
    TwoFoundations { flavours: String },
    #[error("`--sha256` goes with an exact version, such as 6.12.64")]
    HashWithoutVersion,
    #[error("`--sha256` takes 64 hexadecimal digits, not {text:?}")]
    BadHash { text: String },
    #[error("could not download {url} ({status}){}", indented(output))]
    Download { url: String, status: String, output: String },
    #[error(
        "what came from {url} has the wrong checksum, so it was thrown away:\n    \
         expected {expected}\n    found    {found}\n\
         a proxy's error page has one too; if the file is right, pass its checksum with `--sha256`"
    )]
    WrongChecksum { url: String, expected: String, found: String },
    #[error("{package} contains no kernel (usr/bin/linux.uml)", package = package.display())]
    NoKernelInPackage { package: PathBuf },
    #[error("{package} contains no tarball usr/src/linux-source-*.tar.*", package = package.display())]
    NoTarballInPackage { package: PathBuf },
    #[error(
        "{path} is not a Linux source tree with User Mode Linux: it has no {missing}; \
         name the top directory of a Linux source tree, or a tarball of one", path = path.display()
    )]
    NotASourceTree { path: PathBuf, missing: &'static str },
    #[error(
        "{path} is neither a directory nor a tarball with a known ending (.tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst)",
        path = path.display()
    )]
    UnknownSource { path: PathBuf },
    #[error(
        "{path} has been built in ({evidence} exists), which the kernel's build system refuses for a build elsewhere; \
         name a clean tree, such as `git worktree add` makes, or run `make ARCH=um mrproper` there, which deletes its \
         .config and all that was built",
        path = path.display()
    )]
    UncleanSourceTree { path: PathBuf, evidence: &'static str },
    #[error("could not unpack {path}{}", indented(output), path = path.display())]
    Unpack { path: PathBuf, output: String },
    #[error("{path} names no kernel version (VERSION, PATCHLEVEL)", path = path.display())]
    NoVersion { path: PathBuf },
    #[error("Linux {version} is too old: uml-test needs {minimum} or newer")]
    TooOld { version: String, minimum: Version },

    #[error(
        "Linux {version} does not honour {count} of the requested options:{}\n\
         a comment `# optional before X.Y` behind an option allows older versions to lack it; \
         the resolved config is {config}",
        listed(dropped), count = dropped.len(), config = config.display()
    )]
    OptionsDropped { version: Version, dropped: Vec<Dropped>, config: PathBuf },
    #[error(
        "`make {target}` failed with {status}{}{}{}\nthe whole log: {log}",
        first(first_error.as_deref()), missing(lacking.as_ref()), last(tail), log = log.display()
    )]
    Build {
        target: &'static str,
        status: std::process::ExitStatus,
        lacking: Option<Lacking>,
        first_error: Option<String>,
        tail: String,
        log: PathBuf,
    },
    #[error("the built kernel {path} does not start: `--version` gave {found:?}, expected {expected:?}", path = path.display())]
    KernelDoesNotStart { path: PathBuf, expected: String, found: String },
    #[error("{path} is no User Mode Linux kernel that runs here: {why}", path = path.display())]
    NotAKernel { path: PathBuf, why: String },
    #[error("the kernel {path} does not boot, so it was not installed", path = path.display())]
    KernelDoesNotBoot {
        path: PathBuf,
        #[source]
        source: Box<uml_test::Error>,
    },
    #[error(
        "no guest can run here, so neither would a kernel that is built here:{}\n\
         `cargo uml doctor` checks all that guests need",
        indented(findings)
    )]
    UnfitHost { findings: String },
    #[error("{path} changed while it was built; run this again", path = path.display())]
    TreeChanged { path: PathBuf },

    #[error("could not read the fragment {path}", path = path.display())]
    UnreadableFragment {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{fragment}, line {line}: `{text}`: {reason}")]
    BadFragment { fragment: String, line: usize, text: String, reason: &'static str },
    #[error(
        "{path} exists and is none of the fragments given, so what it says would be lost; name a new file, or give it \
         as the last `--fragment` too to have the changes added to it", path = path.display()
    )]
    OutputExists { path: PathBuf },
    #[error(
        "the changes would be written to {path}, which fragments behind it override; give it as the last `--fragment`",
        path = path.display()
    )]
    OutputOverridden { path: PathBuf },
    #[error(
        "{path} was changed while the menus were open, so nothing was written; add the changes to it yourself",
        path = path.display()
    )]
    OutputChanged { path: PathBuf },
    #[error(
        "{name:?} can't be a kernel's name: it takes letters, digits and ._+-, with at most one / between such parts, \
         and not `default`; choose one with `--name`"
    )]
    BadName { name: String },
    #[error(
        "two parts of this kernel would be called {part}, which a fragment is and a flavour or another fragment; name it with `--name`"
    )]
    AmbiguousName { part: String },
    #[error(
        "no kernel is called {name}; there are: {known}; `cargo uml kernel build` makes more, \
         `cargo uml kernel list` shows them"
    )]
    UnknownKernel { name: String, known: String },
    #[error(
        "the kernel {name} is damaged: {path} has no kernel in it, or no readable kernel.toml; \
         `cargo uml kernel remove {id}` removes it, and `{again}` makes it again", path = path.display()
    )]
    DamagedKernel { name: String, id: String, path: PathBuf, again: String },
    #[error("no kernel is the default: {}", how_to_choose(known))]
    NoDefault { known: Vec<String> },
    #[error(
        "the default kernel {name} ({id}) is damaged, and no kernel that this builds by itself: `{again}` makes it \
         again, or choose another by `cargo uml kernel default NAME`"
    )]
    DamagedDefault { name: String, id: String, again: String },
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

    /// Whether the package mirror has not given what it was asked for; another source may have it.
    pub(crate) fn is_of_mirror(&self) -> bool {
        use Error::{FetchPackage, NoApt, NoMirror, NoPackage};
        matches!(self, NoApt | NoMirror | NoPackage { .. } | FetchPackage { .. })
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::Io { .. }
            | Error::NoCacheDirectory
            | Error::RelativeCacheDirectory { .. }
            | Error::NothingToBuildAgainst { .. }
            | Error::UnbuildablePath { .. }
            | Error::Spawn { .. }
            | Error::Command { .. }
            | Error::UnknownKernel { .. }
            | Error::NoDefault { .. }
            | Error::DamagedKernel { .. }
            | Error::DamagedDefault { .. }
            | Error::TreeChanged { .. }
            | Error::OutputChanged { .. }
            | Error::Metadata { .. } => EXIT_FAILURE,
            Error::UnreadableFragment { .. }
            | Error::BadFragment { .. }
            | Error::OutputExists { .. }
            | Error::OutputOverridden { .. }
            | Error::BadName { .. }
            | Error::AmbiguousName { .. }
            | Error::TwoFoundations { .. }
            | Error::HashWithoutVersion
            | Error::BadHash { .. } => EXIT_USAGE,
            Error::MissingTools { .. } | Error::InstallTools { .. } => EXIT_MISSING_TOOLS,
            Error::NoApt
            | Error::NoMirror
            | Error::NoPackage { .. }
            | Error::FetchPackage { .. }
            | Error::NoVersionAnywhere { .. }
            | Error::NoSuchSource { .. }
            | Error::SourceNotThere { .. }
            | Error::Download { .. }
            | Error::WrongChecksum { .. }
            | Error::NoKernelInPackage { .. }
            | Error::NoTarballInPackage { .. }
            | Error::NotASourceTree { .. }
            | Error::UnknownSource { .. }
            | Error::UncleanSourceTree { .. }
            | Error::Unpack { .. }
            | Error::NoVersion { .. }
            | Error::TooOld { .. } => EXIT_NO_SOURCE,
            Error::OptionsDropped { .. }
            | Error::Build { .. }
            | Error::NotAKernel { .. }
            | Error::KernelDoesNotBoot { .. }
            | Error::KernelDoesNotStart { .. } => EXIT_BUILD_FAILED,
            Error::UnfitHost { .. } => EXIT_NO_GUEST,
        }
    }
}

fn how_to_choose(known: &[String]) -> String {
    match known {
        [] => "there are none; `cargo uml setup` builds one".to_owned(),
        _ => format!(
            "choose one by `cargo uml kernel default NAME`; there are: {}",
            known.join(", ")
        ),
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

fn missing(lacking: Option<&Lacking>) -> String {
    lacking.map_or_else(String::new, |lacking| format!("\n{lacking}"))
}

fn last(tail: &str) -> String {
    format!("\nend of its output:{}", indented(tail))
}
