//! Fetches a file by curl or wget, and checks what came.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::identity;
use super::tools;
use crate::error::Error;
use crate::process;
use crate::report::Reporter;

/// Seconds without a byte after which a transfer has failed.
const STALL: &str = "60";

/// Downloads `url` to `destination`, which appears only when whole and with the SHA-256 `sha256`.
pub(crate) fn download(
    url: &str,
    sha256: &str,
    destination: &Path,
    reporter: &Reporter,
) -> Result<(), Error> {
    let directory = destination.parent().unwrap_or(destination);
    fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    let staging = TempDir::with_prefix_in(".get-", directory)
        .map_err(Error::io("create a directory in", directory))?;
    let file = staging.path().join("file");
    let mut command = fetcher(url, &file, reporter)?;
    let program = command.get_program().display().to_string();
    let spawn_error = |source| Error::Spawn { program: program.clone(), source };

    let phase = reporter.phase(format_args!("Fetching {url}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(spawn_error)?;
    while child.try_wait().map_err(spawn_error)?.is_none() {
        phase.bytes(file.metadata().map_or(0, |metadata| metadata.len()));
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().map_err(spawn_error)?;
    drop(phase);
    if !output.status.success() {
        return Err(Error::Download {
            url: url.to_owned(),
            status: format!("{program}: {}", output.status),
            output: process::tail(&process::said(&output)),
        });
    }
    let found = identity::of_file(&file)?;
    if found != sha256 {
        return Err(Error::WrongChecksum {
            url: url.to_owned(),
            expected: sha256.to_owned(),
            found,
        });
    }
    fs::rename(&file, destination).map_err(Error::io("create", destination))
}

fn fetcher(url: &str, file: &Path, reporter: &Reporter) -> Result<Command, Error> {
    if process::find("curl").is_none() && process::find("wget").is_some() {
        let mut wget = Command::new("wget");
        wget.args(["--no-verbose", "--tries=2", "--connect-timeout=20"]);
        wget.args(["--read-timeout", STALL, "-O"]);
        wget.arg(file).arg("--").arg(url);
        return Ok(wget);
    }
    tools::ensure(&[tools::CURL], reporter)?;
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--silent", "--show-error", "--retry", "1"]);
    // Where packets are dropped, its own limit is minutes.
    curl.args(["--connect-timeout", "20"]);
    // It has none for a server that stops sending.
    curl.args(["--speed-limit", "1", "--speed-time", STALL, "--output"]);
    curl.arg(file).arg("--").arg(url);
    Ok(curl)
}
