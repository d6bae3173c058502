//! `cargo uml kernel`: names, flavours and fragments, listings, removal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{Fixture, Run, forgo, run};
use crate::mirror::Mirror;

const NONE: [PathBuf; 0] = [];

fn id(linux: &Path) -> String {
    linux.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

fn listed(fixture: &Fixture) -> Vec<serde_json::Value> {
    let said = run(&mut fixture.uml(&["kernel", "list", "--format", "json"]));
    serde_json::from_str(&said.succeeds().stdout).unwrap()
}

fn config(linux: &Path) -> String {
    fs::read_to_string(linux.with_file_name("config")).unwrap()
}

#[test]
fn flavours_and_fragments_combine_into_a_kernel_of_their_own() {
    let fixture = Fixture::new();
    let fragment = fixture.path().join("mine.config");
    fs::write(&fragment, "# mine\nCONFIG_MINE=y\n# CONFIG_VETH is not set\n").unwrap();
    let base = fixture.build(&[]);
    let debug = fixture.build(&["--flavour", "smp", "--flavour", "debug"]);
    let mine = fixture.build(&["--flavour", "debug", "--fragment", fragment.to_str().unwrap()]);
    assert!(base != debug && debug != mine && mine != base);

    assert!(config(&base).contains("CONFIG_VETH=y\n") && !config(&base).contains("CONFIG_KASAN="));
    assert!(
        config(&debug).contains("CONFIG_KASAN=y\n") && config(&debug).contains("CONFIG_SMP=y\n")
    );
    assert!(config(&mine).contains("CONFIG_MINE=y\n") && config(&mine).contains("CONFIG_VETH=n\n"));

    let kernel = |linux: &Path| Some(linux.parent().unwrap().to_path_buf());
    assert_eq!(fixture.named("7.2"), kernel(&base));
    assert_eq!(fixture.named("7.2:debug+smp"), kernel(&debug));
    assert_eq!(fixture.named("7.2:debug+mine"), kernel(&mine));
    assert_eq!(fixture.named("default"), kernel(&base), "the first is the default");

    // Whatever the order, and for the same content there is one build.
    assert_eq!(fixture.build(&["--flavour", "debug", "--flavour", "smp"]), debug);
    fs::write(&fragment, "CONFIG_MINE=y\n# CONFIG_VETH is not set\n# another comment\n").unwrap();
    assert_eq!(
        fixture.build(&["--flavour", "debug", "--fragment", fragment.to_str().unwrap()]),
        mine
    );
    assert_eq!(fixture.builds(), 3);
}

#[test]
fn the_rust_compiler_counts_where_a_fragment_asks_for_it() {
    let fixture = Fixture::new();
    let bin = fixture.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let tree = fixture.tree();
    let build = |version: &str, more: &[&str]| {
        let rustc = bin.join("rustc");
        fs::write(&rustc, format!("#!/bin/sh\necho {version}\n")).unwrap();
        fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
        let arguments = [&["kernel", "build", tree.to_str().unwrap()], more].concat();
        let kernel = run(fixture.uml(&arguments).env("PATH", &path)).kernel();
        (config(&kernel).contains(version), kernel)
    };
    let (is_seen, kernel) = build("rustc-1", &[]);
    assert!(!is_seen);
    assert_eq!(build("rustc-2", &[]), (false, kernel));

    let fragment = fixture.path().join("rust.config");
    fs::write(&fragment, "CONFIG_RUST=y # optional before 6.7\n").unwrap();
    let rust = ["--fragment", fragment.to_str().unwrap()];
    let (is_seen, kernel) = build("rustc-1", &rust);
    assert!(is_seen);
    let (is_seen, other) = build("rustc-2", &rust);
    assert!(is_seen && other != kernel);
}

/// As one with KASAN: its guests get what it needs, whatever is asked for.
#[test]
fn a_kernel_that_needs_more_memory_is_given_it() {
    let fixture = Fixture::new();
    let main = fs::read_to_string(fixture.tree().join("a.c")).unwrap();
    let hungry = "for (int at = 1; at < argc; at++) \
                  if (!strncmp(argv[at], \"mem=\", 4) && atoi(argv[at] + 4) < 200 * 1024) abort();\n    execv";
    fixture.write("a.c", &format!("#include <stdlib.h>\n{}", main.replace("execv", hungry)));
    let kernel = fixture.build(&[]);
    assert_eq!(listed(&fixture)[0]["least_mem_mib"], 256);
    let mut guest = fixture.uml(&["exec", "--mem", "64M", "--kernel"]);
    guest.arg(&kernel).args(["grep", "MemTotal", "/proc/meminfo"]);
    let said = run(&mut guest);
    let kib: u64 = said.succeeds().stdout.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((200 << 10..256 << 10).contains(&kib), "{kib}");
    let elsewhere = fixture.path().join("linux.elsewhere");
    fs::copy(&kernel, &elsewhere).unwrap();
    let mut guest = fixture.uml(&["exec", "--mem", "64M", "--kernel"]);
    run(guest.arg(&elsewhere).arg("true")).fails(125, &["the guest is gone while booting"]);
}

#[test]
fn tiny_takes_the_place_of_base() {
    let fixture = Fixture::new();
    let tiny = fixture.build(&["--flavour", "tiny"]);
    assert!(!config(&tiny).contains("CONFIG_VETH="));
    assert!(config(&tiny).contains("CONFIG_HOSTFS=y\n"));
    let tree = fixture.tree();
    let mut both = fixture.uml(&["kernel", "build", tree.to_str().unwrap()]);
    run(both.args(["--flavour", "base", "--flavour", "tiny"]))
        .fails(2, &["the flavours base and tiny exclude each other"]);
}

#[test]
fn keeps_what_modules_are_built_against() {
    let fixture = Fixture::new();
    let linux = fixture.build(&[]);
    let path = run(&mut fixture.uml(&["kernel", "path", "--build"]));
    let build = Path::new(path.succeeds().stdout.trim()).to_path_buf();
    assert_eq!(build, linux.with_file_name("build"));
    for made in ["Makefile", "scripts/module.lds", ".config"] {
        assert!(build.join(made).exists(), "{made}");
    }
    assert!(!build.join("a.o").exists());

    // tiny has no modules.
    let tiny = fixture.build(&["--flavour", "tiny"]);
    assert!(!tiny.with_file_name("build").join("scripts/module.lds").exists());

    fs::remove_dir_all(&build).unwrap();
    run(&mut fixture.uml(&["kernel", "path", "--build"]))
        .fails(1, &["nothing to build modules against", &id(&linux)]);
}

#[test]
fn a_name_points_to_the_last_kernel_built_under_it_and_the_default_follows() {
    let fixture = Fixture::new();
    let first = fixture.build(&["--name", "mine/x"]);
    fixture.write("b.c", "int other(void) { return 0 * 2; }\n");
    let second = fixture.build(&["--name", "mine/x"]);
    assert_ne!(first, second);
    let kernel = Some(second.parent().unwrap().to_path_buf());
    assert_eq!(fixture.named("mine:x"), kernel);
    assert_eq!(fixture.named("default"), kernel);
    assert!(first.exists());

    for name in ["default", "a b", "../x", "a/b/c"] {
        let tree = fixture.tree();
        let mut build = fixture.uml(&["kernel", "build", tree.to_str().unwrap(), "--name", name]);
        run(&mut build).fails(2, &["can't be a kernel's name"]);
    }
}

#[test]
fn a_name_that_moves_to_another_source_is_told_and_the_default_follows_to_none_of_the_users() {
    let mirror = Mirror::new();
    let fixture = &mirror.fixture;
    let build =
        |source: &Path| run(&mut mirror.uml(&["kernel", "build", source.to_str().unwrap()]));
    let is = |name: &str, linux: &Path| fixture.named(name).as_deref() == linux.parent();
    let mut factor = 1;
    let mut change = |tree: &Path| {
        factor += 1;
        let text = format!("int other(void) {{ return 0 * {factor}; }}\n");
        fs::write(tree.join("b.c"), text).unwrap();
    };
    let tree = fixture.tree().canonicalize().unwrap();
    let of_mirror = run(&mut mirror.setup()).kernel();
    let said = build(&tree);
    let own = said.kernel();
    let note = format!(
        "7.2 is {} (built from a source tree, {})\n7.2 was {} (built from a package of the mirror)\n\
         That stays the default; `cargo uml kernel default 7.2` chooses the new one\n",
        id(&own),
        tree.display(),
        id(&of_mirror)
    );
    assert!(said.stderr.contains(&note), "{note} is missing from {}", said.stderr);
    assert!(is("7.2", &own) && is("default", &of_mirror));

    // A change is of the same source, and its kernel the default's follower if that is of the tree.
    run(&mut mirror.uml(&["kernel", "default", "7.2"])).succeeds();
    change(&tree);
    let said = build(&tree);
    let changed = said.kernel();
    assert!(!said.stderr.contains("7.2 is "), "{}", said.stderr);
    assert!(is("7.2", &changed) && is("default", &changed));

    // As is another tree's, which is told.
    let other = fixture.path().join("other");
    run(Command::new("cp").arg("-a").arg(&tree).arg(&other)).succeeds();
    change(&other);
    let said = build(&other);
    let others = said.kernel();
    for text in [
        format!("7.2 is {} (built from a source tree, {})", id(&others), other.display()),
        format!("7.2 was {} (built from a source tree, {})", id(&changed), tree.display()),
        "The default, which was that, follows".to_owned(),
    ] {
        assert!(said.stderr.contains(&text), "{text} is missing from {}", said.stderr);
    }
    assert!(is("default", &others));
    let said = build(Path::new("7.2"));
    assert_eq!(said.kernel(), of_mirror);
    assert!(said.stderr.contains("The default, which was that, follows"), "{}", said.stderr);
    assert!(is("default", &of_mirror));
}

#[test]
fn a_dropped_option_is_explained() {
    let fixture = Fixture::new();
    fixture.write(
        "Kconfig",
        "config NET\n\tbool \"Net\"\nconfig PCI\n\tbool \"PCI\"\n\tdepends on NET && HAVE_PCI\n\
         config CARD\n\tbool \"Card\"\n\tdepends on PCI\n",
    );
    fs::write(fixture.at_home("drop"), "CARD CADR PCI").unwrap();
    let fragment = fixture.path().join("mine.config");
    let tree = fixture.tree();
    let arguments =
        ["kernel", "build", tree.to_str().unwrap(), "--fragment", fragment.to_str().unwrap()];
    fs::write(&fragment, "CONFIG_CARD=y\nCONFIG_CADR=y\nCONFIG_NET=y\n").unwrap();
    run(&mut fixture.uml(&arguments)).fails(
        5,
        &[
            "Linux 7.2.99 does not honour 2 of the requested options",
            "CONFIG_CARD: wanted y, is not set (in ",
            "mine.config)\n        depends on PCI, which is n\n",
            "            depends on HAVE_PCI, which User Mode Linux of this version does not have",
            "CONFIG_CADR: wanted y",
            "no such option; did you mean CONFIG_CARD?",
            "# optional before X.Y",
        ],
    );
    assert_eq!(fixture.compiled(), 0);

    // On a version that nobody tested, a user's own request still counts, and what a flavour is there for.
    fs::write(fixture.at_home("drop"), "CARD CADR PCI SMP").unwrap();
    let smp = ["kernel", "build", tree.to_str().unwrap(), "--flavour", "smp"];
    fixture.set_version("7.9.98");
    run(&mut fixture.uml(&smp)).fails(5, &["CONFIG_SMP"]);
    fs::write(fixture.at_home("drop"), "CARD CADR PCI CPUSETS").unwrap();
    fixture.set_version("7.9.97"); // another configuration
    let done = run(&mut fixture.uml(&smp));
    done.kernel();
    assert!(done.stderr.contains("Going on without them"), "{}", done.stderr);
    fixture.set_version("7.9.99");
    run(&mut fixture.uml(&arguments)).fails(5, &["CONFIG_CARD"]);
    fs::write(&fragment, "CONFIG_CARD=y # optional before 8.0: newer cards\n").unwrap();
    let done = run(&mut fixture.uml(&arguments));
    let linux = done.kernel();
    let lacks = "Linux 7.9.99 does without\n    CONFIG_CARD: newer cards\n";
    assert!(done.stderr.contains(lacks), "{}", done.stderr);
    let shown = run(&mut fixture.uml(&["kernel", "show", &id(&linux)])).stdout;
    assert!(shown.contains("lacks       CONFIG_CARD\n"), "{shown}");
}

#[test]
fn a_fragment_that_is_none_is_refused_before_anything_is_done() {
    let fixture = Fixture::new();
    let fragment = fixture.path().join("mine.config");
    for (text, says) in [
        ("CONFIG_A\n", "mine.config, line 1: `CONFIG_A`: expected CONFIG_NAME=VALUE"),
        ("\nCONFIG_A=m\n", "line 2: `CONFIG_A=m`: modules are not built"),
    ] {
        fs::write(&fragment, text).unwrap();
        let mut build = fixture.uml(&["kernel", "build", "--fragment"]);
        run(build.arg(&fragment)).fails(2, &[says]);
    }
    run(&mut fixture.uml(&["kernel", "build", "--fragment", "/nowhere"]))
        .fails(2, &["could not read the fragment /nowhere: No such file"]);
    let debug = fixture.path().join("debug.config");
    fs::write(&debug, "CONFIG_A=y\n").unwrap();
    let mut build = fixture.uml(&["kernel", "build", "--fragment"]);
    run(build.arg(&debug)).fails(2, &["would be called debug", "`--name`"]);
    run(&mut fixture.uml(&["kernel", "build", "--flavour", "debgu"]))
        .fails(2, &["'debgu'", "similar value exists: 'debug'"]);
    assert_eq!(fixture.kernels(), NONE);
}

#[test]
fn lists_and_shows_what_there_is() {
    let fixture = Fixture::new();
    assert!(run(&mut fixture.uml(&["kernel", "list"])).succeeds().stdout.starts_with("NAME "));
    assert_eq!(listed(&fixture), [] as [serde_json::Value; 0]);
    let base = fixture.build(&[]);
    let smp = fixture.build(&["--flavour", "smp", "--name", "fast"]);
    fs::write(smp.with_file_name("last-used"), "").unwrap();

    let all = listed(&fixture);
    assert_eq!(all.len(), 2);
    let first = &all[0];
    assert_eq!(first["names"], serde_json::json!(["7.2"]));
    assert_eq!(first["id"].as_str().unwrap(), id(&base));
    assert_eq!(first["default"], true);
    assert_eq!(first["version"], "7.2.99");
    assert_eq!(first["traps"], serde_json::json!(["seccomp", "ptrace"]));
    assert_eq!(first["damaged"], serde_json::Value::Null);
    assert_eq!(first["provenance"], "tree");
    let tree = fixture.tree().canonicalize().unwrap();
    assert_eq!(first["source_path"].as_str(), tree.to_str());
    assert_eq!(first["path"].as_str().unwrap(), base.to_str().unwrap());
    assert_eq!(first["last_used"], serde_json::Value::Null);
    assert!(first["size"].as_u64().unwrap() > base.metadata().unwrap().len());
    assert!(first["boot_ms"].as_u64().unwrap() > 0);
    let second = &all[1];
    assert_eq!(second["flavours"], serde_json::json!(["smp"]));
    assert_eq!(second["default"], false);
    assert!(second["last_used"].as_u64().unwrap() > 1_700_000_000);

    let table = run(&mut fixture.uml(&["kernel", "list"]));
    let lines: Vec<&str> = table.succeeds().stdout.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("7.2 ") && lines[1].ends_with(" default"), "{lines:?}");
    assert!(lines[2].starts_with("fast ") && lines[2].contains("base+smp"), "{lines:?}");

    let shown = run(&mut fixture.uml(&["kernel", "show", "fast"]));
    let from = format!("from        {}\n", tree.display());
    let texts = ["built from a source tree", &id(&smp), "/config", "gcc", "tree:"];
    for text in texts.into_iter().chain([&*from, "traps       seccomp, ptrace\n"]) {
        assert!(shown.succeeds().stdout.contains(text), "{}", shown.stdout);
    }
    let shown = run(&mut fixture.uml(&["kernel", "show", "--format", "json"])).stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), *first);
}

