//! Source trees that the user has: whether they can be built, and which source they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::identity;
use super::version::Version;
use crate::error::Error;
use crate::process;

pub(crate) fn check_tree(tree: &Path) -> Result<(), Error> {
    let parts = ["Makefile", "Kconfig", "arch/um/Kconfig"];
    if let Some(missing) = parts.into_iter().find(|part| !tree.join(part).exists()) {
        return Err(Error::NotASourceTree { path: tree.to_path_buf(), missing });
    }
    Version::of_tree(tree).map(drop)
}

/// The test that the kernel's top makefile makes before a build in another directory.
pub(crate) fn check_clean(tree: &Path) -> Result<(), Error> {
    let evidence = [".config", "include/config", "arch/um/include/generated"];
    match evidence.into_iter().find(|path| tree.join(path).exists()) {
        Some(evidence) => Err(Error::UncleanSourceTree { path: tree.to_path_buf(), evidence }),
        None => Ok(()),
    }
}

/// Which source the tree has now.
///
/// Of a git checkout it is the commit, so that a fresh clone finds the cached kernel, and a hash of the local changes,
/// so that a file that was only touched or changed back is no change. Any other tree is its listing.
pub(crate) fn identity(tree: &Path) -> Result<String, Error> {
    match git_identity(tree) {
        Some(identity) => Ok(identity),
        None => Ok(format!("tree:{}", identity::of_listing(tree)?)),
    }
}

fn git_identity(tree: &Path) -> Option<String> {
    if !tree.join(".git").exists() {
        return None;
    }
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(tree).args(arguments);
        process::stdout(&mut git).ok()
    };
    let commit = git(&["rev-parse", "HEAD"])?.trim().to_owned();
    let changes = git(&["diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv"])?;
    let untracked = git(&["ls-files", "--others", "--exclude-standard", "-z"])?;
    if changes.is_empty() && untracked.is_empty() {
        return Some(format!("git:{commit}"));
    }
    let mut parts = vec![changes];
    for name in untracked.split('\0').filter(|name| !name.is_empty()) {
        let path = tree.join(PathBuf::from(name));
        parts.push(format!("{name} {}", identity::of_file(&path).unwrap_or_default()));
    }
    Some(format!("git:{commit}+{}", identity::of_texts(&parts)))
}
