//! Kernels that are missing, are none, do not boot, or never finish booting.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::executable;
use crate::fixtures::Fixtures;
use crate::table::Kind;
use crate::verdicts::{Problem, wrong_kinds};
use crate::ways::{Verdict, Wanted, Way};

/// How soon all of these have to be told of.
const LIMIT: Duration = Duration::from_secs(10);

/// An executable that waits for ever and says nothing: `pause(2)` in a loop.
#[rustfmt::skip]
const SILENT: [u8; 0x80 + 9] = {
    let mut file = [0; 0x80 + 9];
    let header: [u8; 0x78] = [
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        2, 0, 62, 0, 1, 0, 0, 0, 0x80, 0, 0x40, 0, 0, 0, 0, 0, // entry 0x400080
        0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // program header at 0x40
        0, 0, 0, 0, 0x40, 0, 0x38, 0, 1, 0, 0x40, 0, 0, 0, 0, 0,
        1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // PT_LOAD, read and execute, offset 0
        0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, // at 0x400000
        0x89, 0, 0, 0, 0, 0, 0, 0, 0x89, 0, 0, 0, 0, 0, 0, 0, // the whole file
        0, 0x10, 0, 0, 0, 0, 0, 0,
    ];
    let code: [u8; 9] = [0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
    let mut at = 0;
    while at < header.len() { file[at] = header[at]; at += 1; }
    let mut at = 0;
    while at < code.len() { file[0x80 + at] = code[at]; at += 1; }
    file
};

/// A kernel or its settings, and what the report says of it.
struct Case {
    kernel: Option<PathBuf>,
    env: Vec<(&'static str, &'static str)>,
    says: Vec<&'static str>,
}

/// Without a limit of the caller's: the built-in one is short enough.
pub(crate) fn silent(fixtures: &Fixtures) {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("silent");
    executable(&kernel, 0o755, |kernel| fs::write(kernel, SILENT).unwrap());
    let env = [("UML_TEST_KERNEL", kernel.to_str().unwrap())];
    let name = "cases::verdicts::passes";
    let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
    let (shown, finished) = Way::Custom.run(fixtures, &wanted).unwrap();
    let text = &shown[name].text;
    assert_eq!(shown[name].verdict, Verdict::Failed, "{text}");
    for says in ["still booting after 8s", "UML_TEST_BOOT_TIMEOUT", "cargo uml kernel build"] {
        assert!(text.contains(says), "nothing says `{says}`: {text}");
    }
    assert!(finished.took < LIMIT, "{:?}", finished.took);
}

/// One that nothing but `PATH` leads to, by either of its names, and none at all: then every place is named, and the
/// command that provides one.
pub(crate) fn along_path(fixtures: &Fixtures) {
    let dir = tempfile::tempdir().unwrap();
    let (empty, full) = (dir.path().join("empty"), dir.path().join("full"));
    let cache = dir.path().join("cache");
    for dir in [&empty, &full] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(empty.join("linux"), "#!/bin/sh\n").unwrap();
    let (empty, full) = (empty.to_str().unwrap(), full.to_str().unwrap());
    let path = format!("{empty}:{full}");
    let name = "cases::verdicts::passes";
    let env = [
        ("UML_TEST_KERNEL", ""),
        ("UML_TEST_CACHE_DIR", cache.to_str().unwrap()),
        ("PATH", &*path),
    ];
    let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
    for program in ["linux", "linux.uml"] {
        let link = Path::new(full).join(program);
        std::os::unix::fs::symlink(&fixtures.kernel, &link).unwrap();
        let (shown, finished) = Way::Custom.run(fixtures, &wanted).unwrap();
        assert!(shown[name].has_passed(), "{program}: {}", finished.text());
        fs::remove_file(link).unwrap();
    }
    let cache = cache.display();

    // What turns out to be none only when it is booted.
    std::os::unix::fs::symlink("/bin/true", Path::new(full).join("linux")).unwrap();
    let (shown, _) = Way::Custom.run(fixtures, &wanted).unwrap();
    let text = &shown[name].text;
    assert_eq!(shown[name].verdict, Verdict::Failed, "{text}");
    for says in [
        format!("guest kernel: {full}/linux (from PATH), looked for after"),
        format!("{cache}/names/default: none"),
        format!("{cache}/kernels/*/linux: none"),
        format!("{empty}/linux: not an ELF executable"),
        "`cargo uml kernel build`".to_owned(),
    ] {
        assert!(text.contains(&says), "nothing says `{says}`: {text}");
    }
    fs::remove_file(Path::new(full).join("linux")).unwrap();

    let (shown, finished) = Way::Custom.run(fixtures, &wanted).unwrap();
    let text = &shown[name].text;
    assert_eq!(shown[name].verdict, Verdict::Failed, "{text}");
    for says in [
        format!("{cache}/names/default: none"),
        format!("{cache}/kernels/*/linux: none"),
        format!("{empty}/linux: not an ELF executable"),
        format!("linux and linux.uml along PATH={path}: none"),
        "`cargo uml setup`".to_owned(),
    ] {
        assert!(text.contains(&says), "nothing says `{says}`: {text}");
    }
    assert!(finished.took < LIMIT, "{:?}", finished.took);
}

/// Each case through one way, once for a plain test and once for one that shall panic.
pub(crate) fn all(fixtures: &Fixtures, way: Way) -> Result<(), Problem> {
    let dir = tempfile::tempdir().unwrap();
    for case in cases(fixtures, dir.path()) {
        for name in ["cases::verdicts::passes", "cases::verdicts::panics_somehow"] {
            let kernel = case.kernel.as_ref().map_or("", |path| path.to_str().unwrap());
            let mut env = case.env.clone();
            if let Some(kernel) = &case.kernel {
                env.push(("UML_TEST_KERNEL", kernel.to_str().unwrap()));
            }
            let wanted = Wanted { only: Some(name), env: &env, ..Wanted::default() };
            let Some((shown, finished)) = way.run(fixtures, &wanted) else {
                return Err(Problem::NoNextest);
            };
            let shown = &shown[name];
            let what = format!("{name} with {kernel} {:?}:\n{}", case.env, shown.text);
            assert_eq!(shown.verdict, Verdict::Failed, "{what}");
            let wrong = wrong_kinds(Some(Kind::Infrastructure), &shown.text);
            assert!(wrong.is_empty(), "{wrong:?}: {what}");
            for says in &case.says {
                assert!(shown.text.contains(says), "nothing says `{says}`: {what}");
            }
            let which = case.kernel.as_ref().unwrap_or(&fixtures.kernel).display().to_string();
            assert!(shown.text.contains(&which), "nothing says which kernel: {what}");
            assert!(finished.took < LIMIT, "{:?}: {what}", finished.took);
        }
    }
    Ok(())
}

fn cases(fixtures: &Fixtures, dir: &Path) -> Vec<Case> {
    let file = |name: &str, content: &[u8], mode: u32| {
        let path = dir.join(name);
        executable(&path, mode, |path| fs::write(path, content).unwrap());
        Some(path)
    };
    let damaged = |kernel, says: &[&'static str]| Case {
        kernel,
        env: Vec::new(),
        says: [says, &["cargo uml kernel build"]].concat(),
    };
    let booted = |cmdline, says: &[&'static str]| Case {
        kernel: None,
        env: vec![("UML_TEST_CMDLINE", cmdline)],
        says: [says, &["cargo uml kernel build"]].concat(),
    };
    // Others end by themselves, as soon as the host has time for them.
    let endless = |case: Case| Case {
        env: [case.env, vec![("UML_TEST_BOOT_TIMEOUT", "1s")]].concat(),
        says: [case.says, vec!["still booting after 1s"]].concat(),
        ..case
    };
    let kernel = fs::read(&fixtures.kernel).unwrap();
    vec![
        damaged(Some("/nonexistent".into()), &["/nonexistent", "No such file"]),
        damaged(file("script", b"#!/bin/sh\nexit 0\n", 0o755), &["not an ELF executable"]),
        damaged(file("blob", &[0x5a; 4096], 0o755), &["not an ELF executable"]),
        damaged(file("unexecutable", &kernel, 0o644), &["not executable"]),
        damaged(Some("/bin/true".into()), &["ended before the guest was up: exit code 0"]),
        damaged(
            file("without-overlayfs", &without(&kernel, "overlay"), 0o755),
            &["could not set the guest up: mount overlay", "built without that filesystem"],
        ),
        damaged(
            file("without-hostfs", &without(&kernel, "hostfs"), 0o755),
            &["ended before the guest was up", "SIGABRT", "Unable to mount root"],
        ),
        damaged(
            file("newer", &for_a_newer_glibc(kernel), 0o755),
            &["ended before the guest was up: exit code 1", "version `GLIBC_9.99' not found"],
        ),
        endless(damaged(file("silent", &SILENT, 0o755), &[])),
        // Fills its console meanwhile.
        endless(damaged(Some("/usr/bin/yes".into()), &[])),
        endless(booted("root=/dev/none rootwait", &[])),
        booted(
            "rootfstype=none",
            &["ended before the guest was up", "SIGABRT", "Unable to mount root"],
        ),
        booted("init=/nonexistent", &["ended before the guest was up", "SIGABRT", "nonexistent"]),
        // An agent that is none: a program that ends at once.
        booted("rootflags=/ init=/bin/true", &["up", "SIGABRT", "Attempted to kill init"]),
    ]
}

/// The kernel, with a filesystem under a name that nobody mounts: to all others it lacks that one.
fn without(kernel: &[u8], filesystem: &str) -> Vec<u8> {
    let name = format!("{filesystem}\0").into_bytes();
    let mut kernel = kernel.to_vec();
    // The linker has names share their ends.
    let places: Vec<_> =
        (0..kernel.len() - name.len()).filter(|at| kernel[*at..].starts_with(&name)).collect();
    assert!(!places.is_empty());
    for place in places {
        kernel[place] = b'X';
    }
    kernel
}

/// The kernel, made to ask for a version of the C library that nobody has: in its string table,
/// and in the hash by which the dynamic linker looks it up.
fn for_a_newer_glibc(mut kernel: Vec<u8>) -> Vec<u8> {
    let needed = b"GLIBC_2.";
    let at = (0..kernel.len() - 16)
        .find(|at| {
            let rest = &kernel[*at..];
            rest.starts_with(needed) && rest[10] == 0 && rest[8..10].iter().all(u8::is_ascii_digit)
        })
        .expect("the kernel is linked dynamically to glibc");
    let old = hash(&kernel[at..at + 10]).to_le_bytes();
    kernel[at..at + 10].copy_from_slice(b"GLIBC_9.99");
    let new = hash(b"GLIBC_9.99").to_le_bytes();
    let places: Vec<_> =
        (0..kernel.len() - 4).step_by(4).filter(|at| kernel[*at..*at + 4] == old).collect();
    assert!(!places.is_empty());
    for place in places {
        kernel[place..place + 4].copy_from_slice(&new);
    }
    kernel
}

/// The hash of the System V ABI's symbol tables.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(*byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}
