//! What the commands that run programs in guests have in common: the guest's settings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use clap::builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser};
use serde::{Deserialize, Serialize};
use uml_test::config::rw_dirs;

use super::watch::Watch;
use crate::kernel::cache::Cache;
use crate::kernel::names::Name;
use crate::matrix;

/// How the options get past cargo to the runner: as JSON. Of `CARGO_*` sccache makes its keys, and unknown `UML_TEST_*`
/// are errors.
pub(super) const VARIABLE: &str = "UML_RUNNER_OPTIONS";

/// What paths have to be that get past cargo, and that guests have by their names.
const UTF_8: &str = "a path in UTF-8; rename what is not";

/// A guest's settings. What is not given is as in the package's manifest and the `UML_TEST_*` variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct GuestOptions {
    /// Kernel to boot: its name or id in the cache, or a path
    #[arg(long, value_name = "NAME|PATH", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) kernel: Option<String>,
    /// Guest memory, such as 512M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) mem: Option<u64>,
    /// Time limit of the guest's whole life, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    /// More kernel arguments, separated by white space
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    pub(crate) cmdline: Vec<String>,
    /// Host directory that the guest may write, and where the guest has it, if elsewhere; what it writes elsewhere is
    /// thrown away
    #[arg(long, value_name = "HOST[:GUEST]", value_parser = OsStringValueParser::new().try_map(RwDir::parse))]
    pub(crate) rw_dir: Vec<RwDir>,
    /// Variable to set in the guest
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Keep the guest's console, and say where
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What becomes of test binaries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct TestOptions {
    /// Give each test a kernel of its own, also without nextest
    ///
    /// For test binaries with libtest or libtest-mimic in them; all others are run in one guest.
    #[arg(long)]
    pub(crate) isolate: bool,
    /// Write a JUnit report of the isolated tests
    #[arg(long, value_name = "FILE", requires = "isolate")]
    pub(crate) junit: Option<PathBuf>,
    /// Fail where the output shows that tests skipped themselves
    ///
    /// With a regular expression, lines that it matches are taken for that; without, usual phrases such as "requires
    /// root" and "Skipping test".
    #[arg(long, value_name = "PATTERN", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) deny_skips: Option<String>,
}

/// All options of the runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct RunnerOptions {
    #[command(flatten)]
    pub(crate) guest: GuestOptions,
    #[command(flatten)]
    pub(crate) test: TestOptions,
}

/// A host directory that the guest may write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RwDir {
    pub(crate) host: PathBuf,
    /// Where the guest has it, if elsewhere.
    pub(crate) guest: Option<PathBuf>,
}

impl RwDir {
    /// At the last `:/`, as what is behind it is an absolute path; a directory whose name has a colon may be named
    /// twice.
    fn parse(text: OsString) -> Result<Self, String> {
        let text = text.to_str().ok_or(format!("expected {UTF_8}"))?;
        match text.rsplit_once(":/") {
            Some((host, guest)) if !host.is_empty() => {
                let guest = PathBuf::from(format!("/{guest}"));
                match rw_dirs::can_have(&guest) {
                    true => Ok(RwDir { host: host.into(), guest: Some(guest) }),
                    false => Err(format!("expected HOST or HOST:GUEST, GUEST {}", rw_dirs::PLACE)),
                }
            }
            _ if text.is_empty() || text.starts_with(':') => {
                Err("expected HOST or HOST:GUEST, GUEST an absolute path".to_owned())
            }
            _ => Ok(RwDir { host: text.into(), guest: None }),
        }
    }
}

/// A kernel's name as it is, whatever lies in the working directory; else the path of what an id stands for, which a
/// program that boots guests of its own does not know, or of what is there.
fn located(kernel: String, cache: Option<&Cache>) -> std::io::Result<String> {
    let is_name =
        |cache: &Cache| Name::parse(&kernel).is_ok_and(|name| cache.target(&name).is_some());
    if cache.is_some_and(is_name) {
        return Ok(kernel);
    }
    let path = match cache.and_then(|cache| cache.executable(&kernel)) {
        Some(linux) => linux,
        None if kernel.contains('/') && Path::new(&kernel).exists() => {
            std::path::absolute(&kernel)?
        }
        None => return Ok(kernel),
    };
    // What is no UTF-8 can't be passed on, and is told as it was given.
    Ok(path.into_os_string().into_string().unwrap_or(kernel))
}

fn size(text: &str) -> Result<u64, &'static str> {
    uml_test::case::parse_size(text).ok_or("expected a whole number and K, M or G, at least 32M")
}

