//! What a kernel was built from, as hashes: equal inputs find the cached kernel, any change builds a new one.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::fragment::Fragment;
use crate::error::Error;

/// Changes whenever the way of building changes in a way that the other inputs don't show.
const RECIPE_VERSION: u32 = 1;

/// Hex digits of a hash in a kernel's id: 48 bits, plenty to tell the kernels of one user apart.
const ID_DIGITS: usize = 12;

/// The hash of what a kernel is made with beside source and compiler: configuration and way of building.
///
/// A cached kernel with the current recipe is up to date whatever compiler the machine has by now. Comment lines in
/// the configuration don't count: they build the same kernel.
pub(crate) fn recipe(fragments: &[Fragment]) -> String {
    let version = RECIPE_VERSION.to_string();
    let counts =
        |line: &&str| !line.is_empty() && (!line.starts_with('#') || line.ends_with(" is not set"));
    let options =
        fragments.iter().flat_map(|fragment| fragment.text.lines().map(str::trim).filter(counts));
    let parts: Vec<&str> = ["recipe", &version].into_iter().chain(options).collect();
    digest(&parts)[..ID_DIGITS].to_owned()
}

/// The content hash in a kernel's id: recipe, source and compiler.
pub(crate) fn content(recipe: &str, source: &str, compiler: &str) -> String {
    digest(&["kernel", recipe, source, compiler])[..ID_DIGITS].to_owned()
}

/// The content hash in the id of a kernel that was not built here, of its image's and its modules' if it has any.
pub(crate) fn of_binary(sha256: &str, modules: Option<&str>) -> String {
    let parts: Vec<&str> = ["binary", sha256].into_iter().chain(modules).collect();
    digest(&parts)[..ID_DIGITS].to_owned()
}

/// The directory in which a source tree is built again and again, for one recipe and compiler.
pub(crate) fn of_build_tree(tree: &Path, recipe: &str, compiler: &str) -> String {
    digest(&["tree", &tree.to_string_lossy(), recipe, compiler])[..ID_DIGITS].to_owned()
}

/// A hash of texts of any bytes, in their order.
pub(crate) fn of_texts(texts: &[impl AsRef<[u8]>]) -> String {
    digest(texts)[..ID_DIGITS].to_owned()
}

/// SHA-256 of the parts, each with its length, so that no two lists of parts look alike.
fn digest(parts: &[impl AsRef<[u8]>]) -> String {
    let mut hash = Sha256::new();
    add(&mut hash, parts);
    hex(hash)
}

fn add(hash: &mut Sha256, parts: &[impl AsRef<[u8]>]) {
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
}

/// SHA-256 of a file's content.
pub(crate) fn of_file(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(hex(hash)),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// SHA-256 of the names, sizes and modification times below `tree`: cheap (a kernel tree's 90,000 files take under a
/// second) and changes with every edit. `.git` is left out.
///
/// Of a link, where it leads to counts. `follows` says of its path below `tree` whether what is there counts too, as it
/// does to a build that reads it; each directory is entered once. What can't be read counts as such: most often a build
/// does not need it, and where it does, the build says so.
pub(crate) fn of_listing(tree: &Path, follows: impl Fn(&Path) -> bool) -> String {
    let mut hash = Sha256::new();
    let mut entered = HashSet::new();
    let mut directories = vec![tree.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let names = match names_in(&directory) {
            Ok(names) => names,
            Err(error) => {
                add(&mut hash, &[below(tree, &directory), error.kind().to_string().as_bytes()]);
                continue;
            }
        };
        for name in names {
            let path = directory.join(name);
            let mut metadata = fs::symlink_metadata(&path);
            if let Ok(target) = path.read_link() {
                add(&mut hash, &[below(tree, &path), target.as_os_str().as_bytes()]);
                if follows(path.strip_prefix(tree).unwrap_or(&path)) {
                    metadata = fs::metadata(&path).or(metadata);
                }
            }
            match metadata {
                Ok(found) if found.is_dir() => {
                    if entered.insert((found.dev(), found.ino())) {
                        directories.push(path);
                    }
                }
                metadata => add(&mut hash, &[below(tree, &path), state(metadata).as_bytes()]),
            }
        }
    }
    hex(hash)
}

/// The sorted names in a directory but for `.git`.
fn names_in(directory: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| name != ".git");
    names.sort_unstable();
    Ok(names)
}

fn below<'a>(tree: &Path, path: &'a Path) -> &'a [u8] {
    path.strip_prefix(tree).unwrap_or(path).as_os_str().as_bytes()
}

/// What tells a file from the same one after an edit, but for its content; where that can't be had, why not.
pub(crate) fn state(metadata: io::Result<Metadata>) -> String {
    match metadata {
        Ok(found) => format!("{} {}.{}", found.size(), found.mtime(), found.mtime_nsec()),
        Err(error) => error.kind().to_string(),
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_changes_the_content_hash() {
        let base = content("r", "s", "c");
        assert_eq!(base.len(), ID_DIGITS);
        assert_eq!(base, content("r", "s", "c"));
        for other in [
            content("x", "s", "c"),
            content("r", "x", "c"),
            content("r", "s", "x"),
            content("rs", "", "c"),
        ] {
            assert_ne!(base, other);
        }
        let recipe = |text: &str| {
            let fragment = Fragment { label: "x".into(), text: text.into(), shipped: false };
            super::recipe(&[fragment])
        };
        assert_ne!(recipe("CONFIG_A=y"), recipe("CONFIG_A=n"));
        assert_ne!(recipe("# CONFIG_A is not set"), recipe(""));
        assert_eq!(recipe("# CONFIG_A is not set "), recipe("# CONFIG_A is not set"));
        assert_eq!(recipe("CONFIG_A=y"), recipe("# of A\nCONFIG_A=y\n\n"));
    }

    #[test]
    fn hashes_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1
        assert_eq!(
            of_file(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_listing_changes_with_its_files_but_not_with_git() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path();
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(tree.join(".git")).unwrap();
        fs::write(tree.join("a/b/c"), "1").unwrap();
        let listing = || of_listing(tree, |_| true);
        let before = listing();
        fs::write(tree.join(".git/index"), "1").unwrap();
        assert_eq!(listing(), before);
        fs::write(tree.join("a/b/c"), "12").unwrap();
        assert_ne!(listing(), before);
    }

    #[test]
    fn a_listing_follows_links_once_where_it_is_to() {
        use std::os::unix::fs::symlink;
        let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tree = directory.path();
        symlink(other.path(), tree.join("other")).unwrap();
        symlink(tree, other.path().join("back")).unwrap();
        symlink("nowhere", tree.join("gone")).unwrap();
        let follows = |path: &Path| path.starts_with("other");
        let (before, of_itself) = (of_listing(tree, follows), of_listing(tree, |_| false));
        fs::write(other.path().join("file"), "1").unwrap();
        assert_ne!(of_listing(tree, follows), before);
        assert_eq!(of_listing(tree, |_| false), of_itself);
    }

    #[test]
    fn a_link_that_leads_elsewhere_changes_a_listing() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path();
        let link = tree.join("driver");
        let linked = |to: &str| {
            let _ = fs::remove_file(&link);
            symlink(to, &link).unwrap();
            of_listing(tree, |_| true)
        };
        for name in ["a", "b"] {
            fs::create_dir(tree.join(name)).unwrap();
            fs::write(tree.join(name).join("x.c"), "").unwrap();
        }
        assert_ne!(linked("a"), linked("b"));
    }
}
