//! The fixtures as a user without privileges runs them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::command;
use crate::fixtures::Fixtures;
use crate::left::Base;

/// `nobody`, by convention.
const NOBODY: u32 = 65534;

/// Whether there are privileges to drop.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Copies that everybody can read, wherever the originals lie, and a base directory that `nobody`
/// owns.
pub(crate) struct Unprivileged {
    dir: tempfile::TempDir,
    pub(crate) base: Base,
}

impl Unprivileged {
    pub(crate) fn new(fixtures: &Fixtures) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let copies = [
            (&fixtures.kernel, "linux"),
            (&fixtures.libtest, "libtest"),
            (&fixtures.custom, "custom"),
        ];
        for (from, to) in copies {
            let to = dir.path().join(to);
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
        }
        let base = Base::new();
        give_away(base.path());
        Self { dir, base }
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.dir.path().join("linux")
    }

    /// One fixture of one of the two binaries, as that user.
    pub(crate) fn command(&self, binary: &str, name: &str) -> Command {
        let mut command = if is_root() {
            let mut command = command("setpriv", &self.kernel());
            let user = NOBODY.to_string();
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
            command.arg(self.dir.path().join(binary));
            command
        } else {
            command(self.dir.path().join(binary), &self.kernel())
        };
        command
            .args(["--exact", name])
            .current_dir(self.dir.path())
            .env("CARGO_MANIFEST_DIR", self.dir.path())
            .env("UML_TEST_RUN_DIR", self.base.path())
            .env("UML_TEST_SANDBOX", "require");
        command
    }
}

/// Makes that user the owner.
pub(crate) fn give_away(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}
