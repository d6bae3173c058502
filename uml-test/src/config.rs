//! Settings: defaults, then `[workspace.metadata.uml-test]`, then `[package.metadata.uml-test]`,
//! then the arguments of `#[uml_test]`, then `UML_TEST_*` variables; the later wins.
//!
//! The only file that reads environment variables on the host. Manifests are parsed directly:
//! asking `cargo metadata` takes longer than a guest's boot.
//!
#![doc = include_str!("../docs/settings.md")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::case::{Overrides, parse_duration, parse_size};
use crate::error::ConfigError;

pub use rw_dirs::RwDir;
pub use words::{LibtestSkips, MissingKernel, Sandbox, Traps, UnmetGates};

pub mod rw_dirs;
mod words;

/// Where guests run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The kernel to boot; `None` to look for one.
    pub kernel: Option<KernelChoice>,
    /// Guest memory in bytes; 128 MiB by default.
    pub mem: u64,
    /// Time limit of a test's body; a minute by default.
    pub timeout: Duration,
    /// Time limit from the kernel's start to the guest being set up; 8 s by default, and more for a
    /// cached kernel that was slow when it was installed.
    pub boot_timeout: Duration,
    /// Extra kernel arguments; none by default.
    pub cmdline: Vec<String>,
    /// Variables added to the environment of a test's process; none by default.
    pub env: BTreeMap<String, String>,
    /// Host directories that the guest may write; none by default.
    pub rw_dirs: Vec<RwDir>,
    /// Host paths that stay visible below `/tmp`, `/run` and `/dev/shm`, besides those of the
    /// package and the executable; none by default.
    pub keep: Vec<PathBuf>,
    /// How the kernel intercepts its user space's system calls; [`Traps::Auto`] by default.
    pub traps: Traps,
    /// Whether the guest is kept from writing the host's files; [`Sandbox::Auto`] by default.
    pub sandbox: Sandbox,
    /// What becomes of tests where there is no kernel; they fail by default.
    pub missing_kernel: MissingKernel,
    /// What becomes of tests whose gates the kernel does not meet; they are ignored by default.
    pub gates: UnmetGates,
    /// What libtest shows for a test that did not run; [`LibtestSkips::Default`] by default.
    pub libtest_skips: LibtestSkips,
    /// How many run directories of failed tests are kept; 20 by default.
    pub keep_runs: usize,
    /// Where run directories are made; `None` to look for a place.
    pub run_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kernel: None,
            mem: 128 << 20,
            timeout: Duration::from_secs(60),
            boot_timeout: Duration::from_secs(8),
            cmdline: Vec::new(),
            env: BTreeMap::new(),
            rw_dirs: Vec::new(),
            keep: Vec::new(),
            traps: Traps::Auto,
            sandbox: Sandbox::Auto,
            missing_kernel: MissingKernel::Fail,
            gates: UnmetGates::Ignore,
            libtest_skips: LibtestSkips::Default,
            keep_runs: 20,
            run_dir: None,
        }
    }
}

/// The kernel that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelChoice {
    /// This file.
    Path(PathBuf),
    /// What a manifest or a variable says: a path, or the name of a cached kernel.
    Written {
        /// As it stands there.
        text: OsString,
        /// Where a relative path starts; empty for the working directory.
        base: PathBuf,
        /// Where it stands.
        place: String,
    },
}

/// The variables, and the keys they override.
const VARIABLES: &[&str] = &[
    "UML_TEST_BOOT_TIMEOUT",
    "UML_TEST_CACHE_DIR",
    "UML_TEST_CMDLINE",
    "UML_TEST_GATES",
    "UML_TEST_KEEP_RUNS",
    "UML_TEST_KERNEL",
    "UML_TEST_LIBTEST_SKIPS",
    "UML_TEST_MEM",
    "UML_TEST_MISSING_KERNEL",
    "UML_TEST_RESULTS",
    "UML_TEST_RUN_DIR",
    "UML_TEST_SANDBOX",
    "UML_TEST_TIMEOUT",
    "UML_TEST_TRAPS",
];

