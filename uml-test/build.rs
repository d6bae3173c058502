//! Builds the guest agent: a static binary that this library embeds.
//!
//! The agent's source comes with the `uml-test-agent` package, a build-dependency. A nested cargo
//! compiles it from a wrapper crate in `OUT_DIR`: that works in the workspace, from a registry,
//! vendored, and offline, because everything it needs was fetched for the build-dependency.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const MUSL: &str = "x86_64-unknown-linux-musl";
const GNU: &str = "x86_64-unknown-linux-gnu";

/// Declares a host as unsupported although it is not, to check that all compiles there.
const PRETEND_UNSUPPORTED: &str = "UML_TEST_BUILD_UNSUPPORTED";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={PRETEND_UNSUPPORTED}");
    println!("cargo::rustc-check-cfg=cfg(supported_host)");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let supported = variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ARCH") == "x86_64"
        && variable(PRETEND_UNSUPPORTED).is_empty();
    if !supported {
        return ExitCode::SUCCESS;
    }
    println!("cargo::rustc-cfg=supported_host");
    for source in [uml_test_agent::SOURCE_DIR, uml_test_agent::PROTOCOL_SOURCE_DIR] {
        println!("cargo::rerun-if-changed={source}/src");
        println!("cargo::rerun-if-changed={source}/Cargo.toml");
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    // docs.rs has no network and shows no binary: an empty agent documents as well.
    let agent = out.join("uml-test-agent");
    let made = if variable("DOCS_RS").is_empty() { build(&out, &agent) } else { write(&agent, "") };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            for line in complaint.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Compiles the agent to `agent`.
fn build(out: &Path, agent: &Path) -> Result<(), String> {
    let wrapper = out.join("agent");
    fs::create_dir_all(wrapper.join("src"))
        .map_err(|error| format!("create {}: {error}", wrapper.display()))?;
    write(&wrapper.join("Cargo.toml"), &manifest())?;
    write(
        &wrapper.join("src/main.rs"),
        "fn main() -> std::process::ExitCode {\n    uml_test_agent::main()\n}\n",
    )?;
    let target = if has_target(MUSL) { MUSL } else { GNU };
    let target_dir = out.join("agent-target");

    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["build", "--release", "--offline", "--target", target])
        .arg("--manifest-path")
        .arg(wrapper.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        // Where the wrapper lies, so that the project's own .cargo/config.toml (vendored sources,
        // registries) is found as the outer cargo found it.
        .current_dir(&wrapper);
    scrub(&mut cargo);
    cargo.env(
        "CARGO_ENCODED_RUSTFLAGS",
        "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static",
    );

    let output = cargo.output().map_err(|error| format!("run cargo for the agent: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "the guest agent did not build ({status}) as a static binary for {target}.\n\
             If linking is what failed, install a static C library: `rustup target add {MUSL}`, \
             or the package with libc.a (Debian, Ubuntu: libc6-dev; Fedora: glibc-static).\n\
             {stderr}",
            status = output.status,
            stderr = String::from_utf8_lossy(&output.stderr),
        ));
    }
    let built = target_dir.join(target).join("release/uml-test-agent-bin");
    fs::copy(&built, agent)
        .map(drop)
        .map_err(|error| format!("copy {} to {}: {error}", built.display(), agent.display()))
}

fn manifest() -> String {
    format!(
        r#"# Written by uml-test's build script.
[workspace]

[package]
name = "uml-test-agent-bin"
version = "0.0.0"
edition = "2024"

[dependencies]
uml-test-agent = {{ path = {agent:?} }}

# From a registry, the agent's manifest names the protocol by version only.
[patch.crates-io]
uml-test-protocol = {{ path = {protocol:?} }}

[profile.release]
opt-level = 2
lto = true
codegen-units = 1
strip = true
"#,
        agent = uml_test_agent::SOURCE_DIR,
        protocol = uml_test_agent::PROTOCOL_SOURCE_DIR,
    )
}

/// Keeps the outer build's flags (coverage, sanitizers, a linter as compiler) out of the agent.
fn scrub(cargo: &mut Command) {
    /// What says where things are, not how to build.
    const KEPT: &[&str] = &["CARGO_HOME", "CARGO_MAKEFLAGS"];
    const KEPT_PREFIXES: &[&str] = &["CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_NET_", "CARGO_HTTP_"];
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let kept = KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|p| name.starts_with(p));
        let about_building =
            name.starts_with("CARGO") || name.starts_with("RUSTC") || name.starts_with("RUSTFLAGS");
        if about_building && !kept {
            cargo.env_remove(name);
        }
    }
}

fn has_target(target: &str) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let output =
        Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| {
        output.status.success()
            && fs::read_dir(String::from_utf8_lossy(&output.stdout).trim())
                .is_ok_and(|mut entries| entries.next().is_some())
    })
}

/// Writes a file unless it is so already: cargo looks at times.
fn write(path: &Path, content: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    fs::write(path, content).map_err(|error| format!("write {}: {error}", path.display()))
}
