//! The JUnit report of isolated tests: one suite for each test binary.

use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use nix::fcntl::{Flock, FlockArg};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::ended::INFRASTRUCTURE;
use super::isolate::{Outcome, TestResult};

/// Puts a report without tests into the place of an earlier run's, for this one's binaries to add to. Any other file
/// stays.
pub(crate) fn begin(path: &Path) -> anyhow::Result<()> {
    let doing = || format!("write the JUnit report {}", path.display());
    // What is no file might block where it is opened, and a device would be replaced.
    ensure!(
        fs::metadata(path).map_or(true, |found| found.is_file()),
        "{}: is there already, and no regular file: name another file",
        path.display()
    );
    let path = &followed(path).with_context(doing)?;
    match File::open(path) {
        Ok(file) => {
            let is_one = file.metadata().with_context(doing)?.len() == 0
                || Report::deserialize(BufReader::new(file)).is_ok();
            ensure!(
                is_one,
                "{}: is there already, and no JUnit report: remove it, or name another file",
                path.display()
            );
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(doing),
    }
    let unfinished = Unfinished::lock(path).with_context(doing)?;
    unfinished.publish(path, &Report::new("cargo-uml")).with_context(doing)
}

/// Adds the results of a binary to the report in a file. Each is run by a process of its own.
pub(crate) fn add(path: &Path, binary: &str, results: &[TestResult]) -> anyhow::Result<()> {
    let doing = || format!("write the JUnit report {}", path.display());
    let path = &followed(path).with_context(doing)?;
    let unfinished = Unfinished::lock(path).with_context(doing)?;
    let mut report = match File::open(path) {
        Ok(file) => Report::deserialize(BufReader::new(file)).with_context(doing)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Report::new("cargo-uml"),
        Err(error) => return Err(error).with_context(doing),
    };
    report.add_test_suite(suite(binary, results));
    unfinished.publish(path, &report).with_context(doing)
}

/// Where a report is, if symbolic links lead there: it takes the place of what they lead to, also where that is nothing
/// yet, and not theirs.
fn followed(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.read_link() {
            Ok(target) => followed(&path.parent().unwrap_or(path).join(target)),
            Err(_) => Ok(path.to_owned()),
        },
        found => found,
    }
}

/// The file beside a report that takes its place when it is written. Until then it is the report's lock, also between
/// two runs at once: on NFS what is locked must be open for writing, which a directory can't be.
struct Unfinished {
    path: PathBuf,
    file: Flock<File>,
}

impl Unfinished {
    fn lock(report: &Path) -> io::Result<Self> {
        fs::create_dir_all(report.parent().unwrap_or(Path::new("/")))?;
        let name = report.file_name().unwrap_or_default().to_string_lossy();
        let path = report.with_file_name(format!(".{name}.part"));
        loop {
            // Not a temporary file, which would be for this user alone.
            let file = File::options().write(true).create(true).truncate(false).open(&path)?;
            let file = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| io::Error::from(errno))?;
            // Whoever had it locked may have made a report of it.
            let locked = file.metadata()?;
            let is_it =
                |found: Metadata| (found.dev(), found.ino()) == (locked.dev(), locked.ino());
            if fs::symlink_metadata(&path).is_ok_and(is_it) {
                return Ok(Unfinished { path, file });
            }
        }
    }

    fn publish(self, report: &Path, content: &Report) -> anyhow::Result<()> {
        let text = content.to_string()?;
        self.file.set_len(0)?; // of a run that was killed
        (&*self.file).write_all(text.as_bytes())?;
        Ok(fs::rename(&self.path, report)?)
    }
}