/// Set by uml-test itself, or read by its build script.
const INTERNAL: &[&str] = &[uml_test_protocol::GUEST_VARIABLE, "UML_TEST_BUILD_UNSUPPORTED"];

/// The tables in a manifest, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    kernel: Option<PathBuf>,
    mem: Option<String>,
    timeout: Option<String>,
    boot_timeout: Option<String>,
    cmdline: Option<String>,
    env: Option<BTreeMap<String, String>>,
    rw_dirs: Option<Vec<PathBuf>>,
    traps: Option<String>,
    sandbox: Option<String>,
    missing_kernel: Option<String>,
    libtest_skips: Option<String>,
    keep_runs: Option<usize>,
    run_dir: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Manifest {
    package: Option<Holder>,
    workspace: Option<Holder>,
}

#[derive(Default, Deserialize)]
struct Holder {
    #[serde(default)]
    metadata: Metadata,
    workspace: Option<toml::Value>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(rename = "uml-test")]
    uml_test: Option<toml::Table>,
}

/// Environment variables by name.
pub(crate) type Variables = BTreeMap<String, OsString>;

/// The process's variables that concern uml-test.
pub(crate) fn variables() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("UML_TEST_"))
        .collect()
}

/// All of the process's variables: what a guest's processes get.
pub(crate) fn environment() -> BTreeMap<OsString, OsString> {
    std::env::vars_os().collect()
}

/// A variable of the process that is no setting of uml-test, where one is needed.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The settings for a test of the package in `manifest_dir`.
///
/// # Errors
/// A manifest or variable that cannot be used, with its place and what would be right.
pub(crate) fn resolve(
    manifest_dir: &Path,
    overrides: &Overrides,
    variables: &Variables,
) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    apply_manifests(&mut config, manifest_dir)?;
    apply_overrides(&mut config, manifest_dir, overrides);
    apply_variables(&mut config, variables)?;
    rw_dirs::check(&mut config)?;
    Ok(config)
}

/// The settings without a package: defaults and variables.
///
/// # Errors
/// A variable that cannot be used, with what would be right.
pub(crate) fn of_variables(variables: &Variables) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    apply_variables(&mut config, variables)?;
    Ok(config)
}

/// Where the package's manifest is now: what cargo and nextest say, since a test binary may run
/// elsewhere than it was built; else where it was when the test was compiled.
pub(crate) fn manifest_dir(compiled: &str) -> PathBuf {
    variable("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(compiled), PathBuf::from)
}

/// The directory of the workspace that `manifest_dir` belongs to, if any is found above it.
pub(crate) fn workspace_dir(manifest_dir: &Path) -> Option<PathBuf> {
    manifest_dir
        .ancestors()
        .find(|dir| {
            read_manifest(&dir.join("Cargo.toml")).is_ok_and(|found| {
                found.is_some_and(|(path, text)| declares_workspace(&path, &text))
            })
        })
        .map(Path::to_owned)
}

fn apply_manifests(config: &mut Config, manifest_dir: &Path) -> Result<(), ConfigError> {
    let Some((path, text)) = read_manifest(&manifest_dir.join("Cargo.toml"))? else {
        // A binary that runs away from its sources has the variables only.
        return Ok(());
    };
    let package = if may_have_settings(&text) || names_workspace(&text) {
        parse_manifest(&path, &text)?.package
    } else {
        None
    };
    // A package's manifest may be the workspace's too; else the nearest one above is.
    let named = package.as_ref().and_then(|package| package.workspace.as_ref());
    let workspace = match named.and_then(toml::Value::as_str) {
        Some(relative) => Some(manifest_dir.join(relative)),
        None => workspace_dir(manifest_dir),
    };
    if let Some(dir) = workspace
        && let Some((path, text)) = read_manifest(&dir.join("Cargo.toml"))?
        && may_have_settings(&text)
    {
        let workspace = parse_manifest(&path, &text)?.workspace;
        apply_table(config, &path, "workspace", workspace)?;
    }
    apply_table(config, &path, "package", package)
}

fn read_manifest(path: &Path) -> Result<Option<(PathBuf, String)>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError::Read { path: path.to_owned(), source: error.into() }),
    }
}

