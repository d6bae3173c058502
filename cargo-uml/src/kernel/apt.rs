//! Kernel source packages of the mirrors that apt is configured with, fetched without root.
//!
//! Everything happens in a private directory with its own list of suites, so nothing of the system's apt state is read
//! (it may never have been updated) or changed. The mirrors come from apt, with its proxies and credentials.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::version::{MINIMUM, TESTED, Version};
use crate::error::Error;
use crate::process;
use crate::report::{Reporter, Unit};

/// Debian suites with the tested kernels, which a Debian mirror has beside the configured suites.
const BACKPORTS: [&str; 2] = ["trixie-backports", "bookworm-backports"];

/// Where distributions put the keys of their archives; apt itself trusts only the last.
const KEYRINGS: [(&str, &str); 3] = [
    ("/usr/share/keyrings", "debian-archive-keyring."),
    ("/usr/share/keyrings", "ubuntu-archive-keyring."),
    ("/etc/apt/trusted.gpg.d", ""),
];

/// A suite of a mirror, component `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Suite {
    mirror: String,
    name: String,
}

/// A kernel source package that a mirror offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
    size: u64,
    /// The version in the package's name; its patch level is unknown.
    pub(crate) series: Version,
}

/// apt with private directories; they disappear when it is dropped.
pub(crate) struct Apt {
    directory: TempDir,
}

