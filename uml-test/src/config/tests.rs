use std::collections::BTreeSet;

use super::*;

const NOTHING: Overrides = Overrides::NONE;

/// A directory with these files, removed at the end of the test.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let dir =
            std::env::temp_dir().join(format!("uml-test-config-{}-{name}", std::process::id()));
        for (path, content) in files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        Self(dir)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect()
}

#[test]
fn later_places_win_and_lists_are_joined() {
    let tree = Tree::new(
        "layers",
        &[
            (
                "Cargo.toml",
                "[workspace]\n[workspace.metadata.uml-test]\nmem = '64M'\ntimeout = '1s'\ncmdline = 'a b'\nkernel = 'k/linux'\n",
            ),
            (
                "member/Cargo.toml",
                "[package]\nname = 'm'\n[package.metadata.uml-test]\ntimeout = '2s'\ncmdline = 'c'\nenv = { A = 'package', B = 'package' }\nrw-dirs = ['out']\n",
            ),
            ("member/out/.keep", ""),
        ],
    );
    let overrides = Overrides {
        timeout: parse_duration("3s"),
        env: &[("B", "attribute")],
        cmdline: Some("d"),
        ..NOTHING
    };
    let manifest_dir = tree.0.join("member");
    let config = resolve(&manifest_dir, &overrides, &Variables::new()).unwrap();
    assert_eq!(config.mem, 64 << 20);
    assert_eq!(config.timeout, Duration::from_secs(3));
    assert_eq!(config.cmdline, ["a", "b", "c", "d"]);
    let Some(KernelChoice::Written { text, base, place }) = config.kernel else { panic!() };
    assert_eq!((&*text, base), ("k/linux".as_ref(), tree.0.clone()));
    assert!(place.ends_with("Cargo.toml: [workspace.metadata.uml-test] kernel"), "{place}");
    assert_eq!(config.env["A"], "package");
    assert_eq!(config.env["B"], "attribute");
    let out = manifest_dir.join("out").canonicalize().unwrap();
    assert_eq!(config.rw_dirs, [RwDir::at_its_path(out)]);

    let set =
        variables(&[("UML_TEST_TIMEOUT", "4s"), ("UML_TEST_CMDLINE", "e"), ("UML_TEST_MEM", "")]);
    let config = resolve(&manifest_dir, &overrides, &set).unwrap();
    assert_eq!(config.timeout, Duration::from_secs(4));
    assert_eq!(config.cmdline, ["a", "b", "c", "d", "e"]);
    assert_eq!(config.mem, 64 << 20, "an empty variable counts as not set");
}

#[test]
fn an_unknown_key_names_itself_its_place_and_the_known_ones() {
    let tree = Tree::new(
        "unknown",
        &[("Cargo.toml", "[package]\nname = 'm'\n[package.metadata.uml-test]\ntimout = '2s'\n")],
    );
    let error = resolve(&tree.0, &NOTHING, &Variables::new()).unwrap_err().to_string();
    for part in ["Cargo.toml", "[package.metadata.uml-test]", "`timout`", "`timeout`"] {
        assert!(error.contains(part), "{part} is missing: {error}");
    }
}

#[test]
fn a_bad_value_says_what_was_expected_and_found() {
    let tree = Tree::new(
        "value",
        &[(
            "Cargo.toml",
            "[package]\nname = 'm'\n[package.metadata.uml-test]\ntimeout = '2 weeks'\n",
        )],
    );
    let error = resolve(&tree.0, &NOTHING, &Variables::new()).unwrap_err().to_string();
    assert!(error.contains("] timeout: expected a whole number above zero"), "{error}");
    assert!(error.ends_with("found `2 weeks`"), "{error}");

    let empty = Tree::new("variables", &[("Cargo.toml", "[package]\nname = 'm'\n")]);
    let with = |name, value| resolve(&empty.0, &NOTHING, &variables(&[(name, value)]));
    let error = with("UML_TEST_SANDBOX", "on").unwrap_err().to_string();
    assert_eq!(error, "UML_TEST_SANDBOX: expected auto, require or off, found `on`");
    let error = with("UML_TEST_KERNAL", "/x").unwrap_err().to_string();
    assert!(error.starts_with("unknown variable UML_TEST_KERNAL; known are "), "{error}");
    assert!(error.contains("UML_TEST_KERNEL,"), "{error}");
    with("UML_TEST_KERNAL", "").unwrap();
    for name in ["UML_TEST_CACHE_DIR", "UML_TEST_RESULTS", "UML_TEST_RUN_DIR"] {
        let error = with(name, "beside/me").unwrap_err().to_string();
        assert_eq!(error, format!("{name}: expected an absolute path, found `beside/me`"));
    }
}

