//! Configurations: `cargo uml kernel config`, with a script in the place of the menus, what Kconfig drops, and what is
//! left behind.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fixture::{Fixture, run, script};
use crate::setup::programs_without;

/// A directory with the header of ncurses, which the machine may lack.
fn header(fixture: &Fixture) -> PathBuf {
    let header = fixture.path().join("include");
    fs::create_dir(&header).unwrap();
    fs::write(header.join("ncurses.h"), "").unwrap();
    header
}

#[test]
fn saves_a_changed_configuration_as_a_fragment() {
    let fixture = Fixture::new();
    fixture.write(
        "Kconfig",
        "config VETH\n\tbool \"v\"\nconfig MINE\n\tbool \"m\"\nconfig AUTO\n\tbool\n",
    );
    let menu = "sed -i '/^CONFIG_VETH=/d' $1; echo CONFIG_MINE=y >> $1; echo CONFIG_AUTO=y >> $1\n";
    fs::write(fixture.at_home("menu"), menu).unwrap();
    let header = header(&fixture);
    let output = fixture.path().join("mine.config");
    let tree = fixture.tree();
    let mut config = fixture.uml(&["kernel", "config", tree.to_str().unwrap(), "--output"]);
    fs::write(fixture.at_home("drop"), "BRIDGE").unwrap();
    let said = run(config.arg(&output).env("CPATH", &header));
    assert!(said.succeeds().stderr.contains("Not honoured: CONFIG_BRIDGE: wanted y"));
    fs::remove_file(fixture.at_home("drop")).unwrap();
    assert_eq!(fs::read_to_string(&output).unwrap(), "CONFIG_MINE=y\nCONFIG_VETH=n\n");
    // As any new file is.
    fs::write(fixture.path().join("new"), "").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions();
    assert_eq!(mode(&output), mode(&fixture.path().join("new")));
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);
    let linux = fixture.build(&["--fragment", output.to_str().unwrap()]);
    assert_eq!(fixture.named("7.2:mine").as_deref(), linux.parent());

    // Again, from that fragment and into it: nothing of it is lost but what changed, and modules are not taken.
    let config = |more: &[&str]| {
        let output = output.to_str().unwrap();
        let fixed = ["kernel", "config", tree.to_str().unwrap(), "--output", output];
        run(fixture.uml(&[&fixed, more].concat()).env("CPATH", &header))
    };
    let mine = output.to_str().unwrap();
    fs::write(&output, "# Of me\nCONFIG_MINE=y # optional before 6.7\nCONFIG_VETH=n\n").unwrap();
    fs::write(fixture.at_home("menu"), "printf 'CONFIG_VETH=y\nCONFIG_MOD=m\n' >> $1\n").unwrap();
    fixture.write(
        "Kconfig",
        "config VETH\n\tbool \"v\"\nconfig MINE\n\tbool \"m\"\nconfig MOD\n\ttristate \"o\"\n",
    );
    let said = config(&["--fragment", mine]);
    said.succeeds();
    assert!(said.stderr.contains("CONFIG_MOD=m is left out"), "{}", said.stderr);
    let written = "# Of me\nCONFIG_MINE=y # optional before 6.7\nCONFIG_VETH=y\n";
    assert_eq!(fs::read_to_string(&output).unwrap(), written);

    // What is written to it while the menus are open stays, and so do the changes.
    let menu = format!("echo '# Meanwhile' >> {mine}; echo CONFIG_MOD=y >> $1\n");
    fs::write(fixture.at_home("menu"), menu).unwrap();
    config(&["--fragment", mine])
        .fails(1, &["mine.config was changed while the menus were open", "\nCONFIG_MOD=y\n"]);
    assert_eq!(fs::read_to_string(&output).unwrap(), format!("{written}# Meanwhile\n"));
    fs::write(&output, written).unwrap();

    // What would be lost is refused before the menus.
    fs::write(fixture.at_home("menu"), "touch $HOME/menus\n").unwrap();
    let other = fixture.path().join("other.config");
    fs::write(&other, "").unwrap();
    config(&[]).fails(2, &["mine.config exists and is none of the fragments"]);
    config(&["--fragment", mine, "--fragment", other.to_str().unwrap()])
        .fails(2, &["mine.config, which fragments behind it override"]);
    assert_eq!(fs::read_to_string(&output).unwrap(), written);
    assert!(!fixture.at_home("menus").exists());
}

