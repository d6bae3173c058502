//! Contents of Debian packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::unpack::{self, Compression};
use crate::error::Error;
use crate::process;
use crate::report::Reporter;

/// Extracts a package into `directory`, which is created if need be.
pub(crate) fn extract(package: &Path, directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    process::stdout(Command::new("dpkg-deb").arg("--extract").arg(package).arg(directory)).map(drop)
}

/// Unpacks a source package to `tree`, by way of `build`: Debian's and Ubuntu's hold the source as one tarball below
/// `usr/src`.
pub(crate) fn unpack_source(
    package: &Path,
    build: &Path,
    tree: &Path,
    reporter: &Reporter,
) -> Result<(), Error> {
    let contents = build.join("package");
    extract(package, &contents)?;
    let tarball = find_tarball(&contents.join("usr/src"))
        .ok_or_else(|| Error::NoTarballInPackage { package: package.to_path_buf() })?;
    unpack::tarball(&tarball, tree, reporter)?;
    fs::remove_dir_all(&contents).map_err(Error::io("remove", &contents))
}

/// Debian has the tarball in `directory`, Ubuntu one level below.
fn find_tarball(directory: &Path) -> Option<PathBuf> {
    let mut directories = Vec::new();
    for path in fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            directories.push(path);
        } else if unpack::shown(&path).starts_with("linux-source-")
            && Compression::of(&path).is_some()
        {
            return Some(path);
        }
    }
    directories.iter().find_map(|directory| find_tarball(directory))
}
