//! Programs and packages that know nothing of uml-test, through `cargo uml`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{median, row, timed};

/// Rounds of what takes a cargo.
const ROUNDS: usize = 15;

/// What `.ci/crates` fetches: a suite whose tests pass on any host, by root or not.
const SUITE: &str = "caps-0.5.6";

/// `cargo uml`, built as users install it.
pub(crate) struct CargoUml(PathBuf);

impl CargoUml {
    pub(crate) fn build() -> Result<Self> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["build", "--quiet", "--release", "--package", "cargo-uml"]);
        let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
        ensure!(status.success(), "build cargo-uml: {status}");
        let bench = std::env::current_exe()?;
        // TARGET/release/deps/overhead-HASH
        let release = bench.ancestors().nth(2).context("not in a target directory")?;
        let path = release.join("cargo-uml");
        ensure!(path.exists(), "no {}", path.display());
        Ok(Self(path))
    }

    /// `cargo uml exec -- true`, a whole process.
    pub(crate) fn exec(&self) -> Result<()> {
        done(Command::new(&self.0).args(["exec", "--", "true"]))
    }

    fn command(&self, arguments: &[&str], dir: &Path) -> Command {
        let mut command = Command::new(&self.0);
        command.args(arguments);
        prepared(command, dir)
    }
}

fn cargo(arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(arguments);
    prepared(command, dir)
}

/// In a package that is not this one: what the cargo above sets for its own is not for it.
fn prepared(mut command: Command, dir: &Path) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") && text != "CARGO_HOME" {
            command.env_remove(&name);
        }
    }
    command.current_dir(dir);
    command
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    Ok(())
}

/// A setup that has nothing to do.
pub(crate) fn setup(uml: &CargoUml) -> Result<()> {
    let here = std::env::current_dir()?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(timed(|| done(&mut uml.command(&["setup"], &here)))?);
    }
    println!(
        "{:<52}{:>10.2}  ms",
        "cargo uml setup with nothing to do",
        median(&mut times).as_secs_f64() * 1e3
    );
    Ok(())
}

/// A package without a test to speak of, by cargo and by `cargo uml`.
pub(crate) fn nothing(uml: &CargoUml) -> Result<()> {
    let package = TempDir::new()?;
    let dir = package.path();
    std::fs::create_dir(dir.join("src"))?;
    let manifest = "[package]\nname = \"nothing\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                    [lib]\ndoctest = false\n[workspace]\n";
    std::fs::write(dir.join("Cargo.toml"), manifest)?;
    std::fs::write(dir.join("src/lib.rs"), "#[test]\nfn nothing() {}\n")?;
    done(&mut cargo(&["test", "--no-run"], dir))?;
    let mut plain = Vec::new();
    let mut guest = Vec::new();
    for _ in 0..ROUNDS {
        plain.push(timed(|| done(&mut cargo(&["test"], dir)))?);
        guest.push(timed(|| done(&mut uml.command(&["test"], dir)))?);
    }
    println!("\na package with one empty test, {ROUNDS} rounds{:>25}", "ms");
    let plain = median(&mut plain);
    let guest = median(&mut guest);
    row("cargo test", plain, plain);
    row("cargo uml test", guest, plain);
    let more = guest.as_secs_f64() - plain.as_secs_f64();
    println!("{:<52}{:>10.2}", "difference", more * 1e3);
    Ok(())
}

/// Somebody's whole suite: on the host, in one kernel, and with a kernel for each test.
pub(crate) fn suite(uml: &CargoUml) -> Result<()> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let dir = cache.context("no HOME")?.join("uml-test-crates").join(SUITE);
    println!("\nthe tests of {SUITE}, {ROUNDS} rounds{:>32}", "ms");
    if !dir.exists() {
        println!("not measured: `bash .ci/crates caps` fetches them");
        return Ok(());
    }
    done(&mut cargo(&["test", "--lib", "--tests", "--no-run"], &dir))?;
    let ways: [(&str, &dyn Fn() -> Command); 5] = [
        ("on the host", &|| cargo(&["test", "--lib", "--tests"], &dir)),
        ("in one kernel", &|| uml.command(&["test", "--lib", "--tests"], &dir)),
        ("in a kernel each, --isolate", &|| {
            uml.command(&["test", "--isolate", "--lib", "--tests"], &dir)
        }),
        ("on the host, nextest", &|| cargo(&["nextest", "run"], &dir)),
        ("in a kernel each, nextest", &|| uml.command(&["nextest", "run"], &dir)),
    ];
    let has_nextest = done(&mut cargo(&["nextest", "--version"], &dir)).is_ok();
    let ways = &ways[..if has_nextest { ways.len() } else { 3 }];
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, command), times) in ways.iter().zip(&mut times) {
            times.push(timed(|| done(&mut command()))?);
        }
    }
    let times: Vec<Duration> = times.iter_mut().map(|times| median(times)).collect();
    for ((name, _), time) in ways.iter().zip(&times) {
        row(name, *time, times[0]);
    }
    Ok(())
}
