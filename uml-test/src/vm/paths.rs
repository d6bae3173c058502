//! Host paths that a test expects to find, wherever they lie.
//!
//! The guest mounts fresh filesystems on /tmp, /run and /dev/shm; a project in one of them (a
//! doctest, a scratch crate) must still find its executable and its files.

use std::path::{Path, PathBuf};

use crate::config::{variable, workspace_dir};

/// What a guest has of its own.
const FRESH: [&str; 3] = ["/tmp", "/run", "/dev/shm"];

/// What a guest's own filesystems hide of the host's `PATH`: its directories, and of one that is called `bin` all that it
/// belongs to, as programs have files beside it. A directory that is such a filesystem itself stays the guest's own.
fn program_dirs() -> Vec<PathBuf> {
    let is_below =
        |dir: &Path| FRESH.iter().any(|own| dir.starts_with(own) && dir != Path::new(own));
    let whole = |dir: PathBuf| match dir.parent() {
        Some(parent) if (dir.ends_with("bin") || dir.ends_with("sbin")) && is_below(parent) => {
            parent.to_owned()
        }
        _ => dir,
    };
    let path = variable("PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|dir| is_below(dir)).map(whole).collect()
}

/// The directory that a variable names, if it is not a guest's own anyhow.
fn place(name: &str) -> Option<PathBuf> {
    let canonical = |path: &Path| path.canonicalize().ok();
    let dir = canonical(Path::new(&variable(name)?))?;
    let is_fresh = FRESH.iter().any(|own| canonical(Path::new(own)).as_ref() == Some(&dir));
    (!is_fresh).then_some(dir)
}

/// The paths, absolute and canonical.
pub(super) fn keep(manifest_dir: &Path, more: &[PathBuf]) -> Vec<PathBuf> {
    let executable = std::env::current_exe().ok();
    let mut paths: Vec<PathBuf> = Vec::new();
    paths.extend(std::env::current_dir());
    paths.push(manifest_dir.to_owned());
    paths.extend(workspace_dir(manifest_dir));
    if let Some(executable) = executable {
        paths.extend(target_dir(&executable));
        // The file itself, where its directory is one of the fresh filesystems.
        paths.extend(
            executable.parent().filter(|dir| dir.components().count() > 2).map(Path::to_owned),
        );
        paths.push(executable);
    }
    paths.extend_from_slice(more);
    paths.extend(program_dirs());
    let named = ["CARGO_TARGET_DIR", "CARGO_TARGET_TMPDIR", "CARGO_HOME", "RUSTUP_HOME"];
    paths.extend(named.iter().filter_map(|name| variable(name)).map(PathBuf::from));
    // Programs take them to be there. As a guest's own they are there, and fresh.
    paths.extend(["TMPDIR", "XDG_RUNTIME_DIR"].iter().filter_map(|name| place(name)));
    paths.iter().filter_map(|path| path.canonicalize().ok()).collect()
}

/// The target directory that an executable lies in: cargo marks it with a cache tag.
pub(crate) fn target_dir(executable: &Path) -> Option<PathBuf> {
    // One that was there before has no tag, but what cargo knows of the compiler.
    let has = |dir: &Path, name: &str| dir.join(name).exists();
    let is_one = |dir: &&Path| has(dir, "CACHEDIR.TAG") || has(dir, ".rustc_info.json");
    executable.ancestors().skip(1).find(is_one).map(Path::to_owned)
}
