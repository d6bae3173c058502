//! Failures as annotations of GitHub Actions, on the lines they come from.
//!
//! The format is that of the workflow command `error`; see GitHub's page on workflow commands.

use std::path::{Path, PathBuf};

use super::watch::Panic;

/// Whether this runs in a workflow of GitHub Actions.
pub(crate) fn is_here() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// The command that annotates a panic of a failed test.
pub(crate) fn panic(panic: &Panic) -> String {
    let checkout = std::env::var_os("GITHUB_WORKSPACE").map(PathBuf::from);
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let file = in_checkout(Path::new(&panic.file), package.as_deref(), checkout.as_deref());
    let title = format!("{} panicked", panic.thread);
    format!(
        "::error file={},line={},col={},title={}::{}",
        property(&file.to_string_lossy()),
        panic.line,
        panic.column,
        property(&title),
        data(&panic.message)
    )
}

/// The command that annotates a failure without a place.
pub(crate) fn failure(title: &str, message: &str) -> String {
    format!("::error title={}::{}", property(title), data(message))
}

/// A file's path from the checkout. The compiler names files from the workspace's directory, which is the package's or
/// one above it.
fn in_checkout(file: &Path, package: Option<&Path>, checkout: Option<&Path>) -> PathBuf {
    let absolute = package
        .into_iter()
        .flat_map(Path::ancestors)
        .map(|dir| dir.join(file))
        .find(|path| path.exists());
    let Some(absolute) = absolute else { return file.to_owned() };
    match checkout.and_then(|checkout| absolute.strip_prefix(checkout).ok()) {
        Some(inside) => inside.to_owned(),
        None => absolute,
    }
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_are_made_of_is_escaped() {
        assert_eq!(
            failure("a::b, c", "100%\nof it: all"),
            "::error title=a%3A%3Ab%2C c::100%25%0Aof it: all"
        );
    }

    #[test]
    fn files_are_named_from_the_checkout() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("work/crates/x");
        std::fs::create_dir_all(package.join("src")).unwrap();
        std::fs::write(package.join("src/lib.rs"), "").unwrap();
        let named = |file: &str, checkout: &str| {
            let path =
                in_checkout(Path::new(file), Some(&package), Some(&dir.path().join(checkout)));
            path.to_str().unwrap().to_owned()
        };
        assert_eq!(named("src/lib.rs", ""), "work/crates/x/src/lib.rs");
        assert_eq!(named("crates/x/src/lib.rs", "work"), "crates/x/src/lib.rs");
        assert_eq!(named("gone.rs", "work"), "gone.rs");
    }
}
