//! What a program needs of the directories that a guest has of its own: `/tmp`, `/run`, `/dev/shm`.

use std::fs;

use crate::fixture::script;
use crate::package::{Package, has_nextest, output, text, uml};

#[test]
fn the_directories_that_variables_name_are_there() {
    let [temporary, runtime, home] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    fs::write(home.path().join("settings"), "mine\n").unwrap();
    let script = "mktemp && test -d \"$XDG_RUNTIME_DIR\" && test -e ~/settings";
    let mut command = uml(&["exec", "sh", "-c", script]);
    command.env("TMPDIR", temporary.path()).env("XDG_RUNTIME_DIR", runtime.path());
    command.env("HOME", home.path());
    let said = output(&mut command);
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&said).starts_with(temporary.path().to_str().unwrap()), "{}", text(&said));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "the guest's file");
    // A guest's own is fresh.
    let mut command = uml(&["exec", "sh", "-c", "ls -A /dev/shm"]);
    let said = output(command.env("TMPDIR", "/dev/shm"));
    assert!(said.status.success(), "{}", text(&said));
    assert_eq!(text(&said), "");
    let mut command = uml(&["exec", "ls", "-A", "/tmp"]);
    let said = output(command.env("HOME", "/tmp").env_remove("TMPDIR").current_dir("/"));
    assert!(said.status.success(), "{}", text(&said));
    assert!(!text(&said).contains(home.path().file_name().unwrap().to_str().unwrap()));
}

/// As in a plain directory of a host's, which `/tmp` is on many.
#[test]
fn devices_and_setuid_files_work_there() {
    for place in ["/tmp", "/run", "/dev/shm"] {
        let script = "cd \"$0\" && mknod null c 1 3 && echo gone > null && cp \"$(command -v id)\" id && \
                      chmod u+s id && setpriv --reuid=1 ./id -u";
        let said = output(&mut uml(&["exec", "sh", "-c", script, place]));
        assert_eq!((said.status.code(), &*text(&said)), (Some(0), "0\n"), "{place}");
    }
}

/// A prefix with a program that reads a file beside it, in a new directory.
fn tool(place: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(place).unwrap();
    fs::create_dir_all(dir.path().join("tool/share")).unwrap();
    fs::write(dir.path().join("tool/share/word"), "found\n").unwrap();
    script(&dir.path().join("tool/bin/the-tool"), "cat \"${0%/*}/../share/word\"\n");
    dir
}

#[test]
fn programs_of_the_path_are_there_with_what_is_beside_them() {
    let (below, other) = (tool("/tmp"), tool("/tmp"));
    // Not all of /tmp for that, also if it is in PATH itself.
    let bin = below.path().join("tool/bin");
    let path = format!("{}:/tmp:{}", bin.display(), std::env::var("PATH").unwrap());
    let asks = format!("the-tool; test ! -e {}", other.path().display());
    let mut exec = uml(&["exec", "sh", "-c", &asks]);
    let said = output(exec.env("PATH", &path).env_remove("TMPDIR"));
    assert!(said.status.success() && said.stdout == b"found\n", "{}", text(&said));
}

/// As NixOS has all of its PATH, and the shell: `/run/current-system/sw/bin`.
#[test]
fn programs_of_the_path_may_be_found_by_way_of_a_link() {
    let (elsewhere, links) = (tool("/var/tmp"), tempfile::tempdir_in("/tmp").unwrap());
    let link = links.path().join("current");
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let bin = link.join("tool/bin");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let said = output(uml(&["exec", "the-tool"]).env("PATH", &path).env_remove("TMPDIR"));
    assert!(said.status.success() && said.stdout == b"found\n", "{}", text(&said));
    let mut shell = uml(&["shell"]);
    let said = output(shell.env("SHELL", bin.join("the-tool")).env_remove("TMPDIR"));
    assert!(said.status.success() && said.stdout == b"found\n", "{}", text(&said));
}

/// Three ways to have it elsewhere, below `/tmp`.
#[test]
fn the_target_directory_is_there_wherever_it_is() {
    let package = Package::new();
    package.write(
        "tests/writes.rs",
        "#[test]\nfn writes() { std::fs::write(concat!(env!(\"CARGO_TARGET_TMPDIR\"), \"/x\"), \"x\").unwrap() }",
    );
    let target = tempfile::tempdir_in("/tmp").unwrap();
    let target = target.path().to_str().unwrap();
    let config = format!("[build]\ntarget-dir = {target:?}\n");
    let test = |way: &[&str]| {
        let mut test = package.uml(&[way, &["--test", "writes"]].concat());
        let said = output(test.env_remove("TMPDIR"));
        assert!(said.status.success(), "{way:?}: {}", text(&said));
    };
    test(&["test", "--target-dir", target]);
    package.write(".cargo/config.toml", &config);
    test(&["test"]);
    if has_nextest() {
        test(&["nextest", "run"]);
    }
}
