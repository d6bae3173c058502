//! `cargo uml setup` without `--source`, on a package mirror that scripts in the place of apt pretend to have.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::fixture::{Fixture, forgo, has_modprobe, real_kernel, run, script, sha256};

pub(crate) struct Mirror {
    pub(crate) fixture: Fixture,
}

/// Makes a package of the directory `package`, which is then gone; what apt-cache shows of it.
fn offer(fixture: &Fixture, name: &str, version: &str) -> String {
    let package = fixture.path().join("package");
    fs::create_dir_all(package.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\n\
         Maintainer: Nobody <nobody@example.org>\nDescription: test\n"
    );
    fs::write(package.join("DEBIAN/control"), control).unwrap();
    let deb: PathBuf = fixture.path().join(format!("{name}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["-Znone", "--root-owner-group", "--build"]).arg(&package).arg(&deb);
    run(&mut build).succeeds();
    fs::remove_dir_all(&package).unwrap();
    let size = deb.metadata().unwrap().len();
    format!("Package: {name}\nVersion: {version}\nSize: {size}\nSHA256: {}\n", sha256(&deb))
}

impl Mirror {
    /// A mirror with one package, linux-source-7.2, of the fixture's tree.
    pub(crate) fn new() -> Self {
        let fixture = Fixture::new();
        fixture.tarball();
        let package = fixture.path().join("package");
        fs::create_dir_all(package.join("usr/src")).unwrap();
        let tarball = package.join("usr/src/linux-source-7.2.tar.xz");
        fs::rename(fixture.path().join("linux-7.2.99.tar.xz"), tarball).unwrap();
        let mut shown = offer(&fixture, "linux-source-7.2", "7.2.99-1");

        let package = fixture.path().join("package");
        fs::create_dir_all(package.join("usr/bin")).unwrap();
        fs::copy(real_kernel(), package.join("usr/bin/linux.uml")).unwrap();
        let release = run(Command::new(real_kernel()).arg("--version")).stdout;
        let modules = package.join("usr/lib/uml/modules").join(release.trim());
        fs::create_dir_all(modules.join("kernel")).unwrap();
        fs::write(modules.join("kernel/a.ko"), "a module").unwrap();
        fs::write(modules.join("modules.dep.bin"), "").unwrap();
        shown.push('\n');
        shown += &offer(&fixture, "user-mode-linux", "7.2-2um-1+b1");
        fs::write(fixture.path().join("shown"), shown).unwrap();

        let mirror = Mirror { fixture };
        mirror.script(
            "apt-get",
            "echo \"$@\" >> \"$HOME/apt\"\n\
             case \"$*\" in\n\
             *--print-uris) echo \"'http://mirror.test/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0\" ;;\n\
             *update) if test -e $HOME/offline; then echo 'E: could not connect' >&2; exit 100; fi ;;\n\
             *download*) test ! -e $HOME/break || { cat $HOME/break >&2; exit 100; }\n\
             for last; do :; done; cp $HOME/${last%%=*}.deb ./downloaded.deb ;;\n\
             *) exit 1 ;;\n\
             esac\n",
        );
        mirror.script(
            "apt-cache",
            "case \"$*\" in\n\
             *pkgnames*) test -e $HOME/offline || printf 'linux-source\\nlinux-source-7.2\\nuser-mode-linux\\nuser-mode-linux-doc\\n' ;;\n\
             *show*) for last; do :; done; awk -v RS= -v name=\"$last\" '$2 == name' $HOME/shown ;;\n\
             esac\n",
        );
        mirror
    }

    fn script(&self, name: &str, text: &str) {
        script(&self.fixture.path().join("bin").join(name), text);
    }

    pub(crate) fn uml(&self, arguments: &[&str]) -> Command {
        let mut command = self.fixture.uml(arguments);
        let bin = self.fixture.path().join("bin");
        command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        // Nobody listens there, and no proxy of the machine's is to answer for it.
        command.env("CARGO_UML_KERNEL_ORG", "http://127.0.0.1:9");
        command.env("no_proxy", "*").env("NO_PROXY", "*");
        command
    }

    pub(crate) fn setup(&self) -> Command {
        self.uml(&["setup"])
    }

    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.fixture.at_home("apt")).unwrap_or_default()
    }

    pub(crate) fn set_offline(&self) {
        fs::write(self.fixture.at_home("offline"), "").unwrap();
    }
}