fn parse_manifest(path: &Path, text: &str) -> Result<Manifest, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Manifest {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

// Parsing takes a debug build up to a millisecond a manifest, a fifteenth of a boot, and this
// happens for every test. Most manifests have nothing to say, and a look at the text shows it.

/// Whether a manifest can have settings of uml-test; if in doubt it is parsed.
fn may_have_settings(text: &str) -> bool {
    text.contains("metadata") && text.contains("uml-test")
}

/// Whether a package's manifest can name its workspace's directory.
fn names_workspace(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("workspace"))
}

/// Whether a manifest is a workspace's.
fn declares_workspace(path: &Path, text: &str) -> bool {
    let header = |line: &str| {
        let line = line.trim_start();
        line.starts_with("[workspace]") || line.starts_with("[workspace.")
    };
    text.lines().any(header)
        || ((names_workspace(text) || text.contains("[ workspace"))
            && parse_manifest(path, text).is_ok_and(|manifest| manifest.workspace.is_some()))
}

fn apply_table(
    config: &mut Config,
    path: &Path,
    kind: &str,
    holder: Option<Holder>,
) -> Result<(), ConfigError> {
    let Some(raw) = holder.and_then(|holder| holder.metadata.uml_test) else { return Ok(()) };
    let table: Table = raw.try_into().map_err(|error: toml::de::Error| ConfigError::Manifest {
        path: path.to_owned(),
        message: format!("[{kind}.metadata.uml-test]: {}", error.message()),
    })?;
    let place = |key: &str| format!("{}: [{kind}.metadata.uml-test] {key}", path.display());
    let base = path.parent().unwrap_or(Path::new("/"));
    let Table {
        kernel,
        mem,
        timeout,
        boot_timeout,
        cmdline,
        env,
        rw_dirs,
        traps,
        sandbox,
        missing_kernel,
        libtest_skips,
        keep_runs,
        run_dir,
    } = table;
    set(
        &mut config.kernel,
        kernel.map(|text| {
            let (text, base) = (text.into_os_string(), base.to_owned());
            Some(KernelChoice::Written { text, base, place: place("kernel") })
        }),
    );
    set(&mut config.run_dir, run_dir.map(|path| Some(base.join(path))));
    set(&mut config.mem, parsed(mem, SIZE, parse_size, || place("mem"))?);
    set(&mut config.timeout, parsed(timeout, DURATION, parse_duration, || place("timeout"))?);
    let boot_timeout = parsed(boot_timeout, DURATION, parse_duration, || place("boot-timeout"))?;
    set(&mut config.boot_timeout, boot_timeout);
    config.cmdline.extend(cmdline.iter().flat_map(|text| words_of(text)));
    config.env.extend(env.unwrap_or_default());
    let rw_dirs = rw_dirs.unwrap_or_default();
    config.rw_dirs.extend(rw_dirs.iter().map(|dir| RwDir::at_its_path(base.join(dir))));
    set(&mut config.traps, parsed(traps, Traps::EXPECTED, Traps::parse, || place("traps"))?);
    let sandbox = parsed(sandbox, Sandbox::EXPECTED, Sandbox::parse, || place("sandbox"))?;
    set(&mut config.sandbox, sandbox);
    let missing = parsed(missing_kernel, MissingKernel::EXPECTED, MissingKernel::parse, || {
        place("missing-kernel")
    })?;
    set(&mut config.missing_kernel, missing);
    let skips = parsed(libtest_skips, LibtestSkips::EXPECTED, LibtestSkips::parse, || {
        place("libtest-skips")
    })?;
    set(&mut config.libtest_skips, skips);
    set(&mut config.keep_runs, keep_runs);
    Ok(())
}

fn apply_overrides(config: &mut Config, manifest_dir: &Path, overrides: &Overrides) {
    let Overrides { timeout, mem, cmdline, env, rw_dirs } = *overrides;
    set(&mut config.timeout, timeout);
    set(&mut config.mem, mem);
    config.cmdline.extend(cmdline.iter().flat_map(|text| words_of(text)));
    config.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    config.rw_dirs.extend(rw_dirs.iter().map(|dir| RwDir::at_its_path(manifest_dir.join(dir))));
}

