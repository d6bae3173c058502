//! Fixtures in another place, and as a user without privileges runs them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::executable;
use crate::fixtures::{Fixtures, package_dir, target_dir, workspace_dir};

/// `nobody`, by convention.
const NOBODY: &str = "65534";

/// Whether there are privileges to drop.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What has to stand before a command that `nobody` is to run; nothing for who has no privileges.
pub(crate) fn as_nobody() -> &'static [&'static str] {
    match is_root() {
        true => &["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"],
        false => &[],
    }
}

/// Makes that user the owner.
pub(crate) fn give_away(path: &Path) {
    if is_root() {
        let nobody = NOBODY.parse().ok();
        std::os::unix::fs::chown(path, nobody, nobody).unwrap();
    }
}

/// Copies of the kernel and the fixtures that everybody can read, wherever the originals lie.
#[derive(Debug)]
pub(crate) struct Copies {
    dir: tempfile::TempDir,
}

impl Copies {
    /// In a new directory in this one, as nextest expects them: a workspace and a target directory.
    pub(crate) fn new(fixtures: &Fixtures, place: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("e2e-copies-").tempdir_in(place).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let copies = Self { dir };
        fs::create_dir_all(copies.package_dir()).unwrap();
        // nextest wants to see one, and does not read it.
        fs::write(copies.workspace().join("Cargo.toml"), "").unwrap();
        // By which uml-test knows a target directory.
        fs::create_dir_all(copies.target()).unwrap();
        fs::write(copies.target().join("CACHEDIR.TAG"), "").unwrap();
        let files = [&fixtures.libtest, &fixtures.custom].map(|file| (file, copies.of(file)));
        for (from, to) in files.into_iter().chain([(&fixtures.kernel, copies.kernel())]) {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            executable(&to, 0o755, |to| assert!(fs::copy(from, to).unwrap() > 0));
        }
        copies
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.dir.path().join("linux")
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    /// Where tests run.
    pub(crate) fn package_dir(&self) -> PathBuf {
        self.workspace().join(package_dir().strip_prefix(workspace_dir()).unwrap())
    }

    /// The copy of a file of the target directory.
    pub(crate) fn of(&self, file: &Path) -> PathBuf {
        self.target().join(file.strip_prefix(target_dir()).unwrap())
    }
}