#[test]
fn a_program_has_a_kernel_made_for_it_where_there_is_none() {
    let path = std::env::var_os("PATH").unwrap();
    let has = |name: &str| std::env::split_paths(&path).any(|part| part.join(name).exists());
    if has("linux") || has("linux.uml") {
        return forgo("a machine without the package user-mode-linux");
    }
    let mirror = Mirror::new();
    let exec = || {
        let mut exec = mirror.uml(&["exec", "cat", "/proc/sys/kernel/hostname"]);
        run(exec.env_remove("UML_TEST_KERNEL"))
    };
    let first = exec();
    assert_eq!(first.succeeds().stdout, "uml-test\n");
    for part in ["There is no kernel yet", "Fetching linux-source-7.2", "Compiling Linux 7.2.99"] {
        assert!(first.stderr.contains(part), "{part} is missing: {}", first.stderr);
    }
    assert_eq!(mirror.fixture.named("default"), Some(mirror.fixture.kernel()));
    let second = exec();
    assert_eq!((&*second.succeeds().stdout, &*second.stderr), ("uml-test\n", ""));
    assert_eq!(mirror.fixture.builds(), 1);
}

#[test]
fn builds_the_mirrors_package_and_then_asks_no_more() {
    let mirror = Mirror::new();
    let first = run(&mut mirror.setup());
    let linux = first.kernel();
    assert!(first.stderr.contains("Fetching linux-source-7.2 7.2.99-1"), "{}", first.stderr);
    let metadata = fs::read_to_string(linux.with_file_name("kernel.toml")).unwrap();
    assert!(metadata.contains("provenance = \"package\""), "{metadata}");
    assert!(metadata.contains("source = \"linux-source-7.2 7.2.99-1 sha256:"), "{metadata}");

    let calls = mirror.calls();
    let second = run(&mut mirror.setup());
    assert_eq!(second.kernel(), linux);
    assert_eq!(second.stderr, "");
    assert_eq!(mirror.calls(), calls);
}

#[test]
fn the_fetched_package_serves_again_also_offline() {
    let mirror = Mirror::new();
    let linux = run(&mut mirror.setup()).kernel();
    assert_eq!(mirror.calls().matches("download").count(), 1);
    fs::remove_dir_all(mirror.fixture.cache().join("kernels")).unwrap();
    assert_eq!(run(&mut mirror.setup()).kernel(), linux);

    fs::remove_dir_all(mirror.fixture.cache().join("kernels")).unwrap();
    mirror.set_offline();
    let offline = run(&mut mirror.setup());
    assert_eq!(offline.kernel(), linux);
    assert!(offline.stderr.contains("fetched earlier"), "{}", offline.stderr);
    assert_eq!(mirror.calls().matches("download").count(), 1);
    assert_eq!(mirror.fixture.builds(), 3);
}

#[test]
fn a_package_that_was_damaged_is_fetched_again() {
    let mirror = Mirror::new();
    let build = || run(&mut mirror.uml(&["kernel", "build", "7.2.99"])).kernel();
    let linux = build();
    let sources = mirror.fixture.cache().join("sources");
    let package = sources.join("linux-source-7.2_7.2.99-1_all.deb");
    let whole = fs::read(&package).unwrap();
    fs::remove_dir_all(mirror.fixture.cache().join("kernels")).unwrap();
    assert_eq!(build(), linux);
    assert_eq!(mirror.calls().matches("download").count(), 1);

    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&package, damaged).unwrap();
    fs::remove_dir_all(mirror.fixture.cache().join("kernels")).unwrap();
    assert_eq!(build(), linux);
    assert_eq!(mirror.calls().matches("download").count(), 2);
    assert_eq!(fs::read(&package).unwrap(), whole);
}

#[test]
fn an_unreachable_mirror_is_an_error_that_names_what_was_tried() {
    let mirror = Mirror::new();
    mirror.set_offline();
    let failed = run(&mut mirror.setup());
    failed.fails(
        4,
        &[
            "http://mirror.test/debian/ bookworm",
            "E: could not connect",
            "name a Linux source tree or a tarball",
            "could not download http://127.0.0.1:9/v7.x/linux-7.2.tar.xz",
        ],
    );
}

