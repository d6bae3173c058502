//! `cargo uml doctor` on hosts that are broken in one way each, and on one that is not. The kernel is a real one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::fixture::{forgo, has_modprobe, real_kernel, run};
use crate::mirror::Mirror;

const NO_GUEST: i32 = 10;

/// A cache directory of its own with the real kernel in it, as a link.
fn cache() -> TempDir {
    let cache = tempfile::tempdir().unwrap();
    link_real_kernel(&cache.path().join("kernels/real"));
    cache
}

/// Makes a kernel's directory whose files are links, so that nothing is written where the kernel really is.
pub(crate) fn link_real_kernel(directory: &Path) {
    let kernel = real_kernel();
    fs::create_dir_all(directory).unwrap();
    for name in ["linux", "kernel.toml"] {
        symlink(kernel.with_file_name(name), directory.join(name)).unwrap();
    }
}

/// `program ARGUMENTS…`, with only the environment that a doctor needs.
fn plain(program: &str, cache: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("UML_TEST_")) {
        command.env_remove(name);
    }
    command.env("UML_TEST_CACHE_DIR", cache).current_dir("/");
    command
}

fn doctor(cache: &Path) -> Command {
    let mut command = plain(env!("CARGO_BIN_EXE_cargo-uml"), cache);
    command.args(["uml", "doctor", "--format", "json"]);
    command
}

/// A doctor that a shell starts after `before`.
fn doctor_after(before: &str, cache: &Path) -> Command {
    let mut command = plain("sh", cache);
    let doctor = env!("CARGO_BIN_EXE_cargo-uml");
    command.args(["-c", &format!("{before} && exec {doctor} doctor --format json")]);
    command
}

/// The report, of a run that ended with `code`.
#[track_caller]
fn report(command: &mut Command, code: i32) -> Value {
    let run = run(command);
    assert_eq!(run.code, Some(code), "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["guest_runs"], code == 0);
    report
}

/// What a check found, with its remedy after it. The state must be `state`.
#[track_caller]
fn found(report: &Value, check: &str, state: &str) -> String {
    let checks = report["checks"].as_array().unwrap();
    let finding = checks.iter().find(|finding| finding["check"] == check).unwrap();
    assert_eq!(finding["state"], state, "{finding}");
    let remedy = finding["remedy"].as_str().unwrap_or_default();
    assert_eq!(remedy.is_empty(), matches!(state, "ok" | "skipped"), "{finding}");
    format!("{}\n{remedy}", finding["found"].as_str().unwrap())
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing from: {text}");
    }
}

#[test]
fn a_guest_boots_where_all_is_well() {
    let cache = cache();
    let report = report(&mut doctor(cache.path()), 0);
    contains(&found(&report, "guest", "ok"), &["Linux ", "booted in ", "powered off"]);
    contains(&found(&report, "kernel", "ok"), &["the newest in the cache"]);
    contains(&found(&report, "host", "ok"), &["Linux ", "x86_64"]);
    contains(&found(&report, "ptrace", "ok"), &[]);
    contains(&found(&report, "seccomp", "ok"), &[]);
    contains(&found(&report, "memory directory", "ok"), &["MiB free"]);
    contains(&found(&report, "agent", "ok"), &["can be executed, from a file in memory"]);
    assert!(!report.to_string().contains("package mirror"));

    let mut text = plain(env!("CARGO_BIN_EXE_cargo-uml"), cache.path());
    let text = run(text.arg("doctor"));
    assert_eq!((text.code, text.stderr.as_str()), (Some(0), ""), "{text:?}");
    assert!(text.stdout.ends_with("\nGuests run here.\n"), "{}", text.stdout);
}

#[test]
fn without_a_kernel() {
    let cache = tempfile::tempdir().unwrap();
    let mut command = doctor(cache.path());
    let report = report(command.env("PATH", "/nonexistent"), NO_GUEST);
    contains(
        &found(&report, "kernel", "failed"),
        &["no User Mode Linux kernel found", "cargo uml setup"],
    );
    contains(&found(&report, "cached kernels", "warning"), &["none in ", "cargo uml setup"]);
    found(&report, "guest", "skipped");
    // Neither are there tools to build one.
    contains(&found(&report, "build tools", "warning"), &["gcc", "make"]);
}

#[test]
fn with_a_kernel_that_is_none() {
    let cache = cache();
    let path = cache.path().join("linux");
    let chosen = |text: &str, mode| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let report = report(doctor(cache.path()).env("UML_TEST_KERNEL", &path), NO_GUEST);
        found(&report, "guest", "skipped");
        found(&report, "kernel", "failed")
    };
    contains(&chosen("#!/bin/sh\n", 0o755), &["UML_TEST_KERNEL", "not an ELF executable"]);
    fs::remove_file(&path).unwrap();
    fs::copy("/bin/true", &path).unwrap();
    let elf = fs::read(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let report = report(doctor(cache.path()).env("UML_TEST_KERNEL", &path), NO_GUEST);
    contains(&found(&report, "kernel", "failed"), &["not executable"]);
    assert!(elf.starts_with(b"\x7fELF"));
}

