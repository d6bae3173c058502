//! Kernels in the cache that are damaged: they are told, removed by name, and never replaced by others.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fixture::{Fixture, real_kernel, run};
use crate::mirror::Mirror;

fn damage(linux: &Path) {
    let mut bytes = fs::read(linux).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(linux, bytes).unwrap();
}

#[test]
fn a_damaged_kernel_is_removed_as_any_other() {
    let fixture = Fixture::new();
    let linux = fixture.build(&["--flavour", "smp"]);
    fixture.build(&["--flavour", "smp", "--name", "other"]);
    let id = linux.parent().unwrap().file_name().unwrap().to_str().unwrap();
    fs::remove_file(linux.with_file_name("kernel.toml")).unwrap();
    let remove = format!("`cargo uml kernel remove {id}` removes it");
    run(&mut fixture.uml(&["kernel", "path", id])).fails(
        1,
        &["the kernel 7.2/smp is damaged", &remove, "`cargo uml kernel build 7.2 --flavour smp`"],
    );
    run(&mut fixture.uml(&["kernel", "remove", "other", "7.2/smp"])).succeeds();
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);
    assert_eq!(fs::read_dir(fixture.cache().join("names")).unwrap().count(), 0);
}

#[test]
fn setup_makes_a_damaged_default_of_a_flavour_again() {
    let mirror = Mirror::new();
    let uml = |arguments: &[&str]| run(&mut mirror.uml(arguments)).kernel();
    uml(&["kernel", "build", "7.2"]);
    let fast = uml(&["kernel", "build", "7.2", "--flavour", "smp", "--name", "fast"]);
    run(&mut mirror.uml(&["kernel", "default", "fast"])).succeeds();
    let whole = fs::read(&fast).unwrap();
    damage(&fast);
    let said = run(&mut mirror.setup());
    assert_eq!(said.kernel(), fast);
    assert!(said.stderr.contains("(fast) is damaged; a new one takes its place"), "{said:?}");
    assert_eq!(fs::read(&fast).unwrap(), whole);
    assert_eq!(run(&mut mirror.uml(&["kernel", "default"])).stdout, "fast\n");

    // Where its source can't be had, no other takes its place.
    damage(&fast);
    mirror.set_offline();
    fs::remove_dir_all(mirror.fixture.cache().join("sources")).unwrap();
    run(&mut mirror.setup()).fails(4, &["(fast) is damaged", "7.2"]);
    assert_eq!(run(&mut mirror.uml(&["kernel", "default"])).stdout, "fast\n");
}

#[test]
fn setup_replaces_no_damaged_default_that_it_cannot_make() {
    let mirror = Mirror::new();
    let (tree, real) = (mirror.fixture.tree(), real_kernel());
    let directory = mirror.fixture.path().canonicalize().unwrap();
    let (tree, real) = (tree.to_str().unwrap(), real.canonicalize().unwrap());
    let fragment = directory.join("mine.config");
    fs::write(&fragment, "CONFIG_MINE=y\n").unwrap();
    let fragment = fragment.to_str().unwrap();
    let smp = format!(
        "`cargo uml kernel build {} --flavour smp --name 7.2/smp`",
        directory.join("linux").display()
    );
    let adopted = format!("`cargo uml kernel adopt {} --name theirs`", real.display());
    let modules = mirror.fixture.at_home("modules");
    fs::create_dir(&modules).unwrap();
    let modules = modules.to_str().unwrap();
    let with_modules =
        format!("`cargo uml kernel adopt {} --modules {modules} --name moved`", real.display());
    let mine = format!("`cargo uml kernel build 7.2 --fragment {fragment} --name 7.2/mine`");
    for (arguments, name, again) in [
        (&["build", tree, "--flavour", "smp"][..], "7.2/smp", &smp),
        (&["build", "7.2", "--fragment", "mine.config"], "7.2/mine", &mine),
        (&["adopt", real.to_str().unwrap(), "--name", "theirs"], "theirs", &adopted),
        (
            &["adopt", real.to_str().unwrap(), "--modules", modules, "--name", "moved"],
            "moved",
            &with_modules,
        ),
    ] {
        let mut make = mirror.uml(&[&["kernel"], arguments].concat());
        let linux = run(make.current_dir(&directory)).kernel();
        run(&mut mirror.uml(&["kernel", "default", name])).succeeds();
        damage(&linux);
        let damaged = format!("the default kernel {name} (");
        let other = "choose another by `cargo uml kernel default NAME`";
        run(&mut mirror.setup()).fails(1, &[&damaged, again, other]);
        assert_eq!(run(&mut mirror.uml(&["kernel", "default"])).stdout, format!("{name}\n"));
        // Without metadata its name is all that tells.
        fs::remove_file(linux.with_file_name("kernel.toml")).unwrap();
        run(&mut mirror.setup()).fails(1, &[&format!("the kernel {name} is damaged")]);
    }
}