fn time(text: &str) -> Result<Duration, &'static str> {
    uml_test::case::parse_duration(text).ok_or("expected a whole number and ms, s, m or h")
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl RunnerOptions {
    /// Says what would be wrong in every guest, before cargo has compiled for minutes.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if let Some(kernel) = &self.guest.kernel {
            matrix::choose(&[kernel.into()], Cache::locate().ok().as_ref())?;
        }
        if let Some(junit) = &self.test.junit {
            ensure!(junit.to_str().is_some(), "--junit {}: expected {UTF_8}", junit.display());
        }
        for dir in &self.guest.rw_dir {
            // One that is given relative to such a directory.
            ensure!(
                dir.host.to_str().is_some(),
                "--rw-dir {}: expected {UTF_8}",
                dir.host.display()
            );
            ensure!(
                dir.host.is_dir(),
                "--rw-dir {}: not a directory on the host",
                dir.host.display()
            );
            // Where another place is given, it is one that can be.
            let place = dir.guest.is_none().then(|| dir.host.canonicalize()).transpose()?;
            ensure!(
                place.is_none_or(|place| rw_dirs::can_have(&place)),
                "--rw-dir {}: expected {} (HOST:GUEST has it elsewhere in the guest)",
                dir.host.display(),
                rw_dirs::PLACE
            );
        }
        Watch::new(self.test.deny_skips.as_deref()).map(drop)
    }

    /// Has the runner that `cargo` will start take these options.
    pub(crate) fn pass_by(&self, cargo: &mut Command) -> anyhow::Result<()> {
        cargo.env(VARIABLE, serde_json::to_string(self)?);
        Ok(())
    }

    /// What [`RunnerOptions::pass_by`] left, if this is a runner that `cargo uml` had started.
    pub(crate) fn passed() -> anyhow::Result<Option<Self>> {
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let text = text.to_str().with_context(|| format!("{VARIABLE} is no UTF-8"))?;
        Ok(Some(serde_json::from_str(text).with_context(|| format!("{VARIABLE}={text}"))?))
    }

    /// Those of the given options that mean nothing to a program that boots guests of its own.
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        let RunnerOptions { guest, test } = self;
        let given = [
            ("--timeout", guest.timeout.is_some()),
            ("--rw-dir", !guest.rw_dir.is_empty()),
            ("--env", !guest.env.is_empty()),
            ("--keep", guest.keep),
            ("--junit", test.junit.is_some()),
            ("--deny-skips", test.deny_skips.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    /// With paths that hold wherever cargo starts a program.
    pub(crate) fn absolute(self) -> std::io::Result<Self> {
        let RunnerOptions { guest, mut test } = self;
        test.junit = test.junit.map(std::path::absolute).transpose()?;
        Ok(RunnerOptions { guest: guest.absolute()?, test })
    }
}

impl GuestOptions {
    /// As settings of a program that boots guests of its own, those that have a variable.
    pub(crate) fn to_variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        variables.extend(self.kernel.clone().map(|kernel| ("UML_TEST_KERNEL", kernel)));
        variables.extend(self.mem.map(|mem| ("UML_TEST_MEM", format!("{}K", mem >> 10))));
        if !self.cmdline.is_empty() {
            variables.push(("UML_TEST_CMDLINE", self.cmdline.join(" ")));
        }
        variables
    }

    /// With paths that hold wherever cargo starts a program.
    pub(crate) fn absolute(mut self) -> std::io::Result<Self> {
        for dir in &mut self.rw_dir {
            dir.host = std::path::absolute(&dir.host)?;
        }
        if let Some(kernel) = self.kernel.take() {
            self.kernel = Some(located(kernel, Cache::locate().ok().as_ref())?);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rw_dirs_may_be_elsewhere_in_the_guest() {
        let dir = |text: &str| RwDir::parse(text.into()).map(|dir| (dir.host, dir.guest));
        assert_eq!(dir("a/b"), Ok(("a/b".into(), None)));
        assert_eq!(dir("a:/b"), Ok(("a".into(), Some("/b".into()))));
        assert_eq!(dir("/a:b:/c"), Ok(("/a:b".into(), Some("/c".into()))));
        assert_eq!(dir("/a:b"), Ok(("/a:b".into(), None)));
        assert!(dir(":/b").is_err() && dir("").is_err());
        for own in ["a:/", "a:/dev", "a:/proc/x", "a:/b/.."] {
            assert!(dir(own).unwrap_err().contains("neither / nor /dev"), "{own}");
        }
    }

    #[test]
    fn a_kernels_name_is_no_path_and_its_id_is_one() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let id = "6.1.187-0123456789ab";
        std::fs::create_dir_all(cache.kernels().join(id)).unwrap();
        std::fs::create_dir(cache.names()).unwrap();
        // Any name of a directory that is here.
        std::os::unix::fs::symlink(format!("../kernels/{id}"), cache.names().join("src:run"))
            .unwrap();
        let located = |kernel: &str| located(kernel.to_owned(), Some(&cache)).unwrap();
        assert!(Path::new("src/run").is_dir());
        assert_eq!(located("src/run"), "src/run");
        let here = std::env::current_dir().unwrap();
        assert_eq!(located("src/matrix"), here.join("src/matrix").to_str().unwrap());
        let linux = cache.kernels().join(id).join("linux");
        assert_eq!(located(id), linux.to_str().unwrap());
        assert_eq!(located("9.9"), "9.9");
    }

    #[test]
    fn options_pass_by_a_variable() {
        let guest = GuestOptions {
            kernel: Some("6.1/debug".to_owned()),
            mem: Some(300 << 20),
            timeout: Some(Duration::from_millis(1500)),
            cmdline: vec!["a=b c".to_owned(), "--x".to_owned()],
            rw_dir: vec![RwDir { host: "/a b".into(), guest: Some("/c".into()) }],
            env: vec![("A".to_owned(), "b=c d".to_owned())],
            keep: true,
        };
        let test = TestOptions {
            isolate: true,
            junit: Some("/x/report.xml".into()),
            deny_skips: Some("skip|SKIP".to_owned()),
        };
        let options = RunnerOptions { guest, test };
        let mut cargo = Command::new("cargo");
        options.pass_by(&mut cargo).unwrap();
        let passed = cargo.get_envs().next().unwrap().1.unwrap().to_str().unwrap();
        assert_eq!(serde_json::from_str::<RunnerOptions>(passed).unwrap(), options);
    }
}
