//! `cargo uml doctor`: whether guests run on this host; if not, why, and what to do.
//!
//! Each check is in a file of its own and gives [`Finding`]s. The last one boots a guest, and its answer alone is the
//! verdict: what the others find explains it. No check may hang, each runs [`bounded`].

mod agent;
mod bounded;
mod build;
mod finding;
mod guest;
mod host;
mod kernels;
mod landlock;
mod memory;
mod modules;
mod traps;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use uml_test::{Host, Sandbox};

use self::finding::{Finding, Report};
use crate::cli::Format;
use crate::error::{EXIT_NO_GUEST, Error};
use crate::package;
use crate::report::Reporter;

/// What a check that asks nobody but this machine may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the package mirror may take.
const NETWORK_PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArguments {
    /// Also ask the machine's package mirror for kernel sources; nothing else uses the network
    #[arg(long)]
    network: bool,
    /// How to print the findings
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Checks the host and prints the findings.
pub(crate) fn run(arguments: &DoctorArguments, reporter: &Reporter) -> anyhow::Result<ExitCode> {
    let report = examine(arguments.network);
    reporter.text(&match arguments.format {
        Format::Text => report.text(),
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
    })?;
    Ok(ExitCode::from(if report.guest_runs() { 0 } else { EXIT_NO_GUEST }))
}

/// Whether guests could run here, by what can be told in milliseconds: to be asked before what takes minutes.
pub(crate) fn require_guests() -> Result<(), Error> {
    let checks = || {
        let host = Host::of(Path::new("/"));
        let mut findings = traps::check(sandbox_of(host.as_ref().ok()));
        // Settings that can't be used are an error of the boot.
        if let Ok(host) = host {
            findings
                .extend([memory::directory, memory::limits, agent::check].map(|run| run(&host)));
        }
        findings
    };
    // Without an answer in time, the boot is to tell.
    let findings = bounded::within(PATIENCE, checks).unwrap_or_default();
    let failed: Vec<String> =
        findings.iter().filter(|found| found.is_failed()).map(Finding::in_full).collect();
    if failed.is_empty() { Ok(()) } else { Err(Error::UnfitHost { findings: failed.join("\n") }) }
}

fn sandbox_of(host: Option<&Host>) -> Sandbox {
    host.map_or(Sandbox::Auto, |host| host.config().sandbox)
}

fn examine(network: bool) -> Report {
    let mut checks = vec![one("host", host::check)];
    let inside = checks[0].is_failed();
    let settings =
        bounded::within(PATIENCE, || Host::of(&package::here().unwrap_or_else(|_| ".".into())));
    let host = match settings {
        Some(Ok(host)) => {
            checks.push(Finding::ok(
                "settings",
                "the manifests' and UML_TEST_* variables are usable",
            ));
            Some(Arc::new(host))
        }
        Some(Err(error)) => {
            let remedy = "set it right; `cargo doc --package uml-test` lists the settings";
            checks.push(Finding::failed("settings", format!("{error:?}"), remedy));
            None
        }
        None => {
            checks.push(too_slow("settings"));
            None
        }
    };
    let sandbox = sandbox_of(host.as_deref());
    checks.extend(
        bounded::within(PATIENCE, move || traps::check(sandbox))
            .unwrap_or_else(|| ["ptrace", "seccomp"].map(too_slow).into()),
    );
    checks.push(one("Landlock", move || landlock::check(sandbox)));
    checks.push(one("CPUs", host::cpus));
    let mut kernel = None;
    let with = |check, run: fn(&Host) -> Finding| match &host {
        Some(host) => {
            let host = Arc::clone(host);
            one(check, move || run(&host))
        }
        None => Finding::skipped(check, "without usable settings"),
    };
    checks.push(with("memory directory", memory::directory));
    checks.push(with("limits", memory::limits));
    checks.push(with("memory", memory::memory));
    checks.push(with("agent", agent::check));
    checks.push(one("cached kernels", kernels::cached));
    checks.push(one("modules", modules::check));
    match &host {
        Some(host) => {
            let host = Arc::clone(host);
            match bounded::within(PATIENCE, move || kernels::chosen(&host)) {
                Some((finding, found)) => {
                    checks.push(finding);
                    kernel = found;
                }
                None => checks.push(too_slow("kernel")),
            }
        }
        None => checks.push(Finding::skipped("kernel", "without usable settings")),
    }
    let boots = match (&host, inside, kernel) {
        (Some(host), false, Some(_)) => {
            let (host, limit) = (Arc::clone(host), guest::limit(host));
            bounded::within(limit, move || guest::check(&host)).unwrap_or_else(|| too_slow("guest"))
        }
        (_, true, _) => Finding::skipped("guest", "not on this host"),
        _ => Finding::skipped("guest", "without a kernel that starts"),
    };
    let guest_runs = boots.is_ok();
    checks.push(boots);
    checks.push(one("build tools", build::tools));
    if network {
        checks.push(
            bounded::within(NETWORK_PATIENCE, build::mirror)
                .unwrap_or_else(|| too_slow("package mirror").tolerated()),
        );
    }
    Report::new(guest_runs, checks)
}

/// One check with the usual limit.
fn one(check: &'static str, run: impl FnOnce() -> Finding + Send + 'static) -> Finding {
    bounded::within(PATIENCE, run).unwrap_or_else(|| too_slow(check))
}

fn too_slow(check: &'static str) -> Finding {
    Finding::failed(
        check,
        "no answer in time",
        "look for a file system or device that does not answer (`dmesg`, a network mount)",
    )
}
