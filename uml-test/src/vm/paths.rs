//! Host paths that a test expects to find, wherever they lie.
//!
//! The guest mounts fresh filesystems on /tmp, /run and /dev/shm; a project in one of them (a
//! doctest, a scratch crate) must still find its executable and its files.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::config::{variable, workspace_dir};

/// What a guest has of its own.
const FRESH: [&str; 3] = ["/tmp", "/run", "/dev/shm"];

/// What programs look at by a name that on many hosts is a link to below `/run`.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Whether something of a guest's own lies over it. Such a filesystem itself stays the guest's own.
fn is_hidden(path: &Path) -> bool {
    FRESH.iter().any(|own| path.starts_with(own) && path != Path::new(own))
}

/// What a guest's own filesystems hide of a `PATH`: its directories, and of one that is called `bin` all that it
/// belongs to, as programs have files beside it.
fn program_dirs(path: &OsStr) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for dir in std::env::split_paths(path) {
        let Ok(canonical) = dir.canonicalize() else { continue };
        if !(is_hidden(&dir) || is_hidden(&canonical)) {
            continue;
        }
        let is_bin = canonical.ends_with("bin") || canonical.ends_with("sbin");
        let whole = canonical.parent().filter(|parent| is_bin && is_hidden(parent));
        dirs.extend(whole.map(Path::to_owned));
        dirs.push(dir);
    }
    dirs
}

/// The directory that a variable names, if it is not a guest's own anyhow.
fn place(name: &str) -> Option<PathBuf> {
    let named = PathBuf::from(variable(name)?);
    let canonical = named.canonicalize().ok()?;
    let is = |own: &&str| Path::new(own).canonicalize().is_ok_and(|own| own == canonical);
    (!FRESH.iter().any(is)).then_some(named)
}

/// The working directory, and what a shell calls it where the way there is by links.
fn working_dir() -> Vec<PathBuf> {
    let Ok(dir) = std::env::current_dir() else { return Vec::new() };
    let named = variable("PWD").map(PathBuf::from);
    let named = named.filter(|named| named.canonicalize().is_ok_and(|named| named == dir));
    named.into_iter().chain([dir]).collect()
}

/// The paths, absolute: canonical, and the links on the way there that a guest's own filesystems hide. `programs` is the
/// guest's `PATH`.
pub(super) fn keep(manifest_dir: &Path, more: &[PathBuf], programs: &OsStr) -> Vec<PathBuf> {
    let executable = std::env::current_exe().ok();
    let mut paths = working_dir();
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
    paths.extend(program_dirs(programs));
    let named = ["CARGO_TARGET_DIR", "CARGO_TARGET_TMPDIR", "CARGO_HOME", "RUSTUP_HOME"];
    paths.extend(named.iter().filter_map(|name| variable(name)).map(PathBuf::from));
    // Programs take them to be there. As a guest's own they are there, and fresh.
    paths.extend(["HOME", "TMPDIR", "XDG_RUNTIME_DIR"].iter().filter_map(|name| place(name)));
    paths.push(RESOLV_CONF.into());
    let mut kept = Vec::new();
    for path in paths.iter().filter_map(|path| std::path::absolute(path).ok()) {
        let Ok(canonical) = path.canonicalize() else { continue };
        if canonical != path {
            kept.extend(links(&path).into_iter().filter(|link| is_hidden(link)));
        }
        kept.push(canonical);
    }
    kept
}

/// The links that lead from an absolute name to its file, each where it lies.
fn links(path: &Path) -> Vec<PathBuf> {
    /// More is a loop to Linux, too.
    const MOST: usize = 40;
    let mut links = Vec::new();
    let mut place = PathBuf::new();
    let mut rest = path.to_owned();
    loop {
        let mut parts = rest.components();
        let Some(part) = parts.next() else { return links };
        let behind = parts.as_path().to_owned();
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(place.pop()),
            part => place.push(part),
        }
        match place.read_link() {
            Ok(target) if links.len() < MOST => {
                links.push(place.clone());
                place.pop();
                rest = target.join(behind);
            }
            Ok(_) | Err(_) => rest = behind,
        }
    }
}

/// The target directory that an executable lies in: cargo marks it with a cache tag.
pub(crate) fn target_dir(executable: &Path) -> Option<PathBuf> {
    // One that was there before has no tag, but what cargo knows of the compiler.
    let has = |dir: &Path, name: &str| dir.join(name).exists();
    let is_one = |dir: &&Path| has(dir, "CACHEDIR.TAG") || has(dir, ".rustc_info.json");
    executable.ancestors().skip(1).find(is_one).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_found_wherever_they_are_on_the_way() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        std::fs::create_dir_all(at("real/sub")).unwrap();
        symlink(at("real"), at("absolute")).unwrap();
        symlink("../absolute/sub", at("real/relative")).unwrap();
        symlink("loop", at("loop")).unwrap();
        assert_eq!(links(&at("real/sub")), [] as [&Path; 0]);
        assert_eq!(
            links(&at("absolute/relative/x")),
            [at("absolute"), at("real/relative"), at("absolute")]
        );
        assert_eq!(links(&at("absolute/../real")), [at("absolute")]);
        assert!(!links(&at("loop")).is_empty());

        let kept = keep(Path::new("/"), &[at("absolute/relative")], OsStr::new(""));
        for path in ["absolute", "real/relative", "real/sub"] {
            assert!(kept.contains(&at(path)), "{path}: {kept:?}");
        }
        if let Ok(file) = Path::new(RESOLV_CONF).canonicalize() {
            assert!(kept.contains(&file), "{kept:?}");
        }
        assert!(!kept.contains(&PathBuf::from("/tmp")), "{kept:?}");
    }

    #[test]
    fn of_path_is_kept_what_is_hidden_however_it_is_named() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let visible = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        for name in ["tool/bin", "programs", "other"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        symlink(at("tool/bin"), visible.path().join("bin")).unwrap();
        symlink(at("tool/bin"), at("other/bin")).unwrap();
        let of = |dirs: &[PathBuf]| program_dirs(&std::env::join_paths(dirs).unwrap());
        assert_eq!(of(&[at("tool/bin")]), [at("tool"), at("tool/bin")]);
        assert_eq!(of(&[at("programs"), "/usr/bin".into(), "/tmp".into()]), [at("programs")]);
        assert_eq!(of(&[visible.path().join("bin")]), [at("tool"), visible.path().join("bin")]);
        assert_eq!(of(&[at("other/bin")]), [at("tool"), at("other/bin")]);
        assert_eq!(of(&[at("nothing")]), [] as [&Path; 0]);
    }
}
