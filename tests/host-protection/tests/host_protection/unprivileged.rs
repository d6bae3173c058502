//! Running a test once more as a user without privileges.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};
use std::time::Duration;

use wait_timeout::ChildExt;

use crate::scenarios::kernel;

/// A user that nothing else runs as and that owns nothing. It needs no entry in /etc/passwd.
const USER: u32 = 64_321;

/// Runs the test of that name as [`USER`], from a directory that this user may enter: the build
/// directory may lie in somebody's home.
///
/// # Errors
/// What the test printed, where it did not pass.
pub(crate) fn run(name: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("prepare a run as another user: {error}");
    let dir = tempfile::Builder::new().prefix("hp-").tempdir().map_err(failed)?;
    let (program, linux) = (dir.path().join("host_protection"), dir.path().join("linux"));
    let copy = || {
        fs::copy(std::env::current_exe()?, &program)?;
        fs::copy(kernel(), &linux)?;
        fs::set_permissions(&linux, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        chown(dir.path(), Some(USER), Some(USER))
    };
    copy().map_err(failed)?;
    let id = USER.to_string();
    let output = fs::File::create(dir.path().join("output")).map_err(failed)?;
    let mut child = Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all", "--"])
        .arg(&program)
        .args(["--exact", name])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", dir.path())
        .env("UML_TEST_KERNEL", &linux)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output)
        .spawn()
        .map_err(failed)?;
    let ended = child.wait_timeout(Duration::from_secs(60)).map_err(failed)?;
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let output = fs::read_to_string(dir.path().join("output")).map_err(failed)?;
    match ended {
        // A name that matches nothing succeeds too.
        Some(status) if status.success() && output.contains("1 passed") => Ok(()),
        Some(status) => Err(format!("as user {USER}: {status}\n{output}")),
        None => Err(format!("as user {USER}: still running after a minute\n{output}")),
    }
}
