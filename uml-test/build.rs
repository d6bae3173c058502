//! Builds the guest agent: a static binary that this library embeds.
//!
//! The agent's source comes with the `uml-test-agent` package, a build-dependency. A nested cargo
//! compiles it from a wrapper crate in `OUT_DIR`: that works in the workspace, from a registry,
//! vendored, and offline, because everything it needs was fetched for the build-dependency.
//! How the project is built (flags, profiles, wrappers, targets) must not reach the agent; where
//! crates and tools are must.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const MUSL: &str = "x86_64-unknown-linux-musl";
const GNU: &str = "x86_64-unknown-linux-gnu";

/// Declares a host as unsupported although it is not, to check that all compiles there.
const PRETEND_UNSUPPORTED: &str = "UML_TEST_BUILD_UNSUPPORTED";

/// Set by docs.rs, which has no network and shows no binary.
const DOCS_RS: &str = "DOCS_RS";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={PRETEND_UNSUPPORTED}");
    println!("cargo::rerun-if-env-changed={DOCS_RS}");
    println!("cargo::rustc-check-cfg=cfg(supported_host)");
    if let Some(reason) = unsupported() {
        println!("cargo::rustc-env=UML_TEST_UNSUPPORTED={reason}");
        return ExitCode::SUCCESS;
    }
    println!("cargo::rustc-cfg=supported_host");
    for source in [agent_source(), protocol_source()] {
        println!("cargo::rerun-if-changed={}", source.join("src").display());
        println!("cargo::rerun-if-changed={}", source.join("Cargo.toml").display());
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let agent = out.join("uml-test-agent");
    // An empty agent documents as well.
    let made = if variable(DOCS_RS).is_empty() { build(&out, &agent) } else { write(&agent, "") };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            for line in complaint.lines().filter(|line| !line.trim().is_empty()) {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Why no guest can run where this build is for.
fn unsupported() -> Option<&'static str> {
    if !variable(PRETEND_UNSUPPORTED).is_empty() {
        return Some("uml-test was built with UML_TEST_BUILD_UNSUPPORTED set");
    }
    if variable("CARGO_CFG_TARGET_OS") != "linux" || variable("CARGO_CFG_TARGET_ARCH") != "x86_64" {
        return Some("uml-test runs on x86-64 Linux only");
    }
    // The agent's dependencies were fetched for the host, and elsewhere it has none.
    if !variable("HOST").contains("linux") {
        return Some("uml-test runs only where it was built on Linux");
    }
    None
}

fn agent_source() -> PathBuf {
    source(uml_test_agent::SOURCE_DIR, "guest-agent")
}

fn protocol_source() -> PathBuf {
    source(uml_test_agent::PROTOCOL_SOURCE_DIR, "uml-test-protocol")
}

/// Where a package's source is. `compiled` is where it was when the package was compiled, which
/// cargo does not do again for a project that was moved together with its target directory: then
/// it is beside this package, as in the workspace.
fn source(compiled: &str, in_workspace: &str) -> PathBuf {
    let compiled = PathBuf::from(compiled);
    if compiled.join("Cargo.toml").exists() {
        return compiled;
    }
    Path::new(&variable("CARGO_MANIFEST_DIR")).join("..").join(in_workspace)
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
        .args(["build", "--profile", PROFILE, "--offline", "--target", target])
        .arg("--manifest-path")
        .arg(wrapper.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .current_dir(config_dir(&wrapper));
    if let Some(vendor) = vendor_dir() {
        cargo.args(["--config", r#"source.crates-io.replace-with="uml-test-vendored""#]);
        cargo.arg("--config").arg(format!("source.uml-test-vendored.directory={vendor:?}"));
    }
    scrub(&mut cargo);
    cargo.env(
        "CARGO_ENCODED_RUSTFLAGS",
        "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static",
    );
    // Empty also overrides what a configuration file says.
    cargo.env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");

    let output = cargo.output().map_err(|error| format!("run cargo for the agent: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let advice = if stderr.contains("linking with") {
            format!(
                "A static C library is needed: install the package that has libc.a (Debian, Ubuntu: \
                 libc6-dev; Fedora: glibc-static; Arch: glibc), or `rustup target add {MUSL}`, \
                 which brings its own.\n"
            )
        } else {
            String::new()
        };
        return Err(format!(
            "the guest agent did not build ({status}) as a static binary for {target}.\n\
             {advice}{stderr}",
            status = output.status,
        ));
    }
    let built = target_dir.join(target).join(PROFILE).join("uml-test-agent-bin");
    fs::copy(&built, agent)
        .map(drop)
        .map_err(|error| format!("copy {} to {}: {error}", built.display(), agent.display()))
}

/// A profile of its own: `[profile.release]` in the project's cargo configuration would override
/// the wrapper's.
const PROFILE: &str = "uml-test-agent";

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

[profile.{PROFILE}]
inherits = "release"
opt-level = 2
debug = false
debug-assertions = false
overflow-checks = false
lto = true
panic = "unwind"
codegen-units = 1
strip = true
"#,
        agent = agent_source(),
        protocol = protocol_source(),
    )
}

/// The directory with the crates that this one was vendored with, if it was. The configuration
/// that names it may be out of sight: cargo does not tell a build script where it looked.
fn vendor_dir() -> Option<PathBuf> {
    let agent = Path::new(uml_test_agent::SOURCE_DIR);
    // With the dots: where the configuration is in sight, cargo refuses a second source with the
    // same directory, and tells directories apart by how they are written.
    agent.join(".cargo-checksum.json").exists().then(|| agent.join(".."))
}

/// Where the nested cargo looks for configuration (mirrors of registries, linkers): where the outer
/// one did as far as its caller's shell says, else where the wrapper is, usually in the project.
fn config_dir(wrapper: &Path) -> PathBuf {
    let has_config = |dir: &Path| {
        dir.ancestors().map(|dir| dir.join(".cargo")).any(|dir| {
            // The user's own configuration is read from anywhere.
            Some(&dir) != std::env::var_os("CARGO_HOME").map(PathBuf::from).as_ref()
                && (dir.join("config.toml").exists() || dir.join("config").exists())
        })
    };
    std::env::var_os("PWD")
        .map(PathBuf::from)
        .filter(|dir| dir.is_dir() && has_config(dir))
        .unwrap_or_else(|| wrapper.to_owned())
}

/// Keeps the outer build's flags (coverage, sanitizers, a linter as compiler) out of the agent.
fn scrub(cargo: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_about_building) {
            cargo.env_remove(name);
        }
    }
}

/// Whether a variable says how to build, and not where something is.
fn is_about_building(name: &str) -> bool {
    const KEPT: &[&str] = &["CARGO_HOME", "CARGO_MAKEFLAGS", "RUSTC"];
    const KEPT_PREFIXES: &[&str] = &["CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_NET_", "CARGO_HTTP_"];
    let kept = KEPT.contains(&name)
        || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.starts_with("CARGO_TARGET_") && name.ends_with("_LINKER");
    !kept && ["CARGO", "RUSTC", "RUSTFLAGS"].iter().any(|prefix| name.starts_with(prefix))
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

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Writes a file unless it is so already: cargo looks at times.
fn write(path: &Path, content: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    fs::write(path, content).map_err(|error| format!("write {}: {error}", path.display()))
}
