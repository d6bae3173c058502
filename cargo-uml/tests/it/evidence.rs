//! What is left of a run that ended badly: the console, what the program wrote, and why it ended.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::fixture::{forgo, real_kernel};
use crate::package::{Package, output, text, uml};
use crate::run::compiled;

/// The path behind a word, at the end of what was said.
fn kept_console(said: &str) -> PathBuf {
    said.rsplit_once("console is in ").unwrap().1.split([':', '\n']).next().unwrap().into()
}

/// The console is all there is to tell why.
#[test]
fn a_guest_that_hangs_while_booting_leaves_its_console() {
    const HANGS: &str = "#include <stdio.h>\n#include <unistd.h>\n\
                         int main(void) { dprintf(4, \"it hangs here\\n\"); for (;;) sleep(1); }\n";
    let dir = tempfile::tempdir().unwrap();
    let kernel = compiled(dir.path(), HANGS, &["-static"]);
    let mut exec = uml(&["exec", "--keep", "--kernel"]);
    let said = output(exec.arg(&kernel).arg("true").env("UML_TEST_BOOT_TIMEOUT", "2s"));
    assert_eq!(said.status.code(), Some(125), "{}", text(&said));
    let shown = text(&said);
    let quoted = "---- last lines of the guest's console ----\nit hangs here\n";
    assert!(shown.contains("still booting after 2s") && shown.contains(quoted), "{shown}");
    assert!(shown.contains("raise UML_TEST_BOOT_TIMEOUT"), "{shown}");
    let console = kept_console(&shown);
    assert_eq!(fs::read_to_string(&console).unwrap(), "it hangs here\n");
    fs::remove_file(console).unwrap();

    // Its own limit is one, also where it passes while it boots.
    let said = output(uml(&["exec", "--timeout=1s", "--kernel"]).arg(&kernel).arg("true"));
    assert_eq!(said.status.code(), Some(124), "{}", text(&said));
    assert!(!text(&said).contains("UML_TEST_BOOT_TIMEOUT"), "{}", text(&said));
}

/// The limits of the host, as a shell sets them: a program's end is its own, and what keeps a guest from coming up is
/// named.
#[test]
fn limits_of_the_host_are_no_faults_of_a_program() {
    let limited = |limit: &str, program: &[&str]| {
        let script = format!("ulimit {limit} && exec \"$0\" exec \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_cargo-uml")]).args(program);
        output(command.env("UML_TEST_KERNEL", real_kernel()))
    };
    let said = limited("-St 1", &["sh", "-c", "while :; do :; done"]);
    assert_eq!(said.status.signal(), Some(Signal::SIGXCPU as i32), "{}", text(&said));
    let said = limited("-t 2", &["sh", "-c", "while :; do :; done"]);
    assert_eq!(said.status.signal(), Some(Signal::SIGKILL as i32), "{}", text(&said));
    for limit in ["-f 100", "-f 100000", "-Sf 100"] {
        let said = limited(limit, &["true"]);
        assert_eq!(said.status.code(), Some(125), "{limit}: {}", text(&said));
        assert!(text(&said).contains("RLIMIT_FSIZE"), "{limit}: {}", text(&said));
    }
    // What the host allows is enough.
    assert!(limited("-f 262144", &["--mem", "256M", "true"]).status.success());
}

/// Writes a file by way of memory, so that the host has nothing of it before it is written back. Then it ends with a
/// status, if one is given, and hangs if not.
const MAPS: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int fd = open(argv[1], O_RDWR | O_CREAT, 0600);
    size_t size = atoi(argv[2]);
    if (ftruncate(fd, size)) return 100;
    memset(mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), 'x', size);
    if (argc == 3) pause();
    return atoi(argv[3]);
}
"#;