fn apply_variables(config: &mut Config, variables: &Variables) -> Result<(), ConfigError> {
    let known = |name: &str| VARIABLES.contains(&name) || INTERNAL.contains(&name);
    // A variable that is set to nothing counts as not set, as shells make it easy to do.
    let unknown = |(name, value): &(&String, &OsString)| !known(name) && !value.is_empty();
    if let Some((name, _)) = variables.iter().find(unknown) {
        let (name, known) = (name.clone(), VARIABLES.join(", "));
        return Err(ConfigError::UnknownVariable { name, known });
    }
    let found = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    let path = |name| found(name).map(|value| Some(PathBuf::from(value)));
    let text = |name: &str| -> Result<Option<String>, ConfigError> {
        match found(name) {
            None => Ok(None),
            Some(value) => value.clone().into_string().map(Some).map_err(|found| {
                let found = found.to_string_lossy().into_owned();
                ConfigError::Value { place: name.to_owned(), expected: "UTF-8 text", found }
            }),
        }
    };
    set(
        &mut config.kernel,
        path("UML_TEST_KERNEL").flatten().map(|text| {
            let (text, base) = (text.into_os_string(), PathBuf::new());
            Some(KernelChoice::Written { text, base, place: "UML_TEST_KERNEL".to_owned() })
        }),
    );
    // cargo and nextest start each test in its package's directory, wherever they were called.
    for place in ["UML_TEST_RESULTS", "UML_TEST_CACHE_DIR", "UML_TEST_RUN_DIR"] {
        if let Some(found) = path(place).flatten().filter(|path| !path.is_absolute()) {
            let (place, found) = (place.to_owned(), found.display().to_string());
            return Err(ConfigError::Value { place, expected: "an absolute path", found });
        }
    }
    set(&mut config.run_dir, path("UML_TEST_RUN_DIR"));
    let value = |name: &'static str| -> Result<_, ConfigError> { Ok((text(name)?, name)) };
    macro_rules! from_variable {
        ($field:ident, $name:literal, $expected:expr, $parse:expr) => {
            let (found, name) = value($name)?;
            set(&mut config.$field, parsed(found, $expected, $parse, || name.to_owned())?);
        };
    }
    from_variable!(mem, "UML_TEST_MEM", SIZE, parse_size);
    from_variable!(timeout, "UML_TEST_TIMEOUT", DURATION, parse_duration);
    from_variable!(boot_timeout, "UML_TEST_BOOT_TIMEOUT", DURATION, parse_duration);
    from_variable!(traps, "UML_TEST_TRAPS", Traps::EXPECTED, Traps::parse);
    from_variable!(sandbox, "UML_TEST_SANDBOX", Sandbox::EXPECTED, Sandbox::parse);
    from_variable!(
        missing_kernel,
        "UML_TEST_MISSING_KERNEL",
        MissingKernel::EXPECTED,
        MissingKernel::parse
    );
    from_variable!(gates, "UML_TEST_GATES", UnmetGates::EXPECTED, UnmetGates::parse);
    from_variable!(
        libtest_skips,
        "UML_TEST_LIBTEST_SKIPS",
        LibtestSkips::EXPECTED,
        LibtestSkips::parse
    );
    from_variable!(keep_runs, "UML_TEST_KEEP_RUNS", "a whole number", |text: &str| text
        .parse()
        .ok());
    if let Some(extra) = text("UML_TEST_CMDLINE")? {
        config.cmdline.extend(words_of(&extra));
    }
    Ok(())
}

const SIZE: &str = "a whole number with a unit K, M or G, of at least 32M, such as 128M";
const DURATION: &str = "a whole number above zero with a unit ms, s, m or h, such as 30s";

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn parsed<T>(
    text: Option<String>,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    place: impl Fn() -> String,
) -> Result<Option<T>, ConfigError> {
    match text {
        None => Ok(None),
        Some(found) => match parse(&found) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::Value { place: place(), expected, found }),
        },
    }
}

/// Kernel arguments are separated by white space; the kernel has no quoting for them here.
fn words_of(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_whitespace().map(str::to_owned)
}

#[cfg(test)]
mod tests;
