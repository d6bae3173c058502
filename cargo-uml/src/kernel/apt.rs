//! Packages of the mirrors that apt is configured with, fetched without root.
//!
//! Everything happens in a private directory with its own list of suites, so nothing of the system's apt state is read
//! (it may never have been updated) or changed. The mirrors come from apt, with its proxies and credentials.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::package::{self, Package};
use super::suites::{Suite, at_once, keyrings, parse_uris, stages};
use super::version::{MINIMUM, Wanted};
use crate::error::Error;
use crate::process;
use crate::report::{Reporter, Unit};

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

    /// The best kernel source package that the mirrors offer: see [`package::choose`].
    pub(crate) fn find_source(&self, wanted: Option<&Wanted>) -> Result<Package, Error> {
        let what = match wanted {
            Some(wanted) => format!("linux-source-X.Y of Linux {wanted}"),
            None => format!("linux-source-X.Y (at least {}.{})", MINIMUM.major, MINIMUM.minor),
        };
        let (configured, release) = self.configured()?;
        let mut stages = stages(&configured, &release);
        if wanted.is_some() {
            // The newest of a series may be in any of them: security updates are ahead of backports at times.
            stages = vec![at_once(stages)];
        }
        self.search(what, stages, || {
            let names =
                process::stdout(self.private("apt-cache").args(["pkgnames", "linux-source-"]))?;
            let names: Vec<&str> = names.lines().filter(|name| package::is_source(name)).collect();
            Ok(package::choose(self.show(&names)?, wanted))
        })
    }

    /// A package of the configured suites.
    pub(crate) fn find(&self, name: &str) -> Result<Package, Error> {
        let (configured, _) = self.configured()?;
        self.search(name.to_owned(), vec![configured], || {
            let names = process::stdout(self.private("apt-cache").args(["pkgnames", name]))?;
            let names: Vec<&str> = names.lines().filter(|found| *found == name).collect();
            Ok(self.show(&names)?.into_iter().next())
        })
    }

    /// The suites that apt is configured with, and what `/etc/os-release` says.
    fn configured(&self) -> Result<(Vec<Suite>, String), Error> {
        let configured =
            parse_uris(&process::stdout(self.command("apt-get").args(["update", "--print-uris"]))?);
        if configured.is_empty() {
            return Err(Error::NoMirror);
        }
        Ok((configured, fs::read_to_string("/etc/os-release").unwrap_or_default()))
    }

    /// Looks into one list of suites after the other, until one has the package.
    fn search(
        &self,
        what: String,
        stages: Vec<Vec<Suite>>,
        look: impl Fn() -> Result<Option<Package>, Error>,
    ) -> Result<Package, Error> {
        let mut tried = Vec::new();
        let mut detail = String::new();
        for suites in stages {
            self.write_list(&suites)?;
            tried.extend(suites.iter().map(|suite| format!("{} {}", suite.mirror, suite.name)));
            // Fails if one suite is missing or out of reach; the others' lists are there all the same.
            let update = process::output(self.private("apt-get").args(["-qq", "update"]))?;
            detail.push_str(&process::said(&update));
            if let Some(package) = look()? {
                return Ok(package);
            }
        }
        Err(Error::NoPackage { what, tried: tried.join("\n"), detail: process::tail(&detail) })
    }

    fn show(&self, names: &[&str]) -> Result<Vec<Package>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let shown = process::stdout(self.private("apt-cache").arg("show").args(names))?;
        Ok(package::parse_show(&shown))
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
            let said = fs::read_to_string(&log).unwrap_or_default();
            if let Some(source) = process::lack_of_room(&said) {
                return Err(Error::io("download to", &directory)(source));
            }
            return Err(Error::FetchPackage {
                package: format!("{} {}", package.name, package.version),
                status: format!("apt-get: {status}"),
                output: process::tail(&said),
            });
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
        let list: String = suites.iter().map(|suite| suite.line(&options)).collect();
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

fn size_of_files(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