/// It is the evidence of the hang.
#[test]
fn what_a_program_wrote_until_the_time_limit_is_on_the_host() {
    let (programs, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = dir.path().join("file");
    let mut exec = uml(&["exec", "--timeout=5s", "--rw-dir"]);
    exec.arg(dir.path()).arg(compiled(programs.path(), MAPS, &[])).arg(&file).arg("4096");
    let said = output(&mut exec);
    assert_eq!(said.status.code(), Some(124), "{}", text(&said));
    assert!(fs::read(file).unwrap() == [b'x'; 4096], "{}", text(&said));
}

/// The program's end and the console are known all the same; but a success is none.
#[test]
fn what_cannot_be_written_back_is_told_beside_the_programs_end() {
    const SMALL: &str = "mount -t tmpfs -o size=256k small \"$1\" && \
                         exec \"$0\" exec --keep --rw-dir \"$1\" \"$2\" \"$1/x\" 4000000 $3";
    let (programs, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let program = compiled(programs.path(), MAPS, &[]);
    let within = |script: &str, status: &str| {
        let mut command = Command::new("unshare");
        let user = if nix::unistd::getuid().is_root() { &[][..] } else { &["--map-root-user"] };
        command.args(user).args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_cargo-uml")]);
        command.arg(dir.path()).arg(&program).arg(status);
        output(command.env("UML_TEST_KERNEL", real_kernel()))
    };
    if !within("mount -t tmpfs small \"$1\"", "").status.success() {
        return forgo("namespaces of mounts");
    }
    for (status, code) in [("3", 3), ("0", 125)] {
        let said = within(SMALL, status);
        let shown = text(&said);
        assert_eq!(said.status.code(), Some(code), "{shown}");
        assert!(shown.contains("not all that the program wrote may be on the host: "), "{shown}");
        fs::remove_file(kept_console(&shown)).unwrap();
    }
}

/// By what the agent has found in the kernel's log, not by what anybody can write there.
#[test]
fn a_pretended_lack_of_memory_is_none() {
    let pretends =
        "echo \"Out of memory: Killed process $$ (sh) total-vm:1kB\" > /dev/kmsg; kill -9 $$";
    let said = output(&mut uml(&["exec", "sh", "-c", pretends]));
    assert_eq!(said.status.signal(), Some(9));
    assert!(!text(&said).contains("--mem"), "{}", text(&said));
}

/// A hint only: what became of the program is its own affair.
#[test]
fn a_lack_of_memory_elsewhere_in_the_guest_is_told() {
    const TAKES_ALL: &str = "dd if=/dev/zero of=/dev/null bs=1G count=1";
    let run = |script: &str| {
        let said = output(&mut uml(&["exec", "--mem", "128M", "sh", "-c", script]));
        (said.status.code(), text(&said))
    };
    let (code, shown) = run(&format!("({TAKES_ALL}); exit 7"));
    assert_eq!(code, Some(7), "{shown}");
    let kills = "the guest's kernel killed dd (pid ";
    assert!(shown.contains(kills) && shown.contains("for lack of memory; --mem"), "{shown}");
    let (code, shown) = run(&format!("({TAKES_ALL}); true"));
    assert!(code == Some(0) && !shown.contains("--mem"), "{shown}");
    let package = Package::new();
    package.write(
        "tests/child.rs",
        &format!(
            "#[test]\nfn child() {{\n    let mut dd = std::process::Command::new(\"sh\");\n    \
             assert!(dd.args([\"-c\", \"{TAKES_ALL}; exit $?\"]).status().unwrap().success());\n}}\n"
        ),
    );
    let test = ["test", "--isolate", "--mem=128M", "--test", "child"];
    let shown = text(&output(&mut package.uml(&test)));
    assert!(shown.contains("test child ... FAILED") && shown.contains(kills), "{shown}");
    // What must not be killed leaves the kernel nothing but to panic.
    let (code, shown) = run(&format!("echo -1000 > /proc/self/oom_score_adj; exec {TAKES_ALL}"));
    assert_eq!(code, Some(125), "{shown}");
    assert!(
        shown.contains("that panic is for lack of memory; give the guest more with --mem"),
        "{shown}"
    );
}
