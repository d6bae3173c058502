//! Source trees that change: the driver developer's case.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fixture::{Fixture, forgo, run};

fn git(tree: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.arg("-C").arg(tree).args(["-c", "user.name=n", "-c", "user.email=n@example.org"]);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null");
    run(git.args(arguments)).succeeds();
}

fn source(linux: &Path) -> String {
    let text = fs::read_to_string(linux.with_file_name("kernel.toml")).unwrap();
    text.parse::<toml::Table>().unwrap()["source"].as_str().unwrap().to_owned()
}

#[test]
fn a_changed_file_is_compiled_alone_and_gives_another_kernel() {
    let fixture = Fixture::new();
    let first = fixture.build(&[]);
    assert_eq!(fixture.compiled(), 2);
    fixture.write("b.c", "int other(void) { return 0 * 2; }\n");
    let second = fixture.build(&[]);
    assert_ne!(first, second);
    assert_eq!(fixture.compiled(), 3, "only b.c");
    assert_eq!(fixture.configured(), 1, "nothing that Kconfig reads has changed");
    fixture.write("Kconfig", "config NEW\n\tbool \"new\"\n");
    assert_ne!(fixture.build(&[]), second);
    assert_eq!((fixture.compiled(), fixture.configured()), (3, 2));
    assert!(first.exists(), "the kernel before the change is still there");
}

#[test]
fn a_checkout_is_its_commit_and_its_changes() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    git(&tree, &["init", "-q"]);
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "-qm", "x"]);
    let committed = fixture.build(&[]);
    let commit = source(&committed);
    assert!(commit.starts_with("git:") && !commit.contains('+'), "{commit}");

    // Touched, but not changed.
    let text = fs::read_to_string(tree.join("b.c")).unwrap();
    fixture.write("b.c", &text);
    assert_eq!(fixture.build(&[]), committed);

    fixture.write("b.c", "int other(void) { return 0 * 2; }\n");
    let changed = fixture.build(&[]);
    assert_ne!(changed, committed);
    assert!(source(&changed).starts_with(&format!("{commit}+")), "{}", source(&changed));
    // git shortens names to what tells objects apart, which more of them make longer.
    git(&tree, &["config", "core.abbrev", "12"]);
    assert_eq!(fixture.build(&[]), changed);
    fixture.write("new.h", "#define NEW\n");
    let added = fixture.build(&[]);
    assert_ne!(added, changed);
    fixture.write("new.h", "#define NEW 1\n");
    assert_ne!(fixture.build(&[]), added);

    // Changed back, it is the kernel that there was; so is another checkout of the commit.
    fixture.write("b.c", &text);
    fs::remove_file(tree.join("new.h")).unwrap();
    let compiled = fixture.compiled();
    assert_eq!(fixture.build(&[]), committed);
    let other = fixture.path().join("worktree");
    git(&tree, &["worktree", "add", "-q", other.to_str().unwrap()]);
    assert_eq!(
        run(&mut fixture.uml(&["kernel", "build", other.to_str().unwrap()])).kernel(),
        committed
    );
    assert_eq!(fixture.compiled(), compiled);
}

#[test]
fn a_checkout_of_another_owner_is_its_commit_too() {
    if !nix::unistd::geteuid().is_root() {
        return forgo("root, who alone gives files away");
    }
    let fixture = Fixture::new();
    let tree = fixture.tree();
    git(&tree, &["init", "-q"]);
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "-qm", "x"]);
    run(Command::new("chown").args(["-R", "65534:65534"]).arg(&tree)).succeeds();
    let linux = fixture.build(&[]);
    assert!(source(&linux).starts_with("git:"), "{}", source(&linux));
}

#[test]
fn a_checkout_that_git_says_nothing_of_is_told() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    git(&tree, &["init", "-q"]);
    let said = run(&mut fixture.uml(&["kernel", "build", tree.to_str().unwrap()]));
    assert!(source(&said.kernel()).starts_with("tree:"));
    let note = format!(
        "{} is a git checkout, but known by its files' times and not by its commit: ",
        tree.canonicalize().unwrap().display()
    );
    assert!(said.stderr.contains(&note), "{}", said.stderr);
    assert!(said.stderr.contains("ambiguous argument 'HEAD'"), "{}", said.stderr);
}

