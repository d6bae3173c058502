//! A directory per attempt on the host, and what has changed in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::sys;

/// The extended attribute that every attempt finds on `file`.
pub(crate) const KEPT_ATTRIBUTE: &str = "user.kept";

/// Everything about a file that an attempt could change. Times of access are not among it: reading
/// is allowed.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    inode: u64,
    device: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    content: Vec<u8>,
    attributes: BTreeMap<OsString, Vec<u8>>,
}

/// A directory's state.
pub(crate) struct Snapshot(BTreeMap<PathBuf, Entry>);

/// Fills `dir` with what an attempt needs.
pub(crate) fn fill(dir: &Path) {
    let make = || -> std::io::Result<()> {
        fs::create_dir(dir)?;
        fs::write(dir.join("file"), "content of the host's file\n")?;
        fs::set_permissions(dir.join("file"), fs::Permissions::from_mode(0o644))?;
        sys::set_attribute(&dir.join("file"), KEPT_ATTRIBUTE, b"kept")?;
        fs::write(dir.join("other"), "content of another file\n")?;
        fs::create_dir(dir.join("full"))?;
        fs::write(dir.join("full/inner"), "content of an inner file\n")?;
        fs::create_dir(dir.join("empty"))?;
        symlink("file", dir.join("link"))
    };
    make().unwrap_or_else(|error| panic!("fill {}: {error}", dir.display()));
}

impl Snapshot {
    /// Looks at `dir` and all below.
    pub(crate) fn take(dir: &Path) -> Self {
        let mut entries = BTreeMap::new();
        walk(dir, Path::new(""), &mut entries)
            .unwrap_or_else(|error| panic!("look at {}: {error}", dir.display()));
        Self(entries)
    }

    /// What is different in `later`, a line each.
    pub(crate) fn changes(&self, later: &Self) -> String {
        let mut out = String::new();
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(later.0.keys()).collect();
        for path in paths {
            match (self.0.get(path), later.0.get(path)) {
                (Some(before), Some(after)) if before == after => {}
                (before, after) => {
                    let _ = writeln!(out, "{path:?}: {before:?} became {after:?}");
                }
            }
        }
        out
    }
}

fn walk(root: &Path, path: &Path, entries: &mut BTreeMap<PathBuf, Entry>) -> std::io::Result<()> {
    let full = root.join(path);
    let found = full.symlink_metadata()?;
    let kind = found.file_type();
    let (kind, content) = if kind.is_dir() {
        let mut names: Vec<_> = fs::read_dir(&full)?.collect::<Result<_, _>>()?;
        names.sort_by_key(fs::DirEntry::file_name);
        for name in names {
            walk(root, &path.join(name.file_name()), entries)?;
        }
        ("directory", Vec::new())
    } else if kind.is_symlink() {
        ("link", fs::read_link(&full)?.into_os_string().into_encoded_bytes())
    } else if kind.is_file() {
        ("file", fs::read(&full)?)
    } else if kind.is_fifo() {
        ("fifo", Vec::new())
    } else if kind.is_socket() {
        ("socket", Vec::new())
    } else {
        ("device", Vec::new())
    };
    let entry = Entry {
        kind,
        mode: found.mode(),
        owner: (found.uid(), found.gid()),
        links: found.nlink(),
        inode: found.ino(),
        device: found.rdev(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
        content,
        attributes: sys::attributes(&full)?,
    };
    entries.insert(path.to_owned(), entry);
    Ok(())
}
