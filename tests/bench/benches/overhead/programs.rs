//! The test binaries that are measured, built as `cargo test` builds them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;

pub(crate) struct Programs {
    pub(crate) libtest: PathBuf,
    pub(crate) custom: PathBuf,
    pub(crate) plain: PathBuf,
    pub(crate) output: PathBuf,
}

pub(crate) fn build() -> Result<Programs> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["test", "--no-run", "--message-format=json-render-diagnostics"])
        .args(["--package", "uml-test-bench"])
        .args(["--test", "hundred", "--test", "hundred_custom", "--test", "plain"])
        .args(["--test", "output"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo")?;
    let messages = std::io::BufReader::new(cargo.stdout.take().context("no pipe")?);
    let mut found = std::collections::BTreeMap::new();
    for message in Message::parse_stream(messages) {
        if let Message::CompilerArtifact(artifact) = message?
            && let Some(executable) = artifact.executable
        {
            found.insert(artifact.target.name.clone(), PathBuf::from(executable));
        }
    }
    ensure!(cargo.wait()?.success(), "cargo failed");
    let mut take = |name: &str| found.remove(name).with_context(|| format!("no binary {name}"));
    Ok(Programs {
        libtest: take("hundred")?,
        custom: take("hundred_custom")?,
        plain: take("plain")?,
        output: take("output")?,
    })
}
