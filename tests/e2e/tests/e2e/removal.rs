//! `rm -rf` in a guest, over what the host's user owns: the host does not change.
//!
//! Run without privileges, and with the sandbox required: if all else fails, what can go is what
//! `nobody` owns.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::fixtures::Fixtures;
use crate::user::{Copies, give_away};
use crate::verdicts::Problem;
use crate::ways::{Verdict, Wanted, Way};

/// A path's mode, owner, size, time of change, and content.
type Listing = BTreeMap<PathBuf, (u32, u32, u64, i64, i64, Vec<u8>)>;

pub(crate) fn of_a_tree(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    leaves_the_host_alone(fixtures, way, "cases::host::removes_a_tree")
}

pub(crate) fn of_everything(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    leaves_the_host_alone(fixtures, way, "cases::host::removes_everything")
}

fn leaves_the_host_alone(fixtures: &Fixtures, way: Way, name: &str) -> Result<(), Problem> {
    let copies = Copies::new(fixtures, Path::new("/tmp"));
    let tree = tree();
    let places = [tree.path(), Path::new("/etc"), Path::new("/usr/bin")];
    let before = places.map(|place| list(place, place == tree.path()));
    assert!(before[0].len() > 100);
    let wanted = Wanted {
        only: Some(name),
        copies: Some(&copies),
        as_nobody: true,
        env: &[("E2E_TREE", tree.path().to_str().unwrap()), ("UML_TEST_SANDBOX", "require")],
        ..Wanted::default()
    };
    let Some((shown, _)) = way.run(fixtures, &wanted) else { return Err(Problem::NoNextest) };
    // A skipped test passes too under libtest.
    let text = &shown[name].text;
    assert_eq!(
        (shown[name].verdict, text.contains("skipped: ")),
        (Verdict::Passed, false),
        "{text}"
    );
    for (place, before) in places.iter().zip(&before) {
        let after = list(place, *place == tree.path());
        assert!(*before == after, "{:?}", difference(before, &after));
    }
    Ok(())
}

/// Directories, files and links, outside of what guests mount anew.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::Builder::new().prefix("e2e-tree-").tempdir_in("/var/tmp").unwrap();
    give_away(tree.path());
    for number in 0..30 {
        let dir = tree.path().join(format!("d{number}"));
        fs::create_dir(&dir).unwrap();
        give_away(&dir);
        for file in 0..5 {
            let path = dir.join(format!("f{file}"));
            fs::write(&path, format!("{number} {file}").repeat(50)).unwrap();
            give_away(&path);
        }
        std::os::unix::fs::symlink("f0", dir.join("link")).unwrap();
    }
    tree
}

fn list(place: &Path, with_content: bool) -> Listing {
    let mut listing = Listing::new();
    let mut places = vec![place.to_owned()];
    while let Some(place) = places.pop() {
        let Ok(found) = fs::symlink_metadata(&place) else { continue };
        if found.is_dir() {
            let entries = fs::read_dir(&place).into_iter().flatten().flatten();
            places.extend(entries.map(|entry| entry.path()));
        }
        let content = match with_content && found.is_file() {
            true => fs::read(&place).unwrap(),
            false => Vec::new(),
        };
        let facts =
            (found.mode(), found.uid(), found.size(), found.ctime(), found.ctime_nsec(), content);
        listing.insert(place, facts);
    }
    listing
}

fn difference(before: &Listing, after: &Listing) -> Vec<PathBuf> {
    let paths = before.keys().chain(after.keys());
    paths.filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}