#[test]
fn a_missing_rw_dir_is_named() {
    let tree = Tree::new("rw", &[("Cargo.toml", "[package]\nname = 'm'\n"), ("file", "")]);
    for dir in ["absent", "file"] {
        let leaked: &'static str = Box::leak(dir.to_owned().into_boxed_str());
        let overrides = Overrides { rw_dirs: Box::leak(Box::new([leaked])), ..NOTHING };
        let error = resolve(&tree.0, &overrides, &Variables::new()).unwrap_err().to_string();
        assert!(error.contains(&format!("/{dir}: not a directory")), "{error}");
    }
}

#[test]
fn a_binary_away_from_its_sources_runs_on_defaults() {
    let config = resolve(Path::new("/nonexistent/package"), &NOTHING, &Variables::new()).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn every_setting_is_in_the_documented_table() {
    let table = include_str!("../../docs/settings.md");
    for variable in VARIABLES {
        assert!(table.contains(&format!("`{variable}`")), "{variable} is not documented");
    }
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), keys().iter().map(|key| &**key).collect());
}

/// The keys that a manifest may have, as the error names them.
fn keys() -> BTreeSet<String> {
    let error = toml::from_str::<Table>("no-key = 1").unwrap_err();
    let (_, known) = error.message().split_once("expected one of ").unwrap();
    known.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
}

#[test]
fn a_manifest_sets_everything() {
    const SETTINGS: &str = r#"
        kernel = "7.2"
        mem = "64M"
        timeout = "1s"
        boot-timeout = "2s"
        cmdline = "a b"
        env = { NAME = "value" }
        rw-dirs = ["out"]
        traps = "ptrace"
        sandbox = "require"
        missing-kernel = "skip"
        libtest-skips = "fail"
        keep-runs = 3
        run-dir = "runs"
    "#;
    let written: toml::Table = toml::from_str(SETTINGS).unwrap();
    assert_eq!(written.keys().cloned().collect::<BTreeSet<_>>(), keys());
    for kind in ["package", "workspace"] {
        let manifest = format!("[{kind}]\n[{kind}.metadata.uml-test]{SETTINGS}");
        let tree = Tree::new(
            &format!("everything-{kind}"),
            &[("Cargo.toml", &*manifest), ("out/.keep", "")],
        );
        let config = resolve(&tree.0, &NOTHING, &Variables::new()).unwrap();
        let place = tree.0.join("Cargo.toml");
        let wanted = Config {
            kernel: Some(KernelChoice::Written {
                text: "7.2".into(),
                base: tree.0.clone(),
                place: format!("{}: [{kind}.metadata.uml-test] kernel", place.display()),
            }),
            mem: 64 << 20,
            timeout: Duration::from_secs(1),
            boot_timeout: Duration::from_secs(2),
            cmdline: vec!["a".to_owned(), "b".to_owned()],
            env: [("NAME".to_owned(), "value".to_owned())].into(),
            rw_dirs: vec![RwDir::at_its_path(tree.0.join("out").canonicalize().unwrap())],
            keep: Vec::new(),
            traps: Traps::Ptrace,
            sandbox: Sandbox::Require,
            missing_kernel: MissingKernel::Skip,
            gates: UnmetGates::Ignore,
            libtest_skips: LibtestSkips::Fail,
            keep_runs: 3,
            run_dir: Some(tree.0.join("runs")),
        };
        assert_eq!(config, wanted);
    }
}

#[test]
fn a_workspace_is_found_however_it_is_written() {
    for (name, text, found) in [
        ("header", "[workspace]\n", true),
        ("sub-table", "[workspace.package]\nedition = '2024'\n", true),
        ("dotted", "workspace.members = []\n", true),
        ("inline", "workspace = { members = [] }\n", true),
        ("spaced", "[ workspace ]\n", true),
        ("member", "[package]\nname = 'm'\nworkspace = '..'\n", false),
        ("comment", "# workspace\n[package]\nname = 'm'\n", false),
    ] {
        assert_eq!(declares_workspace(Path::new("Cargo.toml"), text), found, "{name}");
    }
}

#[test]
fn a_package_may_name_its_workspace() {
    let tree = Tree::new(
        "named",
        &[
            (
                "root/Cargo.toml",
                "[workspace]\nmembers = ['../apart']\n[workspace.metadata.uml-test]\nmem = '64M'\n",
            ),
            ("apart/Cargo.toml", "[package]\nname = 'm'\nworkspace = '../root'\n"),
        ],
    );
    let config = resolve(&tree.0.join("apart"), &NOTHING, &Variables::new()).unwrap();
    assert_eq!(config.mem, 64 << 20);
}