#[test]
fn a_tree_that_changes_while_it_is_built_gives_no_kernel() {
    let fixture = Fixture::new();
    // The compilation of b.c changes a.c.
    let makefile = fs::read_to_string(fixture.tree().join("Makefile")).unwrap();
    let changing = "linux: $(O)/linux\n\t@test -e $(HOME)/changed || { touch $(HOME)/changed; echo >> a.c; }\n";
    fixture.write("Makefile", &makefile.replace("linux: $(O)/linux\n", changing));
    let tree = fixture.tree();
    let build = || run(&mut fixture.uml(&["kernel", "build", tree.to_str().unwrap()]));
    build().fails(1, &["changed while it was built; run this again"]);
    assert_eq!(fixture.kernels(), [] as [std::path::PathBuf; 0]);
    build().kernel();
}

/// The object is newer than what it was not made from.
#[test]
fn what_is_saved_while_it_is_compiled_is_compiled_again() {
    let fixture = Fixture::new();
    let makefile = fs::read_to_string(fixture.tree().join("Makefile")).unwrap();
    let saving = "\t@test $* != a -o -e $(HOME)/saved || { touch $(HOME)/saved; sleep 0.1; echo >> a.c; sleep 0.1; }\n\
                  \t@touch $@.tmp; mv $@.tmp $@\n";
    assert!(makefile.contains("\t@mv $@.tmp $@\n"));
    fixture.write("Makefile", &makefile.replace("\t@mv $@.tmp $@\n", saving));
    let tree = fixture.tree();
    let build = || run(&mut fixture.uml(&["kernel", "build", tree.to_str().unwrap()]));
    build().fails(1, &["changed while it was built; run this again"]);
    let compiled = || fs::read_to_string(fixture.at_home("compiled")).unwrap();
    assert_eq!(compiled().matches('a').count(), 1);
    build().kernel();
    assert_eq!(compiled().matches('a').count(), 2, "{}", compiled());
    fixture.write("b.c", "int other(void) { return 0 * 2; }\n");
    build().kernel();
    assert_eq!(compiled().matches('a').count(), 2, "once is enough: {}", compiled());
}

#[test]
fn a_file_that_is_put_back_with_its_old_time_is_compiled_again() {
    let fixture = Fixture::new();
    let (file, kept) = (fixture.tree().join("b.c"), fixture.path().join("kept"));
    fs::rename(&file, &kept).unwrap();
    fixture.write("b.c", "int other(void) { return 0 * 2; }\n");
    let edited = fixture.build(&[]);
    let compiled = fixture.compiled();
    fs::rename(&kept, &file).unwrap();
    assert_ne!(fixture.build(&[]), edited);
    assert!(fixture.compiled() > compiled, "the edited file's object is in the other kernel");
}