/// As with a list that names a file which is no longer there.
#[test]
fn a_mirror_that_breaks_in_the_middle_is_as_one_that_has_nothing() {
    let mirror = Mirror::new();
    let broken = "E: Failed to fetch http://mirror.test/x.deb 404 Not Found";
    fs::write(mirror.fixture.at_home("break"), broken).unwrap();
    let says = [
        "could not fetch the package linux-source-7.2 7.2.99-1 from the mirror (apt-get: exit status: 100)",
        broken,
        "Taking Linux 7.2.0 from kernel.org",
        "could not download http://127.0.0.1:9/v7.x/linux-7.2.tar.xz",
    ];
    run(&mut mirror.setup()).fails(4, &says);
    run(&mut mirror.uml(&["kernel", "build", "7.2"])).fails(4, &says);
    run(&mut mirror.uml(&["kernel", "build", "7.2.99"]))
        .fails(4, &["Linux 7.2.99 can be had neither", broken]);
    run(&mut mirror.uml(&["kernel", "install", "distro"]))
        .fails(4, &["could not fetch the package user-mode-linux", broken]);
}

#[test]
fn a_full_disk_is_no_fault_of_the_mirror() {
    let mirror = Mirror::new();
    let full = "E: Write error - write (28: No space left on device)";
    fs::write(mirror.fixture.at_home("break"), full).unwrap();
    let said = run(&mut mirror.setup());
    said.fails(1, &["could not download to", "No space left on device"]);
    assert!(!said.stderr.contains("kernel.org"), "{}", said.stderr);
}

/// Where no source can be had, a kernel of another series serves who does not say which.
#[test]
fn a_kernel_of_another_series_is_the_last_resort() {
    let mirror = Mirror::new();
    mirror.set_offline();
    mirror.fixture.set_version("6.12.99");
    let linux = mirror.fixture.build(&[]);
    let metadata = linux.with_file_name("kernel.toml");
    let text = fs::read_to_string(&metadata).unwrap();
    fs::write(&metadata, text.replace("\"tree\"", "\"release\"")).unwrap();
    fs::remove_dir_all(mirror.fixture.cache().join("names")).unwrap();
    let said = run(&mut mirror.uml(&["kernel", "build"]));
    assert_eq!(said.kernel(), linux);
    for text in ["could not download", "Taking Linux 6.12.99, which was built earlier"] {
        assert!(said.stderr.contains(text), "{text:?} is missing from {}", said.stderr);
    }
    assert_eq!(mirror.fixture.named("6.12").as_deref(), linux.parent());
    run(&mut mirror.uml(&["kernel", "build", "7.2"])).fails(4, &["could not download"]);
}

#[test]
fn a_machine_without_apt_is_told_to_pass_a_source() {
    let mirror = Mirror::new();
    let bin = mirror.fixture.path().join("few");
    fs::create_dir(&bin).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let find = |name: &str| {
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.exists())
    };
    for name in ["gcc", "make", "flex", "bison", "bc", "ld", "objcopy", "tar", "xz"] {
        std::os::unix::fs::symlink(find(name).unwrap(), bin.join(name)).unwrap();
    }
    let fetcher = find("curl").or_else(|| find("wget")).unwrap();
    std::os::unix::fs::symlink(&fetcher, bin.join(fetcher.file_name().unwrap())).unwrap();
    let says = [
        "no apt-get on this machine",
        "name a Linux source tree or a tarball",
        "could not download http://127.0.0.1:9/v7.x/linux-7.2.tar.xz",
    ];
    run(mirror.setup().env("PATH", bin)).fails(4, &says);
}

/// As Ubuntu's: kernel.org's release is asked for first, and the mirror's serves where that can't be reached.
#[test]
fn a_mirror_without_a_tested_series_is_the_last_resort() {
    let mirror = Mirror::new();
    let shown = mirror.fixture.at_home("shown");
    let untested = fs::read_to_string(&shown).unwrap().replace("7.2.99-1", "6.8.0-1");
    fs::write(&shown, untested).unwrap();
    let said = run(&mut mirror.setup());
    for text in [
        "no version that uml-test is tested with, at best Linux 6.8.0",
        "Taking Linux 7.2.0 from kernel.org",
        "could not download http://127.0.0.1:9/v7.x/linux-7.2.tar.xz",
        "Fetching linux-source-7.2 6.8.0-1",
    ] {
        assert!(said.stderr.contains(text), "{text:?} is missing from {}", said.stderr);
    }
    said.kernel();
}

