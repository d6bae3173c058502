//! A kernel's source: which it is, and a tree of it to build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::Apt;
use super::identity;
use super::metadata::Provenance;
use super::unpack::{self, Compression};
use super::version::Version;
use crate::error::Error;
use crate::process;
use crate::report::Reporter;

/// A kernel source that exists on this machine.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) provenance: Provenance,
    /// Says which source it is, to people and as an input of the content hash.
    pub(crate) identity: String,
    path: PathBuf,
}

impl Source {
    /// The source that the user named.
    pub(crate) fn given(path: &Path) -> Result<Self, Error> {
        let path = path.canonicalize().map_err(Error::io("open", path))?;
        if path.is_dir() {
            check_tree(&path)?;
            check_clean(&path)?;
            let identity = tree_identity(&path)?;
            return Ok(Source { provenance: Provenance::Tree, identity, path });
        }
        if Compression::of(&path).is_none() {
            return Err(Error::UnknownSource { path });
        }
        let identity = format!("{} sha256:{}", unpack::shown(&path), identity::of_file(&path)?);
        Ok(Source { provenance: Provenance::Tarball, identity, path })
    }

    /// The best source package of the machine's package mirrors, fetched into `directory` unless it is there.
    ///
    /// When the mirrors can't be reached, a package fetched earlier serves.
    pub(crate) fn of_mirror(directory: &Path, reporter: &Reporter) -> Result<Self, Error> {
        let phase = reporter.phase("Looking for kernel source on the package mirror");
        let apt = Apt::new(directory)?;
        let found = apt.find();
        drop(phase);
        let package = match found {
            Ok(package) => package,
            Err(error) => {
                let Some(path) = fetched(directory).into_iter().next_back() else {
                    return Err(error);
                };
                reporter.note(format_args!("{error}\nUsing {}, fetched earlier", path.display()));
                return Source::package(path);
            }
        };
        if !package.series.is_tested() {
            reporter.note(format_args!(
                "{} is not a version that uml-test is tested with",
                package.name
            ));
        }
        let path = directory.join(format!("{}_{}_all.deb", package.name, package.version));
        if !(path.exists() && identity::of_file(&path)? == package.sha256) {
            apt.download(&package, &path, reporter)?;
        }
        for old in fetched(directory).into_iter().filter(|old| *old != path) {
            fs::remove_file(&old).map_err(Error::io("remove", &old))?;
        }
        Source::package(path)
    }

    fn package(path: PathBuf) -> Result<Self, Error> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().replace('_', " ");
        let identity =
            format!("{} sha256:{}", name.trim_end_matches(" all"), identity::of_file(&path)?);
        Ok(Source { provenance: Provenance::Package, identity, path })
    }

    /// A tree to build: the user's own, or one unpacked below `build`.
    pub(crate) fn tree(&self, build: &Path, reporter: &Reporter) -> Result<PathBuf, Error> {
        let tree = build.join("src");
        match self.provenance {
            Provenance::Tree => return Ok(self.path.clone()),
            Provenance::Tarball if !tree.exists() => unpack::tarball(&self.path, &tree, reporter)?,
            Provenance::Package if !tree.exists() => {
                unpack_package(&self.path, build, &tree, reporter)?
            }
            Provenance::Tarball | Provenance::Package => {}
        }
        check_tree(&tree).inspect_err(|_| {
            // Not a kernel: nothing to resume with.
            let _ = fs::remove_dir_all(&tree);
        })?;
        Ok(tree)
    }
}

/// Source packages in the cache, by name.
fn fetched(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut packages: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .collect();
    packages.sort();
    packages
}

/// Debian's and Ubuntu's packages hold the source as one tarball below `usr/src`.
fn unpack_package(
    package: &Path,
    build: &Path,
    tree: &Path,
    reporter: &Reporter,
) -> Result<(), Error> {
    let contents = build.join("package");
    fs::create_dir_all(&contents).map_err(Error::io("create", &contents))?;
    process::stdout(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&contents))?;
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

fn check_tree(tree: &Path) -> Result<(), Error> {
    let parts = ["Makefile", "Kconfig", "arch/um/Kconfig"];
    if let Some(missing) = parts.into_iter().find(|part| !tree.join(part).exists()) {
        return Err(Error::NotASourceTree { path: tree.to_path_buf(), missing });
    }
    Version::of_tree(tree).map(drop)
}

/// The test that the kernel's top makefile makes before a build in another directory.
fn check_clean(tree: &Path) -> Result<(), Error> {
    let evidence = [".config", "include/config", "arch/um/include/generated"];
    match evidence.into_iter().find(|path| tree.join(path).exists()) {
        Some(evidence) => Err(Error::UncleanSourceTree { path: tree.to_path_buf(), evidence }),
        None => Ok(()),
    }
}

/// A clean git checkout is its commit, so that a fresh clone finds the cached kernel; any other tree is its listing.
fn tree_identity(tree: &Path) -> Result<String, Error> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(tree).args(arguments);
        process::stdout(&mut git)
    };
    if tree.join(".git").exists()
        && let Ok(commit) = git(&["rev-parse", "HEAD"])
        && git(&["status", "--porcelain"]).is_ok_and(|changes| changes.is_empty())
    {
        return Ok(format!("git:{}", commit.trim()));
    }
    Ok(format!("tree:{}", identity::of_listing(tree)?))
}
