//! `cargo uml setup` without `--source`, on a package mirror that scripts in the place of apt pretend to have.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::fixture::{Fixture, run};

struct Mirror {
    fixture: Fixture,
}

impl Mirror {
    /// A mirror with one package, linux-source-7.2, of the fixture's tree.
    fn new() -> Self {
        let fixture = Fixture::new();
        let package = fixture.path().join("package");
        fs::create_dir_all(package.join("usr/src")).unwrap();
        fs::create_dir_all(package.join("DEBIAN")).unwrap();
        fs::rename(fixture.tarball(), package.join("usr/src/linux-source-7.2.tar.xz")).unwrap();
        let control = "Package: linux-source-7.2\nVersion: 7.2.99-1\nArchitecture: all\n\
                       Maintainer: Nobody <nobody@example.org>\nDescription: test\n";
        fs::write(package.join("DEBIAN/control"), control).unwrap();
        let deb = fixture.path().join("mirrored.deb");
        let built = run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .arg(&package)
            .arg(&deb));
        assert_eq!(built.code, Some(0), "{built:?}");
        let sha256 = run(Command::new("sha256sum").arg(&deb)).stdout;
        let shown = format!(
            "Package: linux-source-7.2\nVersion: 7.2.99-1\nSize: {}\nSHA256: {}\n",
            deb.metadata().unwrap().len(),
            sha256.split(' ').next().unwrap()
        );
        fs::write(fixture.path().join("shown"), shown).unwrap();

        let mirror = Mirror { fixture };
        mirror.script(
            "apt-get",
            "echo \"$@\" >> \"$HOME/apt\"\n\
             case \"$*\" in\n\
             *--print-uris) echo \"'http://mirror.test/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0\" ;;\n\
             *update) if test -e $HOME/offline; then echo 'E: could not connect' >&2; exit 100; fi ;;\n\
             *download*) cp $HOME/mirrored.deb ./linux-source-7.2_7.2.99-1_all.deb ;;\n\
             *) exit 1 ;;\n\
             esac\n",
        );
        mirror.script(
            "apt-cache",
            "case \"$*\" in\n\
             *pkgnames*) test -e $HOME/offline || printf 'linux-source\\nlinux-source-7.2\\n' ;;\n\
             *show*) cat $HOME/shown ;;\n\
             esac\n",
        );
        mirror
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.fixture.path().join("bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn setup(&self) -> Command {
        let mut command = self.fixture.command();
        let bin = self.fixture.path().join("bin");
        command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        command
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.fixture.at_home("apt")).unwrap_or_default()
    }

    fn set_offline(&self) {
        fs::write(self.fixture.at_home("offline"), "").unwrap();
    }
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
fn an_unreachable_mirror_is_an_error_that_names_what_was_tried() {
    let mirror = Mirror::new();
    mirror.set_offline();
    let failed = run(&mut mirror.setup());
    failed.fails(4, &["http://mirror.test/debian/ bookworm", "E: could not connect", "`--source`"]);
}

#[test]
fn a_machine_without_apt_is_told_to_pass_a_source() {
    let mirror = Mirror::new();
    let bin = mirror.fixture.path().join("few");
    fs::create_dir(&bin).unwrap();
    for name in ["gcc", "make", "flex", "bison", "bc", "ld", "objcopy", "tar"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{name}"), bin.join(name)).unwrap();
    }
    run(mirror.setup().env("PATH", bin)).fails(4, &["no apt-get on this machine", "`--source`"]);
}