#[test]
fn a_version_comes_from_the_mirror() {
    let mirror = Mirror::new();
    let linux = run(&mut mirror.uml(&["kernel", "build", "7.2"])).kernel();
    let directory = linux.parent().unwrap();
    assert_eq!(mirror.fixture.named("7.2").as_deref(), Some(directory));
    assert_eq!(mirror.fixture.named("default").as_deref(), Some(directory));

    // The same kernel by its exact version and by setup, without another look at the mirror.
    let calls = mirror.calls();
    assert_eq!(run(&mut mirror.uml(&["kernel", "build", "7.2.99"])).kernel(), linux);
    assert_eq!(run(&mut mirror.setup()).kernel(), linux);
    // Another configuration needs the source again, which is there.
    let debug = run(&mut mirror.uml(&["kernel", "build", "7.2.99", "--flavour", "debug"])).kernel();
    assert_ne!(debug, linux);
    assert_eq!(mirror.calls(), calls);
    assert_eq!(mirror.fixture.builds(), 2);
}

#[test]
fn a_version_that_is_nowhere_is_an_error_that_says_what_can_be_had() {
    let mirror = Mirror::new();
    run(&mut mirror.uml(&["kernel", "build", "6.3"])).fails(
        4,
        &[
            "Linux 6.3 can be had neither from the package mirror",
            "6.12.64",
            "--sha256",
            "http://mirror.test",
        ],
    );
    run(&mut mirror.uml(&["kernel", "build", "5.10"])).fails(4, &["Linux 5.10 is too old"]);
    run(&mut mirror.uml(&["kernel", "build", "7.2-rc1"]))
        .fails(4, &["7.2-rc1 is neither a version"]);
}

#[test]
fn setup_keeps_a_default_that_the_user_chose() {
    let mirror = Mirror::new();
    let tree = mirror.fixture.tree();
    let own = run(&mut mirror.uml(&["kernel", "build", tree.to_str().unwrap(), "--name", "own"]));
    let own = own.kernel();
    assert_eq!(run(&mut mirror.setup()).kernel(), own);
    assert_eq!(mirror.calls(), "");
}

/// Of what this command builds itself the outdated is renewed, but not by another series.
#[test]
fn setup_keeps_the_series_that_the_user_chose() {
    let mirror = Mirror::new();
    mirror.fixture.set_version("6.12.99");
    let linux = mirror.fixture.build(&[]);
    run(&mut mirror.uml(&["kernel", "default", "6.12"]));
    let metadata = linux.with_file_name("kernel.toml");
    let text = fs::read_to_string(&metadata).unwrap().replace("\"tree\"", "\"release\"");
    let outdated = text.replace("recipe = \"", "recipe = \"0");
    assert_ne!(text, outdated);
    fs::write(&metadata, outdated).unwrap();
    // The mirror has 7.2 only.
    let said = run(&mut mirror.setup());
    let tried = "could not download http://127.0.0.1:9/v6.x/linux-6.12";
    assert!(said.stderr.contains(tried), "{}", said.stderr);
    assert!(said.stderr.contains("the usual kernel takes"), "{}", said.stderr);
    assert_ne!(said.kernel(), linux);
    fs::write(&metadata, text).unwrap();
    run(&mut mirror.uml(&["kernel", "default", "6.12"]));
    assert_eq!(run(&mut mirror.setup()).kernel(), linux);
    // Nor does another take the place of one that is damaged.
    fs::write(&linux, "damaged").unwrap();
    run(&mut mirror.setup()).fails(4, &["(6.12) is damaged", tried]);
    assert_eq!(run(&mut mirror.uml(&["kernel", "default"])).stdout, "6.12\n");
}

#[test]
fn installs_the_distributions_kernel_with_its_modules() {
    let mirror = Mirror::new();
    let said = run(&mut mirror.uml(&["kernel", "install", "distro"]));
    let linux = said.kernel();
    assert_eq!(said.stderr.contains("no /sbin/modprobe"), !has_modprobe(), "{}", said.stderr);
    let directory = linux.parent().unwrap();
    assert_eq!(mirror.fixture.named("distro").as_deref(), Some(directory));
    assert_eq!(fs::read(&linux).unwrap(), fs::read(real_kernel()).unwrap());
    let release = run(Command::new(&linux).arg("--version")).stdout;
    let module = directory.join("modules").join(release.trim()).join("kernel/a.ko");
    assert_eq!(fs::read_to_string(module).unwrap(), "a module");
    let metadata = fs::read_to_string(directory.join("kernel.toml")).unwrap();
    assert!(metadata.contains("provenance = \"distribution\""), "{metadata}");
    assert!(metadata.contains("source = \"user-mode-linux 7.2-2um-1+b1 sha256:"), "{metadata}");

    let downloads = mirror.calls().matches("download").count();
    assert_eq!(run(&mut mirror.uml(&["kernel", "install", "distro"])).kernel(), linux);
    assert_eq!(mirror.calls().matches("download").count(), downloads);
}