impl Apt {
    /// `scratch` is created if need be.
    pub(crate) fn new(scratch: &Path) -> Result<Self, Error> {
        if process::find("apt-get").is_none() {
            return Err(Error::NoApt);
        }
        fs::create_dir_all(scratch).map_err(Error::io("create", scratch))?;
        let directory = TempDir::with_prefix_in(".apt-", scratch)
            .map_err(Error::io("create a directory in", scratch))?;
        for name in ["lists/partial", "cache/archives/partial"] {
            let path = directory.path().join(name);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        Ok(Apt { directory })
    }

    /// The best kernel source package that the mirrors offer: see [`choose`].
    pub(crate) fn find(&self) -> Result<Package, Error> {
        let configured =
            parse_uris(&process::stdout(self.command("apt-get").args(["update", "--print-uris"]))?);
        if configured.is_empty() {
            return Err(Error::NoMirror);
        }
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let mut tried = Vec::new();
        let mut detail = String::new();
        for suites in stages(&configured, &release) {
            self.write_list(&suites)?;
            tried.extend(suites.iter().map(|suite| format!("{} {}", suite.mirror, suite.name)));
            // Fails if one suite is missing or out of reach; the others' lists are there all the same.
            let update = process::output(self.private("apt-get").args(["-qq", "update"]))?;
            detail.push_str(&process::said(&update));
            if let Some(package) = choose(self.packages()?) {
                return Ok(package);
            }
        }
        Err(Error::NoSourcePackage {
            minimum: MINIMUM,
            tried: tried.join("\n"),
            detail: process::tail(&detail),
        })
    }

    fn packages(&self) -> Result<Vec<Package>, Error> {
        let names = process::stdout(self.private("apt-cache").args(["pkgnames", "linux-source-"]))?;
        let names: Vec<&str> = names.lines().filter(|name| series(name).is_some()).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(parse_show(&process::stdout(self.private("apt-cache").arg("show").args(names))?))
    }

    /// Downloads `package` to `destination`, which appears only when whole.
    pub(crate) fn download(
        &self,
        package: &Package,
        destination: &Path,
        reporter: &Reporter,
    ) -> Result<(), Error> {
        let directory = self.directory.path().join("download");
        let log = self.directory.path().join("download.log");
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let output = File::create(&log).map_err(Error::io("create", &log))?;
        let mut command = self.private("apt-get");
        command
            .args(["-qq", "download"])
            .arg(format!("{}={}", package.name, package.version))
            .current_dir(&directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let spawn_error = |source| Error::Spawn { program: "apt-get".to_owned(), source };

        let phase = reporter.counted(
            format_args!("Fetching {} {}", package.name, package.version),
            package.size,
            Unit::Bytes,
        );
        let mut child = command.spawn().map_err(spawn_error)?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(spawn_error)? {
                break status;
            }
            phase.at(size_of_files(&directory));
            std::thread::sleep(Duration::from_millis(100));
        };
        drop(phase);
        let Some(file) = fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
            .next()
            .filter(|_| status.success())
        else {
            let output = process::tail(&fs::read_to_string(&log).unwrap_or_default());
            let command = format!("apt-get download {}={}", package.name, package.version);
            return Err(Error::Command { command, status: status.to_string(), output });
        };
        fs::rename(file.path(), destination).map_err(Error::io("create", destination))
    }

    fn list(&self) -> PathBuf {
        self.directory.path().join("sources.list")
    }

    fn write_list(&self, suites: &[Suite]) -> Result<(), Error> {
        let keyrings = keyrings();
        let options = if keyrings.is_empty() {
            String::new()
        } else {
            format!("[signed-by={}] ", keyrings.join(","))
        };
        let list: String = suites
            .iter()
            .map(|suite| format!("deb {options}{} {} main\n", suite.mirror, suite.name))
            .collect();
        fs::write(self.list(), list).map_err(Error::io("write", self.list()))
    }

    /// An apt program over the system's list of mirrors, with private state.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        command.env("LC_ALL", "C");
        command.arg("-o").arg(option("Dir::State::Lists", &self.directory.path().join("lists")));
        command.arg("-o").arg(option("Dir::Cache", &self.directory.path().join("cache")));
        // As root, apt would download as a user that can't write here, and warn.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }

    /// An apt program over the private list of suites, without the system's pins.
    fn private(&self, program: &str) -> Command {
        let mut command = self.command(program);
        command.arg("-o").arg(format!("Dir::Etc::SourceList={}", self.list().display()));
        for name in ["SourceParts", "Preferences", "PreferencesParts"] {
            command.arg("-o").arg(format!("Dir::Etc::{name}=/dev/null"));
        }
        command
    }
}

/// The suites with a component `main` in the output of `apt-get update --print-uris`.
///
/// Lines are `'<mirror>dists/<suite>/<component>/binary-<arch>/Packages.xz' <file> <size>`. Unlike `indextargets`, this
/// also shows mirrors whose lists were never fetched.
fn parse_uris(output: &str) -> Vec<Suite> {
    let mut suites = Vec::new();
    for line in output.lines() {
        let Some(uri) = line.strip_prefix('\'').and_then(|rest| rest.split('\'').next()) else {
            continue;
        };
        let Some((mirror, rest)) = uri.split_once("dists/") else { continue };
        let Some((name, _)) = rest.split_once("/main/binary-") else { continue };
        let suite = Suite { mirror: mirror.to_owned(), name: name.to_owned() };
        if !suites.contains(&suite) {
            suites.push(suite);
        }
    }
    suites
}

/// The suites to look into, one list after the other until one has a kernel.
fn stages(configured: &[Suite], os_release: &str) -> Vec<Vec<Suite>> {
    let value = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or("")
            .trim_matches('"')
    };
    let distributions = format!("{} {}", value("ID"), value("ID_LIKE"));
    let mut stages = vec![configured.to_vec()];
    let is = |name| distributions.split(' ').any(|word| word == name);
    if is("debian") && !is("ubuntu") {
        let codename = value("VERSION_CODENAME");
        let own = format!("{codename}-backports");
        let mut backports = Vec::new();
        // The mirrors of the release itself: security updates and third parties have no backports.
        for mirror in
            configured.iter().filter(|suite| suite.name == codename).map(|suite| &suite.mirror)
        {
            for name in BACKPORTS.into_iter().chain([own.as_str()]) {
                let suite = Suite { mirror: mirror.clone(), name: name.to_owned() };
                if !backports.contains(&suite) {
                    backports.push(suite);
                }
            }
        }
        if !backports.is_empty() {
            stages.insert(0, backports);
        }
    }
    stages
}

/// `7.2` for `linux-source-7.2`; `None` for the meta-package and other names.
fn series(name: &str) -> Option<Version> {
    let text = name.strip_prefix("linux-source-")?;
    let numeric =
        text.contains('.') && text.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    if numeric { text.parse().ok() } else { None }
}

