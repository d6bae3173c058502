//! Source trees that the user has: whether they can be built, and which source they are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

/// Variables that a git which runs this, for a hook say, has set for its own repository.
const GIT_VARIABLES: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
];

/// What the identity of a checkout begins with.
const GIT: &str = "git:";

/// The mode of a submodule in git's index.
const SUBMODULE: &[u8] = b"160000 ";

/// Which source the tree has now.
///
/// Of a git checkout it is the commit, so that a fresh clone finds the cached kernel, and a hash of the local changes,
/// so that a file that was only touched or changed back is no change. Any other tree is its listing.
pub(crate) fn identity(tree: &Path) -> Result<String, Error> {
    identity_where(tree, &|path| is_read(tree, path))
}

/// The identity of a tree or a part of it, which a build reads in the places for which `is_read` holds.
fn identity_where(tree: &Path, is_read: &dyn Fn(&Path) -> bool) -> Result<String, Error> {
    match git_identity(tree, is_read)? {
        Some(identity) => Ok(identity),
        None => Ok(format!("tree:{}", identity::of_listing(tree, is_read))),
    }
}

/// Whether the kernel's build may read what lies at this path below the tree: files at its top and directories of the
/// kernel's kind. Elsewhere may be the root directory of a guest, with links into the host's `/run`, or somebody's work.
fn is_read(tree: &Path, path: &Path) -> bool {
    let Some(first) = path.components().next() else { return true };
    let first = Path::new(first.as_os_str());
    if first == path && !tree.join(first).is_dir() {
        return true;
    }
    let has = |name: &&str| tree.join(first).join(name).exists();
    // These two have neither makefile.
    ["arch", "include"].iter().any(|name| first == Path::new(name))
        || ["Makefile", "Kbuild", "Kconfig"].iter().any(has)
}

/// `None` where git has nothing to say of the tree.
fn git_identity(tree: &Path, is_read: &dyn Fn(&Path) -> bool) -> Result<Option<String>, Error> {
    if !tree.join(".git").exists() {
        return Ok(None);
    }
    let Some(commit) = git(tree, &["rev-parse", "HEAD"]) else { return Ok(None) };
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let Some(changes) = changes(tree, is_read)? else { return Ok(None) };
    if changes.is_empty() {
        return Ok(Some(format!("{GIT}{commit}")));
    }
    Ok(Some(format!("{GIT}{commit}+{}", identity::of_texts(&changes))))
}

/// What the tree has beside its commit: changed files, files that git does not know, and what submodules have.
fn changes(tree: &Path, is_read: &dyn Fn(&Path) -> bool) -> Result<Option<Vec<Vec<u8>>>, Error> {
    let diff = [
        "diff",
        "HEAD",
        "--binary",
        "--full-index", // Else as long as the number of objects takes.
        "--no-ext-diff",
        "--no-textconv",
        "--submodule=short",
        "--ignore-submodules=none",
    ];
    // What the tree itself ignores are products of a build. What the user ignores may well be compiled.
    let untracked = ["ls-files", "--others", "--exclude-per-directory=.gitignore", "-z"];
    let (Some(diff), Some(untracked), Some(index)) =
        (git(tree, &diff), git(tree, &untracked), git(tree, &["ls-files", "--stage", "-z"]))
    else {
        return Ok(None);
    };
    let mut changes: Vec<Vec<u8>> =
        Some(diff).filter(|diff| !diff.is_empty()).into_iter().collect();
    for name in names(&untracked) {
        let is_read = is_read(Path::new(OsStr::from_bytes(name)));
        changes.push([name, b" ", content(&path(tree, name), is_read).as_bytes()].concat());
    }
    // The diff says of a submodule which commit it has, and of its changes only that there are some.
    let is_submodule = |entry: &&[u8]| entry.starts_with(SUBMODULE);
    for entry in names(&index).filter(is_submodule) {
        let name = entry.splitn(2, |byte| *byte == b'\t').nth(1).unwrap_or_default();
        let submodule = path(tree, name);
        if submodule.join(".git").exists() {
            let name = Path::new(OsStr::from_bytes(name));
            let identity = identity_where(&submodule, &|path| is_read(&name.join(path)))?;
            if !identity.starts_with(GIT) || identity.contains('+') {
                changes.push([name.as_os_str().as_bytes(), b" ", identity.as_bytes()].concat());
            }
        }
    }
    Ok(Some(changes))
}

/// What a program of git's wrote, if it succeeded.
fn git(tree: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = run_git(tree, arguments).ok()?;
    output.status.success().then_some(output.stdout)
}

fn run_git(tree: &Path, arguments: &[&str]) -> Result<Output, Error> {
    let mut git = Command::new("git");
    for name in GIT_VARIABLES {
        git.env_remove(name);
    }
    // Another owner's checkout has commits as well. git refuses it for the programs that its configuration may name;
    // those of its makefiles are about to be run.
    git.args(["-c", "safe.directory=*"]).arg("-C").arg(tree).args(arguments);
    process::output(git.env("LC_ALL", "C"))
}

/// Why a checkout is not known by its commit, in git's words; `None` where it is, and for what is no checkout.
pub(crate) fn doubt(tree: &Path, identity: &str) -> Option<String> {
    if identity.starts_with(GIT) || !tree.join(".git").exists() {
        return None;
    }
    Some(match run_git(tree, &["rev-parse", "HEAD"]) {
        Ok(output) if output.status.success() => "git does not tell its changes".to_owned(),
        Ok(output) => process::said(&output).trim().to_owned(),
        Err(error) => error.to_string(),
    })
}

/// The parts of a list that each end with a zero.
fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0).filter(|name| !name.is_empty())
}

fn path(tree: &Path, name: &[u8]) -> PathBuf {
    tree.join(OsStr::from_bytes(name))
}

/// Bytes of a file that is read to tell whether it has changed. Larger ones are images, of which time and size tell.
const MOST: u64 = 1 << 20;

/// What an untracked file is: its content if a build may read it, else its state. Of a directory, such as another
/// repository in this one, it is the listing; of a link where it leads to, with what is there if a build may read it.
/// What can't be read counts as such: a build that needs it says so.
fn content(path: &Path, is_read: bool) -> String {
    let link = path.read_link().ok();
    let metadata = match (&link, is_read) {
        (Some(_), true) => path.metadata().or_else(|_| path.symlink_metadata()),
        _ => path.symlink_metadata(),
    };
    let found = match metadata {
        Ok(found) if found.is_dir() => identity::of_listing(path, |_| is_read),
        Ok(found) if found.is_file() && is_read && found.len() <= MOST => {
            identity::of_file(path).unwrap_or_else(|_| identity::state(Ok(found)))
        }
        metadata => identity::state(metadata),
    };
    match link {
        Some(target) => format!("link to {}: {found}", target.display()),
        None => found,
    }
}