/// A program that says a version and is no kernel, or hangs.
#[test]
fn with_a_kernel_that_does_not_boot_or_never_answers() {
    let cache = cache();
    let build = |name: &str, body: &str| {
        let path = cache.path().join(name);
        let source = path.with_extension("c");
        fs::write(
            &source,
            format!(
                "#include <stdio.h>\n#include <unistd.h>\nint main(int c, char **v) {{ {body} }}\n"
            ),
        )
        .unwrap();
        assert!(Command::new("gcc").arg("-o").arg(&path).arg(&source).status().unwrap().success());
        path
    };
    let no_kernel = build("no-kernel", "if (c == 2) puts(\"7.2.99\"); return c != 2;");
    let none = report(doctor(cache.path()).env("UML_TEST_KERNEL", &no_kernel), NO_GUEST);
    contains(&found(&none, "kernel", "ok"), &["Linux 7.2.99"]);
    contains(&found(&none, "guest", "failed"), &["none came up", "exit code 1"]);

    let hangs = build("hangs", "for (;;) pause();");
    let started = Instant::now();
    let hung = report(doctor(cache.path()).env("UML_TEST_KERNEL", &hangs), NO_GUEST);
    contains(&found(&hung, "kernel", "failed"), &["no end of `--version` after 5s"]);
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn with_a_damaged_kernel_and_a_name_that_leads_nowhere() {
    let cache = cache();
    let damaged = cache.path().join("kernels/7.2.99-0123456789ab");
    fs::create_dir_all(&damaged).unwrap();
    fs::create_dir(cache.path().join("names")).unwrap();
    fs::write(damaged.join("linux"), "something else").unwrap();
    fs::write(damaged.join("kernel.toml"), "sha256 = \"00\"\n").unwrap();
    symlink("../kernels/gone", cache.path().join("names/6.1:debug")).unwrap();
    symlink("../kernels/real", cache.path().join("names/default")).unwrap();
    let report = report(&mut doctor(cache.path()), 0);
    let text = found(&report, "cached kernels", "warning");
    contains(
        &text,
        &["7.2.99-0123456789ab: damaged", "(default)", "names of kernels that are gone: 6.1/debug"],
    );
    let mut path = plain(env!("CARGO_BIN_EXE_cargo-uml"), cache.path());
    run(path.args(["kernel", "path", "6.1/debug"]))
        .fails(1, &["no kernel is called 6.1/debug; there are: none"]);
}

#[test]
fn with_modules_that_nothing_may_load() {
    let cache = cache();
    let without = report(doctor(cache.path()).env("UML_TEST_KERNEL", "/none"), NO_GUEST);
    contains(&found(&without, "modules", "ok"), &["no cached kernel has any"]);
    fs::create_dir(cache.path().join("kernels/real/modules")).unwrap();
    let with = report(doctor(cache.path()).env("UML_TEST_KERNEL", "/none"), NO_GUEST);
    match has_modprobe() {
        true => contains(&found(&with, "modules", "ok"), &["load those of real"]),
        false => contains(&found(&with, "modules", "warning"), &["the modules of real", "kmod"]),
    }
}

#[test]
fn the_mirror_is_asked_on_request_only() {
    let mirror = Mirror::new();
    let doctor = |arguments: &[&str]| {
        let arguments = [&["doctor", "--format", "json"], arguments].concat();
        report(&mut mirror.uml(&arguments), NO_GUEST)
    };
    assert!(!doctor(&[]).to_string().contains("package mirror"));
    assert_eq!(mirror.calls(), "");
    let offered = doctor(&["--network"]);
    contains(&found(&offered, "package mirror", "ok"), &["offers linux-source-7.2 7.2.99-1"]);
    mirror.set_offline();
    let offline = doctor(&["--network"]);
    let text = found(&offline, "package mirror", "warning");
    contains(&text, &["could not connect", "cargo uml setup --source"]);
}

/// The report of a doctor with this setting, on a host that refuses these system calls.
fn report_without(calls: &[i64], sandbox: &'static str, code: i32) -> Value {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let host = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, host).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    // The filter is the thread's, and of what it starts.
    let examination = std::thread::spawn(move || {
        apply_filter(&filter).unwrap();
        let cache = cache();
        report(doctor(cache.path()).env("UML_TEST_SANDBOX", sandbox), code)
    });
    examination.join().unwrap()
}

#[test]
fn without_a_way_to_trap_system_calls() {
    let (ptrace, seccomp) = (libc::SYS_ptrace, libc::SYS_seccomp);
    let report = report_without(&[ptrace], "auto", 0);
    let text = found(&report, "ptrace", "warning");
    contains(&text, &["can't be traced", "not permitted", "SYS_PTRACE"]);
    found(&report, "seccomp", "ok");

    // By ptrace it would do, but the sandbox takes a filter.
    let report = report_without(&[seccomp], "auto", NO_GUEST);
    let text = found(&report, "seccomp", "failed");
    contains(&text, &["no filter can be used", "UML_TEST_SANDBOX=off"]);
    found(&report, "ptrace", "ok");
    found(&report, "guest", "failed");
    found(&report_without(&[seccomp], "off", 0), "seccomp", "warning");

    let report = report_without(&[ptrace, seccomp], "off", NO_GUEST);
    for check in ["ptrace", "seccomp", "guest"] {
        found(&report, check, "failed");
    }
}

#[test]
fn without_a_build_tool() {
    let cache = cache();
    let programs = tempfile::tempdir().unwrap();
    for part in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
        for program in fs::read_dir(part).into_iter().flatten().flatten() {
            if program.file_name() != "make" && program.file_name() != "flex" {
                let _ = symlink(program.path(), programs.path().join(program.file_name()));
            }
        }
    }
    let report = report(doctor(cache.path()).env("PATH", programs.path()), 0);
    contains(&found(&report, "build tools", "warning"), &["without make, flex", "install"]);
}

