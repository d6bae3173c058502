//! Kernels out of a cache: by name, by default, with modules, and with the mark of their last use.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::command::run;
use crate::fixtures::Fixtures;
use crate::table::Kind;
use crate::verdicts::wrong_kinds;
use crate::ways::{Shown, Verdict, Wanted, Way};

const PASSES: &str = "cases::verdicts::passes";
const SEES_MODULES: &str = "cases::host::sees_modules";

/// A cache with the same kernel twice: `7.2`, which is the default, and `7.2/debug`, which has
/// modules.
struct Cache {
    dir: tempfile::TempDir,
}

impl Cache {
    fn new(fixtures: &Fixtures) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("names")).unwrap();
        for id in ["7.2.0-base", "7.2.0-debug"] {
            let entry = dir.path().join("kernels").join(id);
            fs::create_dir_all(&entry).unwrap();
            symlink(&fixtures.kernel, entry.join("linux")).unwrap();
        }
        let cache = Self { dir };
        cache.name("default", "7.2.0-base");
        cache.name("7.2", "7.2.0-base");
        cache.name("7.2:debug", "7.2.0-debug");
        let modules = cache.entry("7.2.0-debug").join("modules");
        fs::create_dir(&modules).unwrap();
        fs::write(modules.join("mark"), "of the debug kernel").unwrap();
        let release =
            run(Command::new(&fixtures.kernel).arg("--version"), Duration::from_secs(10)).stdout;
        let release = modules.join(String::from_utf8(release).unwrap().trim());
        fs::create_dir(&release).unwrap();
        // One that is there already, and one that is not: the null device by another name.
        let nodes = "# comment\nloop loop-control c10:237\nx uml-test/node c1:3\n";
        fs::write(release.join("modules.devname"), nodes).unwrap();
        cache
    }

    fn entry(&self, id: &str) -> PathBuf {
        self.dir.path().join("kernels").join(id)
    }

    fn name(&self, name: &str, id: &str) {
        symlink(format!("../kernels/{id}"), self.dir.path().join("names").join(name)).unwrap();
    }

    /// The kernels that were used since this was last asked.
    fn used(&self) -> Vec<&'static str> {
        let mut ids = vec!["7.2.0-base", "7.2.0-debug"];
        ids.retain(|id| fs::remove_file(self.entry(id).join("last-used")).is_ok());
        ids
    }

    fn run(&self, fixtures: &Fixtures, way: Way, test: &str, kernel: &str) -> Shown {
        let cache = self.dir.path().to_str().unwrap();
        let env = [
            ("UML_TEST_CACHE_DIR", cache),
            ("UML_TEST_KERNEL", kernel),
            ("E2E_MODULES", "of the debug kernel"),
        ];
        let wanted = Wanted { only: Some(test), env: &env, ..Wanted::default() };
        let (mut shown, _) = way.run(fixtures, &wanted).unwrap();
        shown.remove(test).unwrap()
    }
}

pub(crate) fn names(fixtures: &Fixtures) {
    let cache = Cache::new(fixtures);
    let path = cache.entry("7.2.0-debug").join("linux");
    for (kernel, used) in [
        ("", "7.2.0-base"),
        ("7.2", "7.2.0-base"),
        ("7.2/debug", "7.2.0-debug"),
        ("default", "7.2.0-base"),
        (path.to_str().unwrap(), "7.2.0-debug"),
    ] {
        for way in [Way::Libtest, Way::Custom] {
            let shown = cache.run(fixtures, way, PASSES, kernel);
            assert_eq!(shown.verdict, Verdict::Passed, "{kernel}: {}", shown.text);
            assert_eq!(cache.used(), [used], "{kernel}");
        }
    }
    // Elsewhere nothing is marked.
    let shown = cache.run(fixtures, Way::Custom, PASSES, fixtures.kernel.to_str().unwrap());
    assert_eq!((shown.verdict, cache.used()), (Verdict::Passed, vec![]));

    for (kernel, says) in [
        ("6.1/smp", "no kernel is named `6.1/smp` (from UML_TEST_KERNEL)"),
        ("6.1/smp", "the names there are: 7.2, 7.2/debug;"),
        ("6.1/smp", "`cargo uml kernel build 6.1 --flavour smp`"),
        ("mine", "`cargo uml kernel build VERSION --name mine`"),
        ("7.3", "`cargo uml kernel build 7.3`"),
        ("./7.2", "./7.2 (from UML_TEST_KERNEL) is no User Mode Linux kernel"),
    ] {
        let shown = cache.run(fixtures, Way::Custom, PASSES, kernel);
        assert_eq!(shown.verdict, Verdict::Failed, "{kernel}: {}", shown.text);
        assert_eq!(wrong_kinds(Some(Kind::Infrastructure), &shown.text), [""; 0]);
        assert!(shown.text.contains(says), "nothing says `{says}`:\n{}", shown.text);
        assert_eq!(cache.used(), [""; 0]);
    }
    // Without a default the newest is taken.
    fs::remove_file(cache.dir.path().join("names/default")).unwrap();
    let shown = cache.run(fixtures, Way::Custom, PASSES, "");
    assert_eq!((shown.verdict, cache.used().len()), (Verdict::Passed, 1), "{}", shown.text);
}

pub(crate) fn last_used(fixtures: &Fixtures) {
    let cache = Cache::new(fixtures);
    let mark = cache.entry("7.2.0-base").join("last-used");
    let long_ago = SystemTime::now() - Duration::from_secs(86_400);
    File::create(&mark).unwrap().set_modified(long_ago).unwrap();
    let started = SystemTime::now() - Duration::from_secs(1); // clocks of filesystems are coarse
    let shown = cache.run(fixtures, Way::Custom, PASSES, "");
    assert_eq!(shown.verdict, Verdict::Passed, "{}", shown.text);
    assert!(fs::metadata(&mark).unwrap().modified().unwrap() >= started);
    // What cannot be marked runs as well.
    fs::remove_file(&mark).unwrap();
    fs::create_dir_all(mark.join("is/a/directory")).unwrap();
    let shown = cache.run(fixtures, Way::Custom, PASSES, "");
    assert_eq!(shown.verdict, Verdict::Passed, "{}", shown.text);
}

/// A kernel's modules are what its guests see, and only its own guests.
pub(crate) fn modules(fixtures: &Fixtures) {
    let cache = Cache::new(fixtures);
    for way in [Way::Libtest, Way::Custom] {
        let shown = cache.run(fixtures, way, SEES_MODULES, "7.2/debug");
        assert_eq!(shown.verdict, Verdict::Passed, "{}", shown.text);
        let shown = cache.run(fixtures, way, SEES_MODULES, "7.2");
        assert_eq!(shown.verdict, Verdict::Failed, "{}", shown.text);
        assert!(shown.text.contains("/lib/modules/mark"), "{}", shown.text);
    }
    let modules = cache.entry("7.2.0-debug").join("modules");
    assert!(modules.join("mark").exists());
    assert!(!modules.join("added").exists(), "what the guest adds stays its own");
}