fn suite(binary: &str, results: &[TestResult]) -> TestSuite {
    let mut suite = TestSuite::new(binary);
    suite.set_time(results.iter().map(|result| result.took).sum());
    for result in results {
        let status = match &result.outcome {
            Outcome::Passed => TestCaseStatus::success(),
            Outcome::Ignored => TestCaseStatus::skipped(),
            Outcome::Failed { word, reason } => {
                // JUnit's word for a test that was not tried to its end.
                let kind = match *word == INFRASTRUCTURE {
                    true => NonSuccessKind::Error,
                    false => NonSuccessKind::Failure,
                };
                let mut status = TestCaseStatus::non_success(kind);
                status.set_message(reason.lines().next().unwrap_or_default());
                status.set_description(&**reason);
                status
            }
        };
        let mut case = TestCase::new(&*result.name, status);
        case.set_classname(binary).set_time(result.took);
        if !result.output.is_empty() {
            case.set_system_out_lossy(&result.output);
        }
        suite.add_test_case(case);
    }
    suite
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn binaries_add_to_one_report() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reports/junit.xml");
        let result = |name: &str, outcome| TestResult {
            name: name.to_owned(),
            outcome,
            output: b"said \xff\x1b[1m <b>\n".to_vec(),
            took: Duration::from_millis(1500),
        };
        let failed = Outcome::Failed { word: "failed", reason: "exit code 3\n& more".to_owned() };
        begin(&path).unwrap();
        add(&path, "x/one", &[result("a", Outcome::Passed), result("b", failed)]).unwrap();
        let reason = "no kernel".to_owned();
        let untried = Outcome::Failed { word: INFRASTRUCTURE, reason };
        add(&path, "x/two", &[result("c", Outcome::Ignored), result("d", untried)]).unwrap();

        let report = Report::deserialize_from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!((report.tests, report.failures, report.errors), (4, 1, 1));
        let names: Vec<_> = report.test_suites.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(names, ["x/one", "x/two"]);
        let failed = &report.test_suites[0].test_cases[1];
        assert!(failed.system_out.as_ref().unwrap().as_str().contains("<b>"));
        assert_eq!(failed.time, Some(Duration::from_millis(1500)));
        use std::os::unix::fs::PermissionsExt;
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "as the umask has it");
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");

        begin(&path).unwrap();
        let tests =
            || Report::deserialize_from_str(&fs::read_to_string(&path).unwrap()).unwrap().tests;
        assert_eq!(tests(), 0);
        add(&path, "x/one", &[result("a", Outcome::Passed)]).unwrap();
        assert_eq!(tests(), 1);
    }

    /// Each looks for the lock that the one before has made a report of.
    #[test]
    fn those_who_add_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("junit.xml");
        fs::write(dir.path().join(".junit.xml.part"), "a killed run's".repeat(1000)).unwrap();
        begin(&path).unwrap();
        std::thread::scope(|scope| {
            for binary in 0..20 {
                let path = &path;
                scope.spawn(move || add(path, &binary.to_string(), &[]).unwrap());
            }
        });
        let report = Report::deserialize_from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(report.test_suites.len(), 20);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_stay_and_lead_to_the_report() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let [link, target] = [dir.path().join("junit.xml"), elsewhere.join("report.xml")];
        symlink("elsewhere/report.xml", &link).unwrap();
        for round in ["that leads to nothing", "that leads to a report"] {
            begin(&link).unwrap();
            add(&link, "x", &[]).unwrap();
            assert!(link.is_symlink(), "one {round}");
            let report = Report::deserialize_from_str(&fs::read_to_string(&target).unwrap());
            assert_eq!(report.unwrap().test_suites.len(), 1, "one {round}");
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "one {round}");
        }
    }

    #[test]
    fn what_is_no_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let link = dir.path().join("link");
        symlink(&fifo, &link).unwrap();
        let device = dir.path().join("full");
        let is_made = mknod(&device, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 7));
        // Only root may.
        let device = is_made.is_ok().then_some(device);
        for path in [fifo, link, dir.path().to_owned()].into_iter().chain(device) {
            let found = |path: &Path| fs::symlink_metadata(path).unwrap().file_type();
            let before = found(&path);
            let error = begin(&path).unwrap_err().to_string();
            assert!(error.contains("no regular file"), "{error}");
            assert_eq!(found(&path), before, "{}", path.display());
        }
    }

    #[test]
    fn what_is_no_report_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Cargo.toml");
        fs::write(&path, "[package]\n").unwrap();
        let error = begin(&path).unwrap_err().to_string();
        assert!(error.contains("no JUnit report"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[package]\n");
        fs::write(&path, "").unwrap();
        begin(&path).unwrap();
    }
}
