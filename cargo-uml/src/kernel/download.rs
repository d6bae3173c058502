//! Fetches a file by curl or wget, and checks what came.

use std::fs;
use std::io;
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

/// curl's exit code where it can't write what comes; it does not say why.
const CURL_WRITE_ERROR: i32 = 23;

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
    let head = staging.path().join("head");
    let mut command = fetcher(url, &file, &head, reporter)?;
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
        let come = file.metadata().map_or(0, |metadata| metadata.len());
        phase.bytes(come, fs::read_to_string(&head).ok().as_deref().and_then(length));
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().map_err(spawn_error)?;
    drop(phase);
    if !output.status.success() {
        let said = process::said(&output);
        let of_disk = process::lack_of_room(&said).or_else(|| {
            let is_of_disk = output.status.code() == Some(CURL_WRITE_ERROR);
            is_of_disk.then(|| io::Error::other(said.trim().to_owned()))
        });
        return Err(match of_disk {
            Some(source) => Error::io("download to", directory)(source),
            None => Error::Download {
                url: url.to_owned(),
                status: format!("{program}: {}", output.status),
                output: process::tail(&said),
            },
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

/// The length that a server has announced of the file itself, behind whatever led to it.
fn length(heads: &str) -> Option<u64> {
    let (_, last) = heads.rsplit_once("HTTP/")?;
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        value.trim().parse().ok().filter(|_| name.eq_ignore_ascii_case("content-length"))
    };
    let status = last.split_whitespace().nth(1);
    last.lines().find_map(value).filter(|_| status == Some("200"))
}

/// Fetches `url` into `file`, if it can with what the server says of it in `head`.
fn fetcher(url: &str, file: &Path, head: &Path, reporter: &Reporter) -> Result<Command, Error> {
    if process::find("curl").is_none() && process::find("wget").is_some() {
        let mut wget = Command::new("wget");
        wget.env("LC_ALL", "C");
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
    curl.arg(file).arg("--dump-header").arg(head).arg("--").arg(url);
    Ok(curl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_file_itself() {
        let moved = "HTTP/1.1 302 Found\r\nContent-Length: 12\r\nLocation: /x\r\n\r\n";
        let found = "HTTP/2 200 \r\ncontent-type: x\r\ncontent-length: 3456\r\n\r\n";
        assert_eq!(length(&[moved, found].concat()), Some(3456));
        assert_eq!(length(moved), None);
        assert_eq!(length("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), None);
        assert_eq!(length(""), None);
    }
}
