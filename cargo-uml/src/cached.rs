//! Kernels of the cache, for reading: all there are, and the names they have.

use std::fs;
use std::path::{Path, PathBuf};

/// A name in the cache, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: String,
    /// The kernel's directory; it need not exist any more.
    pub(crate) directory: PathBuf,
}

/// The name of the kernel that is booted when none is asked for.
pub(crate) const DEFAULT: &str = "default";

/// Every name in the cache `root`, sorted.
pub(crate) fn names(root: &Path) -> Vec<Name> {
    let entries = fs::read_dir(root.join("names")).into_iter().flatten().flatten();
    let mut names: Vec<Name> = entries
        .filter_map(|entry| {
            // A name that is being set has a dot in front.
            let name =
                entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'))?;
            Some(Name { name: name.replace(':', "/"), directory: link(&entry.path()) })
        })
        .collect();
    names.sort_by(|one, other| one.name.cmp(&other.name));
    names
}

/// Where a name leads, without symbolic links if it leads anywhere.
fn link(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Every kernel's directory in the cache `root`, sorted.
pub(crate) fn kernels(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("kernels")).into_iter().flatten().flatten();
    let mut kernels: Vec<PathBuf> = entries
        // One that is being put together has a name with a dot in front.
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| link(&entry.path()))
        .collect();
    kernels.sort();
    kernels
}