#[test]
fn an_error_that_nobody_reads_is_an_error_all_the_same() {
    let fixture = Fixture::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = fixture.uml(&["kernel", "show", "nothing"]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn an_id_names_the_kernel_of_a_guest() {
    let fixture = Fixture::new();
    let linux = fixture.build(&[]);
    let id = id(&linux);
    let exec = |kernel: &str| run(&mut fixture.uml(&["exec", "--kernel", kernel, "true"]));
    exec(&id).succeeds();
    exec("7.2").succeeds();
    exec("7.2/base").succeeds();
    let by_variable =
        |kernel: &str| run(fixture.uml(&["exec", "true"]).env("UML_TEST_KERNEL", kernel));
    by_variable(&id).succeeds();
    by_variable("7.2/base").succeeds();
    by_variable("7.2.99-0123456789ab").fails(125, &["no kernel is named `7.2.99-0123456789ab`"]);
    exec("7.2.99-0123456789ab").fails(125, &["neither a kernel's name or id nor a path"]);
}

#[test]
fn the_default_can_be_chosen_by_name_or_id() {
    let fixture = Fixture::new();
    let path = |arguments: &[&str]| run(&mut fixture.uml(arguments)).kernel();
    let base = fixture.build(&[]);
    let smp = fixture.build(&["--flavour", "smp"]);
    assert_eq!(path(&["kernel", "path"]), base);
    assert_eq!(path(&["kernel", "path", "7.2/smp"]), smp);
    let debug = fixture.build(&["--flavour", "smp", "--flavour", "debug"]);
    assert_eq!(path(&["kernel", "path", "7.2/smp+debug"]), debug);
    run(&mut fixture.uml(&["kernel", "remove", "7.2/smp+debug"])).succeeds();
    assert!(!debug.exists());
    run(&mut fixture.uml(&["kernel", "default", "7.2/smp"])).succeeds();
    assert_eq!(path(&["kernel", "path"]), smp);
    assert_eq!(run(&mut fixture.uml(&["kernel", "default"])).stdout, "7.2/smp\n");
    run(&mut fixture.uml(&["kernel", "default", &id(&base)])).succeeds();
    assert_eq!(path(&["kernel", "path", "default"]), base);

    run(&mut fixture.uml(&["kernel", "path", "7.3"]))
        .fails(1, &["no kernel is called 7.3", "7.2, 7.2/smp", "cargo uml kernel build"]);
}

#[test]
fn removes_a_kernel_with_its_last_name() {
    let fixture = Fixture::new();
    let remove = |names: &[&str]| run(&mut fixture.uml(&[&["kernel", "remove"], names].concat()));
    let linux = fixture.build(&[]);
    assert_eq!(fixture.build(&["--name", "other"]), linux);
    let said = remove(&["7.2"]);
    assert!(said.succeeds().stderr.contains("Removed the name 7.2"), "{}", said.stderr);
    assert!(linux.exists());
    remove(&["other", "nosuch"]).fails(1, &["no kernel is called nosuch"]);
    assert!(linux.exists(), "nothing is done if one name is wrong");
    let said = remove(&["other"]);
    assert!(said.succeeds().stderr.contains("no default kernel now"), "{}", said.stderr);
    assert_eq!(fixture.kernels(), NONE);
    assert_eq!(fs::read_dir(fixture.cache().join("names")).unwrap().count(), 0);

    // An id stands for all names.
    let linux = fixture.build(&[]);
    fixture.build(&["--name", "other"]);
    remove(&[&id(&linux)]).succeeds();
    assert_eq!(fixture.kernels(), NONE);
}

#[test]
fn kernels_without_a_name_are_mentioned_when_they_are_many() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let build = |state: usize| {
        fixture.write("b.c", &format!("int other(void) {{ return 0 * {state}; }}\n"));
        run(&mut fixture.uml(&["kernel", "build", tree.to_str().unwrap()]))
            .succeeds()
            .stderr
            .clone()
    };
    // The last has the name.
    for state in 1..=6 {
        let said = build(state);
        assert!(!said.contains("no name"), "{state}: {said}");
    }
    let said = build(7);
    assert!(said.contains("6 kernels in the cache, of earlier builds, have no name"), "{said}");
    assert!(said.contains("`cargo uml kernel prune`"), "{said}");
}

#[test]
fn prunes_what_nothing_refers_to() {
    let fixture = Fixture::new();
    let old = fixture.build(&[]);
    fixture.write("b.c", "int other(void) { return 0 * 2; }\n");
    let new = fixture.build(&[]);
    fs::write(fixture.at_home("break"), "b.c:1:2: error: this is broken\n").unwrap();
    let tarball = fixture.tarball();
    run(&mut fixture.uml(&["kernel", "build", tarball.to_str().unwrap()])).fails(5, &["broken"]);
    fs::remove_file(fixture.at_home("break")).unwrap();
    let builds = || fs::read_dir(fixture.cache().join("build")).unwrap().count();
    assert_eq!(builds(), 2);

    let dry = run(&mut fixture.uml(&["kernel", "prune", "--dry-run"]));
    assert!(
        dry.succeeds()
            .stderr
            .contains(&format!("Would remove {}", old.parent().unwrap().display()))
    );
    assert!(old.exists() && builds() == 2);
    run(&mut fixture.uml(&["kernel", "prune"])).succeeds();
    assert!(!old.exists() && new.exists());
    assert_eq!(builds(), 1, "the tree's own build is kept");

    // Of what was not used for long, the default stays.
    let used = fixture.build(&["--flavour", "tiny"]);
    let unused = fixture.build(&["--flavour", "tiny", "--flavour", "smp"]);
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(40 * 86400);
    for linux in [&new, &used, &unused] {
        let file = fs::File::open(linux.with_file_name("kernel.toml")).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    fs::write(used.with_file_name("last-used"), "").unwrap();
    run(&mut fixture.uml(&["kernel", "prune", "--unused-for", "30"])).succeeds();
    assert!(new.exists() && used.exists() && !unused.exists());
    assert_eq!(fixture.named("7.2:smp+tiny"), None);

    // So does the tree's build, until it is as old.
    assert_eq!(builds(), 3, "one for each configuration");
    let logs =
        fs::read_dir(fixture.cache().join("build")).unwrap().map(|entry| entry.unwrap().path());
    for build in logs.take(2) {
        fs::File::open(build.join("build.log")).unwrap().set_modified(long_ago).unwrap();
    }
    run(&mut fixture.uml(&["kernel", "prune"])).succeeds();
    assert_eq!(builds(), 3);
    run(&mut fixture.uml(&["kernel", "prune", "--unused-for", "30"])).succeeds();
    assert_eq!(builds(), 1);
}

/// Copies the fixture's cache to a disk with a megabyte left, runs `cargo-uml` on it, and then demands that the cache
/// has `linux` alone. `None` where no disk can be mounted.
fn on_full_disk(fixture: &Fixture, arguments: &[&str], linux: &Path) -> Option<Run> {
    let can = Command::new("unshare").args(["-rm", "true"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mount = fixture.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let used = run(Command::new("du").arg("-sk").arg(fixture.cache())).stdout;
    let used: u32 = used.split('\t').next().unwrap().parse().unwrap();
    let script = format!(
        "mount -t tmpfs -o size={size}k none {mount} && cp -a {cache} {mount}/cache || exit 99; \
         export UML_TEST_CACHE_DIR={mount}/cache; {uml} \"$@\"; code=$?; \
         {uml} kernel path && ls -A {mount}/cache/kernels; exit $code",
        size = used + 1024,
        mount = mount.display(),
        cache = fixture.cache().display(),
        uml = env!("CARGO_BIN_EXE_cargo-uml"),
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["-rm", "sh", "-c", &script, "sh"]).args(arguments).env("HOME", fixture.path());
    unshare.env("CARGO_UML_KERNEL_ORG", format!("file://{}", fixture.path().display()));
    let full = run(&mut unshare);
    let id = id(linux);
    let left = format!("{}/cache/kernels/{id}/linux\n{id}\n", mount.display());
    assert_eq!(full.stdout, left, "{full:?}");
    Some(full)
}

#[test]
fn a_full_disk_leaves_the_cache_as_it_was() {
    let fixture = Fixture::new();
    let linux = fixture.build(&[]);
    // A kernel of 20 MB; what is there stays and is used.
    let real = crate::fixture::real_kernel();
    let adopt = ["kernel", "adopt", real.to_str().unwrap()];
    let Some(full) = on_full_disk(&fixture, &adopt, &linux) else {
        return forgo("user namespaces");
    };
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.stderr.contains("No space left on device"), "{full:?}");
}

#[test]
fn a_disk_that_fills_up_while_unpacking_is_no_fault_of_the_source() {
    let fixture = Fixture::new();
    let linux = fixture.build(&[]);
    fs::write(fixture.tree().join("big"), vec![0; 4 << 20]).unwrap();
    let tarball = fixture.tarball();
    let build = ["kernel", "build", tarball.to_str().unwrap()];
    let Some(full) = on_full_disk(&fixture, &build, &linux) else {
        return forgo("user namespaces");
    };
    assert_eq!(full.code, Some(1), "{full:?}");
    for says in ["could not unpack into ", "No space left on device"] {
        assert!(full.stderr.contains(says), "{says:?} is missing from {}", full.stderr);
    }
}

#[test]
fn a_disk_that_fills_up_while_fetching_is_no_fault_of_the_server() {
    let fixture = Fixture::new();
    let linux = fixture.build(&[]);
    let release = fixture.path().join("v7.x/linux-7.2.98.tar.xz");
    fs::create_dir(release.parent().unwrap()).unwrap();
    fs::write(release, vec![0; 4 << 20]).unwrap();
    let build = ["kernel", "build", "7.2.98", "--sha256", &"0".repeat(64)];
    let Some(full) = on_full_disk(&fixture, &build, &linux) else {
        return forgo("user namespaces");
    };
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.stderr.contains("could not download to "), "{full:?}");
}

#[test]
fn a_disk_that_fills_up_while_compiling_is_named_and_spoils_nothing() {
    let fixture = Fixture::new();
    let linux = fixture.build(&[]);
    fixture.write("b.c", "char big[4 << 20] = {1};\nint other(void) { return 0; }\n");
    let tree = fixture.tree();
    let build = ["kernel", "build", tree.to_str().unwrap()];
    let Some(full) = on_full_disk(&fixture, &build, &linux) else {
        return forgo("user namespaces");
    };
    assert_eq!(full.code, Some(5), "{full:?}");
    for says in ["`make linux` failed", "first error:", "No space left on device"] {
        assert!(full.stderr.contains(says), "{says:?} is missing from {}", full.stderr);
    }
}
