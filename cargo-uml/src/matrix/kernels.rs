//! The kernels to run with, from what the user called them.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use uml_test::remedy::how_to_build;

use crate::kernel::cache::Cache;

/// A kernel, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// As the user called it.
    pub(crate) name: String,
    pub(crate) linux: PathBuf,
}

/// What is wrong with any of them.
#[derive(Debug, thiserror::Error)]
#[error("these kernels can't be used:{0}")]
pub(crate) struct Unusable(String);

/// Finds all `called` kernels: by a name or an id of the `cache`, or by a path where it has a slash or starts with a
/// dot. All that is wrong is told at once.
pub(crate) fn choose(called: &[OsString], cache: Option<&Cache>) -> Result<Vec<Chosen>, Unusable> {
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut wrong = String::new();
    for called in called {
        let name = called.display().to_string();
        let found = find(called, cache).and_then(|linux| {
            match chosen.iter().any(|other| other.name == name) {
                true => Err("it is given twice".to_owned()),
                false => Ok(linux),
            }
        });
        match found {
            Ok(linux) => chosen.push(Chosen { name, linux }),
            Err(reason) => {
                let _ = write!(wrong, "\n    {name}: {reason}");
            }
        }
    }
    if wrong.is_empty() { Ok(chosen) } else { Err(Unusable(wrong)) }
}

fn find(called: &OsStr, cache: Option<&Cache>) -> Result<PathBuf, String> {
    if let (Some(cache), Some(called)) = (cache, called.to_str())
        && let Some((_, id)) = cache.find(called)
    {
        let linux = cache.kernels().join(&id).join("linux");
        return usable(&linux).map_err(|reason| {
            format!(
                "its kernel {} can't be used: {reason}; `{}` makes it again",
                linux.display(),
                cache.how_to_make(&id)
            )
        });
    }
    let bytes = called.as_encoded_bytes();
    if bytes.contains(&b'/') || bytes.starts_with(b".") {
        let path = std::path::absolute(called).map_err(|error| error.to_string())?;
        // A name may have a slash in it too.
        if path.exists() || bytes.starts_with(b"/") || bytes.starts_with(b".") {
            return usable(&path);
        }
    }
    let known = cache.map_or_else(|| "none".to_owned(), Cache::known);
    let advice = advice_on(&called.to_string_lossy(), &known);
    Err(format!("neither a kernel's name or id nor a path of one; names are: {known}; {advice}"))
}

/// What is likely meant by a name that no kernel has: one of a version that is to be built, or a known one, mistyped.
fn advice_on(called: &str, known: &str) -> String {
    let how = how_to_build(called);
    let distance = |name: &str| strsim::damerau_levenshtein(name, called);
    match known.split(", ").min_by_key(|name| distance(name)) {
        Some(nearest) if how.contains("--name") && distance(nearest) <= 2 => {
            format!("did you mean {nearest}?")
        }
        _ => format!("`{how}` builds it"),
    }
}

/// `path`, if it can be executed at all. What it is shows when it boots.
fn usable(path: &Path) -> Result<PathBuf, String> {
    use std::os::unix::fs::PermissionsExt;
    let found = path.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Err("not an executable file".to_owned());
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A cache with one kernel, of two names, and a name that leads nowhere.
    fn cache() -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        let kernel = cache.path().join("kernels/7.2.12-0123456789ab");
        fs::create_dir_all(&kernel).unwrap();
        fs::create_dir(cache.path().join("names")).unwrap();
        fs::copy("/proc/self/exe", kernel.join("linux")).unwrap();
        for (name, id) in [
            ("7.2", "7.2.12-0123456789ab"),
            ("7.2:debug", "7.2.12-0123456789ab"),
            ("6.1", "6.1.187-gone"),
        ] {
            symlink(format!("../kernels/{id}"), cache.path().join("names").join(name)).unwrap();
        }
        cache
    }

    fn chosen(called: &[&str], root: &Path) -> Result<Vec<Chosen>, String> {
        let called: Vec<OsString> = called.iter().map(OsString::from).collect();
        choose(&called, Some(&Cache::at(root))).map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_paths_are_found() {
        let cache = cache();
        let linux = cache.path().join("kernels/7.2.12-0123456789ab/linux");
        let path = linux.display().to_string();
        let id = "7.2.12-0123456789ab";
        let found = chosen(&["7.2/debug", &path, "7.2", id], cache.path()).unwrap();
        assert!(found.iter().all(|chosen| chosen.linux == linux), "{found:?}");
        let names: Vec<&str> = found.iter().map(|chosen| chosen.name.as_str()).collect();
        assert_eq!(names, ["7.2/debug", &path, "7.2", id]);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let cache = cache();
        let called =
            ["7.2", "7.2", "6.1", "6.12/smp", "nightly", "7.2/debgu", "/etc/passwd", "./nothing"];
        let error = chosen(&called, cache.path()).unwrap_err();
        for text in [
            "7.2: it is given twice",
            "6.1: its kernel",
            "6.12/smp: neither a kernel's name or id nor a path of one; names are: 7.2, 7.2/debug;",
            "`cargo uml kernel build 6.12 --flavour smp` builds it",
            "`cargo uml kernel build VERSION --name nightly` builds it",
            "/etc/passwd: not an executable file",
            "names are: 7.2, 7.2/debug; did you mean 7.2/debug?",
            "./nothing: No such file",
        ] {
            assert!(error.contains(text), "{text:?} is missing from {error}");
        }
        assert!(choose(&["7.2".into()], None).unwrap_err().to_string().contains("names are: none"));
    }
}