/// The packages in the output of `apt-cache show`.
fn parse_show(output: &str) -> Vec<Package> {
    output
        .split("\n\n")
        .filter_map(|stanza| {
            let field = |name: &str| {
                stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            let name = field("Package")?;
            Some(Package {
                name: name.to_owned(),
                version: field("Version")?.to_owned(),
                sha256: field("SHA256")?.to_owned(),
                size: field("Size")?.parse().ok()?,
                series: series(name)?,
            })
        })
        .collect()
}

/// The most preferred tested series, else the newest that is new enough. Of equals the first, as apt sorts them.
fn choose(packages: Vec<Package>) -> Option<Package> {
    let preference = |package: &Package| {
        let tested = TESTED.iter().position(|series| *series == package.series.series());
        // Lower is better: tested ones by preference, then all others.
        tested.unwrap_or(TESTED.len())
    };
    packages
        .into_iter()
        .filter(|package| package.series >= MINIMUM)
        .rev()
        .max_by(|a, b| preference(b).cmp(&preference(a)).then_with(|| a.series.cmp(&b.series)))
}

fn keyrings() -> Vec<String> {
    let files = |(directory, prefix): (&'static str, &'static str)| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(move |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_keyring = ["gpg", "pgp", "asc"]
                .iter()
                .any(|ending| path.extension().is_some_and(|found| found == *ending));
            name.starts_with(prefix) && is_keyring && File::open(path).is_ok()
        })
    };
    let mut all: Vec<String> =
        KEYRINGS.into_iter().flat_map(files).map(|path| path.display().to_string()).collect();
    all.sort_unstable();
    all
}

fn size_of_files(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URIS: &str = "\
'http://mirror.test/debian/dists/bookworm/InRelease' mirror.test_debian_dists_bookworm_InRelease 0 
'http://mirror.test/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror.test_debian_x 0 
'http://mirror.test/debian/dists/bookworm/main/binary-all/Packages.xz' mirror.test_debian_y 0 
'http://mirror.test/security/dists/bookworm-security/main/binary-amd64/Packages.xz' mirror.test_z 0 
'http://third.test/repo/dists/stable/other/binary-amd64/Packages.xz' third.test_repo 0 
";

    fn suite(mirror: &str, name: &str) -> Suite {
        Suite { mirror: mirror.to_owned(), name: name.to_owned() }
    }

    fn package(name: &str, version: &str) -> Package {
        let series = series(name).unwrap();
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: String::new(),
            size: 1,
            series,
        }
    }

    #[test]
    fn finds_the_configured_suites() {
        let expected = [
            suite("http://mirror.test/debian/", "bookworm"),
            suite("http://mirror.test/security/", "bookworm-security"),
        ];
        assert_eq!(parse_uris(URIS), expected);
        assert_eq!(parse_uris("Reading package lists...\n"), []);
    }

    #[test]
    fn debian_mirrors_are_asked_for_backports_first() {
        let stages = stages(&parse_uris(URIS), "ID=debian\nVERSION_CODENAME=bookworm\n");
        let mirror = "http://mirror.test/debian/";
        assert_eq!(
            stages[0],
            [suite(mirror, "trixie-backports"), suite(mirror, "bookworm-backports")]
        );
        assert_eq!(stages[1], parse_uris(URIS));
    }

    #[test]
    fn ubuntu_mirrors_are_asked_for_their_own_suites() {
        let configured = [suite("http://mirror.test/ubuntu/", "noble")];
        let release = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
        assert_eq!(stages(&configured, release), [configured.to_vec()]);
    }

    #[test]
    fn reads_what_apt_cache_shows() {
        let shown = "Package: linux-source-7.2\nVersion: 7.2.12-1~bpo13+1\nSize: 164744800\nSHA256: 73ca\n\n\
                     Package: linux-source\nVersion: 7.3.1\nSize: 1\nSHA256: 00\n\n";
        let expected = Package {
            sha256: "73ca".into(),
            size: 164_744_800,
            ..package("linux-source-7.2", "7.2.12-1~bpo13+1")
        };
        assert_eq!(parse_show(shown), [expected]);
    }

    #[test]
    fn prefers_tested_versions_then_the_newest() {
        let chosen = |names: &[&str]| {
            choose(names.iter().map(|name| package(name, "1")).collect()).map(|p| p.name)
        };
        let all = ["linux-source-6.12", "linux-source-7.3", "linux-source-7.2", "linux-source-6.1"];
        assert_eq!(chosen(&all).as_deref(), Some("linux-source-7.2"));
        assert_eq!(
            chosen(&["linux-source-7.3", "linux-source-6.12"]).as_deref(),
            Some("linux-source-6.12")
        );
        assert_eq!(
            chosen(&["linux-source-6.8.0", "linux-source-6.11.0"]).as_deref(),
            Some("linux-source-6.11.0")
        );
        assert_eq!(chosen(&["linux-source-5.15.0"]), None);
    }

    #[test]
    fn of_one_series_takes_the_one_that_apt_names_first() {
        let both =
            vec![package("linux-source-7.2", "7.2.12"), package("linux-source-7.2", "7.2.9")];
        assert_eq!(choose(both).unwrap().version, "7.2.12");
    }
}
