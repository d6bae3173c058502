//! The fixtures' binaries, built once, and what nextest needs to run them without cargo.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cargo_metadata::Message;

use crate::command::{Finished, command, run};

/// Building everything from nothing, uml-test included.
const BUILD: Duration = Duration::from_secs(900);

/// What the checks run.
pub(crate) struct Fixtures {
    pub(crate) kernel: PathBuf,
    pub(crate) libtest: PathBuf,
    pub(crate) custom: PathBuf,
    pub(crate) many: PathBuf,
    pub(crate) many_custom: PathBuf,
    /// `None` where cargo-nextest is not installed.
    nextest: Option<Nextest>,
    /// `UML_TEST_TRAPS` for every guest.
    pub(crate) traps: Option<String>,
}

/// How to call nextest for these binaries.
struct Nextest {
    binaries: PathBuf,
    metadata: PathBuf,
    dir: tempfile::TempDir,
    reports: AtomicU32,
}

/// A call of nextest, and where its report will lie.
pub(crate) struct NextestCommand {
    pub(crate) command: Command,
    pub(crate) report: PathBuf,
}

/// The package's directory, where cargo and nextest run its tests.
pub(crate) fn package_dir() -> PathBuf {
    workspace_dir().join("tests/fixtures")
}

pub(crate) fn workspace_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where this test was built, and where it builds.
pub(crate) fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

impl Fixtures {
    /// Builds them.
    pub(crate) fn build(traps: Option<String>) -> Self {
        let mut cargo = cargo(&["test", "--no-run", "--message-format", "json-render-diagnostics"]);
        let finished = succeeded(run(cargo.args(targets()), BUILD), &cargo);
        let mut binaries = HashMap::new();
        for message in Message::parse_stream(&*finished.stdout) {
            if let Message::CompilerArtifact(artifact) = message.unwrap()
                && let Some(executable) = artifact.executable
            {
                binaries.insert(artifact.target.name, executable.into_std_path_buf());
            }
        }
        let mut binary = |name: &str| {
            binaries.remove(name).unwrap_or_else(|| panic!("cargo built no {name}: {cargo:?}"))
        };
        Self {
            kernel: kernel(),
            libtest: binary("libtest"),
            custom: binary("custom"),
            many: binary("many"),
            many_custom: binary("many_custom"),
            nextest: Nextest::prepare(),
            traps,
        }
    }

    /// A command in the package's directory, with a base directory for its guests.
    pub(crate) fn command(&self, program: &Path, base: &Path) -> Command {
        let mut command = command(program, &self.kernel);
        command
            .current_dir(package_dir())
            .env("CARGO_MANIFEST_DIR", package_dir())
            .env("UML_TEST_RUN_DIR", base)
            .envs(self.traps.iter().map(|traps| ("UML_TEST_TRAPS", traps)));
        command
    }

    /// A call of nextest over the fixtures; `None` where it is not installed.
    pub(crate) fn nextest(&self, subcommand: &str, base: &Path) -> Option<NextestCommand> {
        let nextest = self.nextest.as_ref()?;
        let number = nextest.reports.fetch_add(1, Ordering::Relaxed);
        let report = nextest.dir.path().join(format!("{number}.xml"));
        let config = nextest.dir.path().join(format!("{number}.toml"));
        // On a loaded machine nextest would say among a test's output that it is slow, or would take
        // an output that it has not read to its end yet for one that is held open.
        let settings = format!(
            "[profile.default]\nslow-timeout = \"1h\"\nleak-timeout = \"1m\"\n\
             [profile.default.junit]\npath = {report:?}\nstore-success-output = true\n"
        );
        std::fs::write(&config, settings).unwrap();
        let mut command = self.command(Path::new(env!("CARGO")), base);
        command
            .args(["nextest", subcommand, "--color", "never", "--binaries-metadata"])
            .arg(&nextest.binaries)
            .arg("--cargo-metadata")
            .arg(&nextest.metadata)
            .arg("--config-file")
            .arg(&config)
            .env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1");
        Some(NextestCommand { command, report })
    }
}

impl Nextest {
    fn prepare() -> Option<Self> {
        if !run(&mut cargo(&["nextest", "--version"]), BUILD).status.success() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (binaries, metadata) = (dir.path().join("binaries"), dir.path().join("metadata"));
        let mut list = cargo(&["nextest", "list", "--list-type", "binaries-only"]);
        list.args(["--message-format", "json", "-p", "uml-test-fixtures"]).args(targets());
        std::fs::write(&binaries, succeeded(run(&mut list, BUILD), &list).stdout).unwrap();
        let mut describe = cargo(&["metadata", "--format-version", "1", "--filter-platform"]);
        describe.arg("x86_64-unknown-linux-gnu");
        std::fs::write(&metadata, succeeded(run(&mut describe, BUILD), &describe).stdout).unwrap();
        Some(Self { binaries, metadata, dir, reports: AtomicU32::new(0) })
    }
}

/// Cargo on the fixtures' package, in the target directory that this test was built in.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(env!("CARGO"), &kernel());
    cargo.args(arguments).current_dir(package_dir()).env("CARGO_TARGET_DIR", target_dir());
    cargo
}

/// Arguments that name every target of the fixtures.
fn targets() -> impl Iterator<Item = &'static str> {
    ["libtest", "custom", "many", "many_custom"].into_iter().flat_map(|name| ["--test", name])
}

fn succeeded(finished: Finished, command: &Command) -> Finished {
    assert!(
        finished.status.success(),
        "{command:?}: {}\n{}",
        finished.status,
        String::from_utf8_lossy(&finished.stderr)
    );
    finished
}

/// The kernel that uml-test itself would take, so that it can be copied and damaged.
fn kernel() -> PathBuf {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("UML_TEST_CACHE_DIR")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("uml-test")))
        .or_else(|| Some(set("HOME")?.join(".cache/uml-test")))
        .unwrap_or_default();
    let asked = set("UML_TEST_KERNEL");
    // A name, or the default's; a path with a slash is no link in this directory.
    let name = asked.as_ref().map_or("default".into(), |kernel| kernel.to_string_lossy());
    if let Ok(entry) = cache.join("names").join(name.replace('/', ":")).canonicalize() {
        return entry.join("linux");
    }
    if let Some(path) = asked {
        return path;
    }
    let cached = std::fs::read_dir(cache.join("kernels")).into_iter().flatten();
    let newest = cached
        .flatten()
        .map(|entry| entry.path().join("linux"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max();
    if let Some((_, path)) = newest {
        return path;
    }
    let places = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&places)
        .flat_map(|dir| ["linux", "linux.uml"].map(|name| dir.join(name)))
        .find(|path| path.is_file())
        .expect("these tests need a kernel: run `cargo uml setup`, or set UML_TEST_KERNEL")
}
