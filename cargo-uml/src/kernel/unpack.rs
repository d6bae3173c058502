//! Unpacks source tarballs, with a count of the bytes read.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::tools::{self, Tool};
use crate::error::Error;
use crate::process;
use crate::report::{Reporter, Unit};

/// A tarball's compression, told by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    /// `None` if the name is not a tarball's.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let endings = [
            (Compression::None, &[".tar"][..]),
            (Compression::Gzip, &[".tar.gz", ".tgz"]),
            (Compression::Bzip2, &[".tar.bz2", ".tbz2"]),
            (Compression::Xz, &[".tar.xz", ".txz"]),
            (Compression::Zstd, &[".tar.zst"]),
        ];
        endings
            .into_iter()
            .find(|(_, all)| all.iter().any(|ending| name.ends_with(ending)))
            .map(|(kind, _)| kind)
    }

    fn tool(self) -> Option<Tool> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some(tools::GZIP),
            Compression::Bzip2 => Some(tools::BZIP2),
            Compression::Xz => Some(tools::XZ),
            Compression::Zstd => Some(tools::ZSTD),
        }
    }

    fn tar_option(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some("--gzip"),
            Compression::Bzip2 => Some("--bzip2"),
            Compression::Xz => Some("--xz"),
            Compression::Zstd => Some("--zstd"),
        }
    }
}

const STAGING_PREFIX: &str = "unpacking-";

/// Unpacks `tarball` so that its source tree's top directory becomes `destination`, which appears only when whole.
pub(crate) fn tarball(
    tarball: &Path,
    destination: &Path,
    reporter: &Reporter,
) -> Result<(), Error> {
    let compression = Compression::of(tarball)
        .ok_or_else(|| Error::UnknownSource { path: tarball.to_path_buf() })?;
    tools::ensure(compression.tool().as_slice(), reporter)?;

    let parent = destination.parent().unwrap_or(destination);
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    remove_interrupted(parent);
    let staging = TempDir::with_prefix_in(STAGING_PREFIX, parent)
        .map_err(Error::io("create a directory in", parent))?;
    feed_tar(tarball, compression, staging.path(), reporter)?;
    let top = top_directory(staging.path())?;
    fs::rename(&top, destination).map_err(Error::io("create", destination))
}

/// What a killed setup left half unpacked.
fn remove_interrupted(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(STAGING_PREFIX.as_bytes()))
    {
        let _ = fs::remove_dir_all(entry.path());
    }
}

fn feed_tar(
    tarball: &Path,
    compression: Compression,
    directory: &Path,
    reporter: &Reporter,
) -> Result<(), Error> {
    let mut file = File::open(tarball).map_err(Error::io("open", tarball))?;
    let size = file.metadata().map_err(Error::io("read", tarball))?.len();
    let mut tar = Command::new("tar");
    tar.args(compression.tar_option())
        .args(["--extract", "--no-same-owner", "--directory"])
        .arg(directory);
    let mut child = tar
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Spawn { program: "tar".to_owned(), source })?;

    let phase = reporter.counted(format_args!("Unpacking {}", shown(tarball)), size, Unit::Bytes);
    let mut input = child.stdin.take();
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    let fed = loop {
        match file.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(length) => {
                // A failed write means that tar has ended; its exit status and stderr say why.
                if input.as_mut().is_none_or(|pipe| pipe.write_all(&buffer[..length]).is_err()) {
                    break Ok(());
                }
                done += length as u64;
                phase.at(done);
            }
            Err(error) => break Err(Error::io("read", tarball)(error)),
        }
    };
    drop(input);
    let output = child
        .wait_with_output()
        .map_err(|source| Error::Spawn { program: "tar".to_owned(), source })?;
    fed?;
    if output.status.success() {
        return Ok(());
    }
    let said = process::said(&output);
    Err(match process::lack_of_room(&said) {
        Some(source) => Error::io("unpack into", directory)(source),
        None => Error::Unpack { path: tarball.to_path_buf(), output: process::tail(&said) },
    })
}

/// Tarballs have one directory at their top, or are the tree itself.
fn top_directory(unpacked: &Path) -> Result<PathBuf, Error> {
    if unpacked.join("Makefile").exists() {
        return Ok(unpacked.to_path_buf());
    }
    let entries = fs::read_dir(unpacked).map_err(Error::io("list", unpacked))?;
    let mut inside = entries.flatten().map(|entry| entry.path());
    let tree = inside.find(|path| path.join("Makefile").exists());
    Ok(tree.unwrap_or_else(|| unpacked.to_path_buf()))
}

pub(crate) fn shown(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_where_a_makefile_is() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "linux-7.2", "z"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(top_directory(dir.path()).unwrap(), dir.path());
        fs::write(dir.path().join("linux-7.2/Makefile"), "").unwrap();
        assert_eq!(top_directory(dir.path()).unwrap(), dir.path().join("linux-7.2"));
    }

    #[test]
    fn tells_compression_by_name() {
        assert_eq!(Compression::of(Path::new("/a/linux-7.2.tar.xz")), Some(Compression::Xz));
        assert_eq!(Compression::of(Path::new("linux.tgz")), Some(Compression::Gzip));
        assert_eq!(Compression::of(Path::new("linux-7.2")), None);
    }
}