#[test]
fn an_option_that_kconfig_drops_is_an_error() {
    let fixture = Fixture::new();
    fs::write(fixture.at_home("drop"), "VETH").unwrap();
    let failed = run(&mut fixture.setup(&fixture.tree()));
    failed.fails(
        5,
        &[
            "Linux 7.2.99 does not honour 1 of the requested options",
            "CONFIG_VETH: wanted y, is not set (in base)",
        ],
    );
    assert_eq!(fixture.compiled(), 0);
}

#[test]
fn a_mistyped_option_that_is_to_be_off_is_told() {
    let fixture = Fixture::new();
    fixture.write("Kconfig", "config VETH\n\tbool \"Veth\"\nconfig DUMMY\n\tbool \"Dummy\"\n");
    let fragment = fixture.path().join("mine.config");
    fs::write(&fragment, "# CONFIG_VEHT is not set\nCONFIG_DUMMY=n\nCONFIG_ELSEWHERE=n\n").unwrap();
    let tree = fixture.tree();
    let mut build = fixture.uml(&["kernel", "build", tree.to_str().unwrap(), "--fragment"]);
    let done = run(build.arg(&fragment));
    done.kernel();
    let note = "CONFIG_VEHT: this kernel has no such option to be off; did you mean CONFIG_VETH?\n";
    assert!(done.stderr.contains(note), "{}", done.stderr);
    assert_eq!(done.stderr.matches("no such option").count(), 1, "{}", done.stderr);
}

/// Each configuration has a build directory of its own, so each correction of a fragment would leave another.
#[test]
fn no_unpacked_tree_is_left_where_nothing_is_built() {
    let fixture = Fixture::new();
    let header = header(&fixture);
    let tarball = fixture.tarball();
    let tarball = tarball.to_str().unwrap();
    let builds = fixture.cache().join("build");
    let output = fixture.path().join("mine.config");
    let config = |code: Option<i32>| {
        let mut config = fixture.uml(&["kernel", "config", tarball, "--output"]);
        let said = run(config.arg(&output).env("CPATH", &header));
        assert_eq!(said.code, code, "{said:?}");
        fs::remove_file(&output).ok();
    };
    fs::write(fixture.at_home("menu"), "").unwrap();
    config(Some(0));
    assert!(!builds.exists());
    fs::write(fixture.at_home("menu"), "exit 1").unwrap();
    config(Some(1));
    assert!(!builds.exists());

    fs::write(fixture.at_home("drop"), "MINE").unwrap();
    let fragment = fixture.path().join("my.config");
    fs::write(&fragment, "CONFIG_MINE=y\n").unwrap();
    let mut build = fixture.uml(&["kernel", "build", tarball, "--fragment"]);
    let failed = run(build.arg(&fragment));
    failed.fails(5, &["CONFIG_MINE: wanted y"]);
    let shown = failed.stderr.trim_end().rsplit(' ').next().unwrap();
    let directory = Path::new(shown).parent().and_then(Path::parent).unwrap();
    assert!(Path::new(shown).exists() && directory.starts_with(&builds), "{shown}");
    assert!(!directory.join("src").exists());
    // Nor do menus with the same fragment leave one.
    fs::write(fixture.at_home("menu"), "").unwrap();
    let mut config_of_it = fixture.uml(&["kernel", "config", tarball, "--fragment"]);
    config_of_it.arg(&fragment).arg("--output").arg(&output).env("CPATH", &header);
    assert_eq!(run(&mut config_of_it).code, Some(0));
    assert!(!builds.exists());
    fs::remove_file(fixture.at_home("drop")).unwrap();
    fs::remove_file(&output).ok();

    // What a build has come to stays, and the next one resumes it.
    fs::write(fixture.at_home("break"), "b.c:1:2: error: this is broken\n").unwrap();
    run(&mut fixture.uml(&["kernel", "build", tarball])).fails(5, &["this is broken"]);
    fs::remove_file(fixture.at_home("break")).unwrap();
    fs::write(fixture.at_home("menu"), "").unwrap();
    config(Some(0));
    let compiled = fixture.compiled();
    run(&mut fixture.uml(&["kernel", "build", tarball])).kernel();
    assert_eq!(fixture.compiled(), compiled + 1, "a.o was compiled before");
}

/// Without the compiler no header is found, so it is not only those that are missing.
#[test]
fn menus_need_the_compiler_too() {
    let fixture = Fixture::new();
    let bin = programs_without(&fixture, "gcc");
    script(&bin.join("apt-get"), "exit 100\n");
    let tree = fixture.tree();
    let mut config = fixture.uml(&["kernel", "config", tree.to_str().unwrap(), "--output", "x"]);
    run(config.env("PATH", bin).current_dir(fixture.path()))
        .fails(3, &["gcc libc6-dev libncurses-dev"]);
}
