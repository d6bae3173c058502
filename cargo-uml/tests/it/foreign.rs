//! `cargo uml kernel adopt`, on the machine's real kernel.

use std::fs;
use std::process::Command;

use crate::fixture::{Fixture, real_kernel, run};

#[test]
fn adopts_a_kernel_and_reads_what_it_is_from_it() {
    let fixture = Fixture::new();
    let real = real_kernel();
    let version = run(Command::new(&real).arg("--version")).stdout.trim().to_owned();
    let linux = run(fixture.uml(&["kernel", "adopt"]).arg(&real)).kernel();
    assert_eq!(fs::read(&linux).unwrap(), fs::read(&real).unwrap());
    assert_eq!(fixture.named(&format!("adopted-{version}")).as_deref(), linux.parent());
    let config = fs::read_to_string(linux.with_file_name("config")).unwrap();
    assert!(config.contains("CONFIG_HOSTFS=y\n"));
    let shown = run(&mut fixture.uml(&["kernel", "show", "--format", "json"])).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["version"], version.as_str());
    assert_eq!(shown["provenance"], "adopted");
    assert!(
        shown["source"]
            .as_str()
            .unwrap()
            .starts_with(real.canonicalize().unwrap().to_str().unwrap())
    );
    assert!(shown["compiler"].as_str().unwrap().contains("gcc"));
    assert!(shown["boot_ms"].as_u64().unwrap() > 0);
    assert_eq!(shown["modules"], serde_json::Value::Null);

    // With modules it is another kernel, and with others again another.
    let modules = fixture.path().join("anything");
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("modules.dep.bin"), "").unwrap();
    let adopt = || {
        let mut adopt = fixture.uml(&["kernel", "adopt", "--name", "mine", "--modules"]);
        run(adopt.arg(&modules).arg(&real)).kernel()
    };
    let with_modules = adopt();
    let has = |name: &str| {
        let mine = fixture.named("mine").unwrap();
        mine.join("modules").join(&version).join(name).exists()
    };
    assert!(has("modules.dep.bin") && !has("more.ko"));
    assert_eq!(adopt(), with_modules);
    fs::write(modules.join("more.ko"), "").unwrap();
    assert_ne!(adopt(), with_modules);
    assert!(has("more.ko"));
    assert!(!linux.with_file_name("modules").exists(), "the first is as it was");
}

#[test]
fn refuses_what_is_no_kernel() {
    let fixture = Fixture::new();
    run(&mut fixture.uml(&["kernel", "adopt", "/nowhere/linux"])).fails(1, &["/nowhere/linux"]);
    run(&mut fixture.uml(&["kernel", "adopt", "/bin/false"]))
        .fails(5, &["/bin/false", "no User Mode Linux kernel that runs here"]);
    // Another program, and a file that is none, as a kernel for a bootloader.
    let path = fixture.path().join("tool");
    crate::fixture::script(&path, "echo 'tool 1.88.0 (6b00bc388 2025-06-23)'\n");
    run(fixture.uml(&["kernel", "adopt"]).arg(&path)).fails(
        5,
        &["tool is no User Mode Linux kernel that runs here", "`--version` gave \"tool 1.88.0"],
    );
    let path = fixture.path().join("vmlinuz");
    fs::write(&path, "MZ").unwrap();
    run(fixture.uml(&["kernel", "adopt"]).arg(&path)).fails(
        5,
        &["vmlinuz is no User Mode Linux kernel", "it could not be run: Permission denied"],
    );
    // Says a version, but does not boot.
    let path = fixture.path().join("script");
    crate::fixture::script(&path, "echo 7.2.1\n");
    run(fixture.uml(&["kernel", "adopt"]).arg(&path))
        .fails(5, &[&format!("the kernel {} does not boot", path.display())]);
    assert_eq!(fixture.kernels(), [] as [std::path::PathBuf; 0]);
}