#[test]
fn setup_makes_a_damaged_usual_kernel_again_whatever_is_left_of_it() {
    let mirror = Mirror::new();
    let linux = run(&mut mirror.setup()).kernel();
    for damage in
        [damage, |linux: &Path| fs::remove_file(linux.with_file_name("kernel.toml")).unwrap()]
    {
        damage(&linux);
        let said = run(&mut mirror.setup());
        assert_eq!(said.kernel(), linux);
        assert!(said.stderr.contains("(7.2) is damaged; a new one takes its place"), "{said:?}");
        run(&mut mirror.uml(&["kernel", "show"])).succeeds();
    }
}

/// Of a kernel that was adopted and has lost its executable, though its name alone would tell otherwise.
#[test]
fn what_is_to_be_done_is_what_the_metadata_say() {
    let fixture = Fixture::new();
    let real = real_kernel().canonicalize().unwrap();
    let mut adopt = fixture.uml(&["kernel", "adopt", "--name", "7.2"]);
    let linux = run(adopt.arg(&real)).kernel();
    fs::remove_file(&linux).unwrap();
    let again = format!("`cargo uml kernel adopt {} --name 7.2` makes ", real.display());
    let says = |arguments: &[&str], code: i32, text: &str| {
        let said = run(&mut fixture.uml(arguments));
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!((said.stdout.clone() + &said.stderr).contains(text), "{text:?}: {said:?}");
    };
    says(&["kernel", "path", "7.2"], 1, &(again.clone() + "it again"));
    says(&["matrix", "--kernel", "7.2"], 1, &(again.clone() + "it again"));
    says(&["setup"], 1, &again);
    let id = linux.parent().unwrap().file_name().unwrap().to_str().unwrap();
    says(&["doctor"], 10, &format!("{again}{id} again"));
    assert_eq!(run(&mut fixture.uml(&["kernel", "show"])).code, Some(0));
}

#[test]
fn without_a_default_the_kernels_to_choose_from_are_named() {
    let fixture = Fixture::new();
    let default = |says: &str| run(&mut fixture.uml(&["kernel", "default"])).fails(1, &[says]);
    default("no kernel is the default: there are none; `cargo uml setup` builds one");
    fixture.build(&[]);
    fs::remove_file(fixture.cache().join("names/default")).unwrap();
    default("choose one by `cargo uml kernel default NAME`; there are: 7.2\n");
}

#[test]
fn listings_tell_what_is_damaged() {
    let fixture = Fixture::new();
    let (linux, smp) = (fixture.build(&[]), fixture.build(&["--flavour", "smp"]));
    let said = |arguments: &[&str]| {
        let arguments = [&["kernel"], arguments].concat();
        run(&mut fixture.uml(&arguments)).succeeds().stdout.clone()
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&said(&[arguments, &["--format", "json"]].concat())).unwrap()
    };
    let has = |value: &serde_json::Value, reason: &str| {
        assert!(value["damaged"].as_str().unwrap().contains(reason), "{value}");
    };
    damage(&linux);
    has(&json(&["show", "7.2"]), "the checksum of linux is another");
    let tree = fixture.tree().canonicalize().unwrap();
    let again =
        format!("; `cargo uml kernel build {} --name 7.2` makes it again\n", tree.display());
    let shown = said(&["show", "7.2"]);
    assert!(shown.contains("\ndamaged     the checksum") && shown.contains(&again), "{shown}");

    fs::remove_file(&linux).unwrap();
    fs::remove_file(smp.with_file_name("kernel.toml")).unwrap();
    let all = json(&["list"]);
    assert_eq!(all[0]["names"], serde_json::json!(["7.2"]));
    has(&all[0], "can't read linux: No such file");
    assert_eq!(all[1]["names"], serde_json::json!(["7.2/smp"]));
    has(&all[1], "can't read kernel.toml: No such file");
    assert_eq!(all[1]["version"], serde_json::Value::Null);
    let table = said(&["list"]);
    let damaged = table.lines().filter(|line| line.contains("  damaged"));
    assert_eq!(damaged.count(), 2, "{table}");
    has(&json(&["show", "7.2/smp"]), "can't read kernel.toml");
}

#[test]
fn a_damaged_kernel_without_a_name_is_pruned() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.build(&[])).unwrap();
    fs::remove_dir_all(fixture.cache().join("names")).unwrap();
    run(&mut fixture.uml(&["kernel", "prune"])).succeeds();
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);
}