/// Directories that git does not look into, and files that only the user has git ignore.
#[test]
fn changes_that_git_does_not_show_give_another_kernel_too() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let inner = fixture.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("i.c"), "").unwrap();
    for repository in [&tree, &inner] {
        git(repository, &["init", "-q"]);
        git(repository, &["add", "."]);
        git(repository, &["commit", "-qm", "x"]);
    }
    let allowed = ["-c", "protocol.file.allow=always", "submodule", "add", "-q"];
    git(&tree, &[&allowed[..], &[inner.to_str().unwrap(), "sub"]].concat());
    git(&tree, &["commit", "-qm", "submodule"]);
    let (nested, outside) = (tree.join("nested"), fixture.path().join("outside"));
    for directory in [&nested, &outside] {
        fs::create_dir(directory).unwrap();
    }
    git(&nested, &["init", "-q"]);
    fs::write(outside.join("Makefile"), "").unwrap();
    std::os::unix::fs::symlink(&outside, tree.join("linked")).unwrap();
    std::os::unix::fs::symlink("nowhere", tree.join("dangling")).unwrap();
    fs::write(tree.join(".git/info/exclude"), "mine.c\n").unwrap();
    let mut known = vec![fixture.build(&[])];
    for file in [
        nested.join("driver.c"),
        outside.join("driver.c"),
        tree.join("mine.c"),
        tree.join("sub/i.c"),
        tree.join("sub/new.c"),
        tree.join("b.c"),
    ] {
        for content in [
            &b"/* 1 */ int other(void) { return 0; } // \xe0"[..],
            b"/* 1 */ int other(void) { return 0; } // \xe1",
        ] {
            fs::write(&file, content).unwrap();
            let built = fixture.build(&[]);
            assert!(!known.contains(&built), "{} is not seen", file.display());
            known.push(built);
        }
    }
    // As in a hook of another repository.
    let mut other = fixture.uml(&["kernel", "build", tree.to_str().unwrap()]);
    other.env("GIT_DIR", inner.join(".git")).env("GIT_INDEX_FILE", inner.join(".git/index"));
    assert_eq!(run(&mut other).kernel(), *known.last().unwrap());
}

/// A guest's root directory in the tree: what it has of links and of files that nobody may read is nothing to a build.
#[test]
fn what_no_build_reads_does_not_disturb_one() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    for is_git in [true, false] {
        let fixture = Fixture::new();
        let tree = fixture.tree();
        if is_git {
            git(&tree, &["init", "-q"]);
            git(&tree, &["add", "."]);
            git(&tree, &["commit", "-qm", "x"]);
        }
        let (root, busy) = (tree.join("root"), fixture.path().join("busy"));
        for directory in [&root, &busy] {
            fs::create_dir(directory).unwrap();
        }
        symlink(&busy, root.join("run")).unwrap();
        symlink("/proc/self/mounts", root.join("mtab")).unwrap();
        fs::write(root.join("shadow"), "").unwrap();
        fs::set_permissions(root.join("shadow"), fs::Permissions::from_mode(0o000)).unwrap();
        nix::unistd::mkfifo(&tree.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let built = fixture.build(&[]);
        fs::write(busy.join("log"), "1").unwrap();
        assert_eq!(fixture.build(&[]), built);
        // But a link itself counts.
        fs::remove_file(root.join("run")).unwrap();
        symlink("elsewhere", root.join("run")).unwrap();
        assert_ne!(fixture.build(&[]), built);
    }
}

/// A localversion file, as PREEMPT_RT and linux-next have them.
#[test]
fn a_kernel_has_the_version_that_it_calls_itself() {
    let fixture = Fixture::new();
    let read = |name: &str| fs::read_to_string(fixture.tree().join(name)).unwrap();
    let writes = "linux: $(O)/linux\n\t@mkdir -p $(O)/include/config\n\
                  \t@echo 7.2.99-rt5 > $(O)/include/config/kernel.release\n";
    fixture.write("Makefile", &read("Makefile").replace("linux: $(O)/linux\n", writes));
    fixture.write("a.c", &read("a.c").replace("7.2.99", "7.2.99-rt5"));
    let linux = fixture.build(&[]);
    let directory = linux.parent().unwrap();
    let id = directory.file_name().unwrap().to_str().unwrap();
    assert!(id.starts_with("7.2.99-rt5-"), "{id}");
    assert_eq!(fixture.named("7.2").as_deref(), Some(directory));
    assert_eq!(fixture.build(&[]), linux);
    assert_eq!(fixture.builds(), 1);

    fixture.write("a.c", &read("a.c").replace("7.2.99-rt5", "7.2.99-rt6"));
    let tree = fixture.tree();
    run(&mut fixture.uml(&["kernel", "build", tree.to_str().unwrap()]))
        .fails(5, &["gave \"7.2.99-rt6\", expected \"7.2.99-rt5\""]);
}