#[test]
fn with_limits_that_are_too_low() {
    let cache = cache();
    // In units of 512 bytes or 1 KiB, depending on the shell: at most 10 MiB.
    let report_of = |limit: &str| report(&mut doctor_after(limit, cache.path()), NO_GUEST);
    let small_files = report_of("ulimit -f 10240");
    contains(
        &found(&small_files, "limits", "failed"),
        &["RLIMIT_FSIZE", "131072 KiB", "ulimit -Hf"],
    );
    found(&small_files, "guest", "failed");
    let small_space = report_of("ulimit -v 102400");
    contains(&found(&small_space, "limits", "failed"), &["100 MiB of address space", "ulimit -v"]);
    found(&small_space, "guest", "failed");
}

#[test]
fn with_a_memory_directory_that_is_not_fit() {
    let cache = cache();
    let mut command = doctor(cache.path());
    let report = report(command.env("UML_TEST_RUN_DIR", "/nonexistent"), NO_GUEST);
    let text = found(&report, "memory directory", "failed");
    contains(&text, &["/nonexistent: No such file", "UML_TEST_RUN_DIR"]);
    found(&report, "guest", "failed");
}

#[test]
fn with_settings_that_are_wrong() {
    let cache = cache();
    let report = report(doctor(cache.path()).env("UML_TEST_MEM", "lots"), NO_GUEST);
    contains(&found(&report, "settings", "failed"), &["UML_TEST_MEM", "lots"]);
    for check in ["memory directory", "limits", "agent", "kernel", "guest"] {
        found(&report, check, "skipped");
    }
}

/// The setting is that of a PID namespace.
#[test]
fn without_executable_files_in_memory() {
    const FORBID: &str = "echo 2 >/proc/sys/vm/memfd_noexec";
    let cache = cache();
    let doctor = |variables: &str| {
        let mut command = plain("unshare", cache.path());
        let doctor = env!("CARGO_BIN_EXE_cargo-uml");
        let script = format!("{FORBID} && {variables} exec {doctor} doctor --format json");
        command.args(["-rpf", "--mount-proc", "sh", "-c", &script]);
        command
    };
    let can = Command::new("unshare").args(["-rpf", "--mount-proc", "sh", "-c", FORBID]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        return forgo("user namespaces, or Linux 6.6");
    }
    let elsewhere = report(&mut doctor(""), 0);
    contains(&found(&elsewhere, "agent", "ok"), &["a file without a name in /"]);
    let nowhere = report(&mut doctor("UML_TEST_RUN_DIR=/nonexistent"), NO_GUEST);
    contains(&found(&nowhere, "agent", "failed"), &["write the agent", "memfd_noexec"]);
}

#[test]
fn inside_a_guest() {
    let vm = uml_test::Vm::builder()
        .kernel(real_kernel())
        .timeout(Duration::from_secs(120))
        .boot()
        .unwrap();
    let output = vm
        .command(env!("CARGO_BIN_EXE_cargo-uml"))
        .args(["doctor", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(NO_GUEST), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    contains(&found(&report, "host", "failed"), &["itself a User Mode Linux guest"]);
    found(&report, "guest", "skipped");
}
