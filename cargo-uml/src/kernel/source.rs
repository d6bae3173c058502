//! A kernel's source: which it is, where it comes from, and a tree of it to build.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::apt::Apt;
use super::deb;
use super::identity;
use super::kernel_org::{self, Release};
use super::metadata::Provenance;
use super::package::{self, Package};
use super::tree;
use super::unpack::{self, Compression};
use super::version::{MINIMUM, TESTED, Version, Wanted};
use crate::error::Error;
use crate::report::Reporter;

/// The source that the user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The best of a tested series: that of the machine's package mirror, else of kernel.org.
    Best,
    /// A version, from the mirror or else from kernel.org.
    Version(Wanted),
    /// Exactly this tarball of kernel.org.
    Release(Release),
    /// A tree or tarball.
    Path(PathBuf),
}

/// Where the source of a package or tarball is unpacked, in the directory of its build.
const UNPACKED: &str = "src";

/// A kernel source that exists on this machine.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) provenance: Provenance,
    /// Says which source it is, to people and as an input of the content hash.
    pub(crate) identity: String,
    pub(crate) path: PathBuf,
}

impl Choice {
    /// What `[VERSION|SOURCE]` and `--sha256` say.
    pub(crate) fn parse(text: Option<&str>, sha256: Option<&str>) -> Result<Self, Error> {
        let wanted = text.and_then(Wanted::parse);
        if let Some(wanted) = wanted.filter(Wanted::is_too_old) {
            return Err(Error::TooOld { version: wanted.to_string(), minimum: MINIMUM });
        }
        if let Some(sha256) = sha256 {
            let Some(version) = wanted.as_ref().and_then(Wanted::exact) else {
                return Err(Error::HashWithoutVersion);
            };
            if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Error::BadHash { text: sha256.to_owned() });
            }
            return Ok(Choice::Release(Release::with_hash(version, sha256)));
        }
        match (text, wanted) {
            (None, _) => Ok(Choice::Best),
            (_, Some(wanted)) => Ok(Choice::Version(wanted)),
            (Some(text), None) if Path::new(text).exists() => Ok(Choice::Path(text.into())),
            (Some(text), None) => Err(Error::NoSuchSource { text: text.to_owned() }),
        }
    }

    /// What others who wait for the build are told.
    pub(crate) fn shown(&self) -> String {
        match self {
            Choice::Best => "the default kernel".to_owned(),
            Choice::Version(wanted) => format!("Linux {wanted}"),
            Choice::Release(release) => format!("Linux {}", release.version()),
            Choice::Path(path) => path.display().to_string(),
        }
    }

    /// The version that a source found in the cache must have; `None` where only the source itself tells.
    pub(crate) fn wanted(&self) -> Option<&Wanted> {
        match self {
            Choice::Version(wanted) => Some(wanted),
            Choice::Best | Choice::Release(_) | Choice::Path(_) => None,
        }
    }

    /// The source, fetched into `sources` if need be.
    pub(crate) fn source(&self, sources: &Path, reporter: &Reporter) -> Result<Source, Error> {
        match self {
            Choice::Best => Source::best(sources, reporter),
            Choice::Version(wanted) => Source::of_version(sources, wanted, reporter),
            Choice::Release(release) => Source::release(&release.fetch(sources, reporter)?),
            Choice::Path(path) => Source::given(path),
        }
    }
}

impl Source {
    /// The source that the user named.
    pub(crate) fn given(path: &Path) -> Result<Self, Error> {
        let path = path.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::SourceNotThere { path: path.to_path_buf() },
            _ => Error::io("open", path)(error),
        })?;
        if path.is_dir() {
            tree::check_tree(&path)?;
            tree::check_clean(&path)?;
            let identity = tree::identity(&path)?;
            return Ok(Source { provenance: Provenance::Tree, identity, path });
        }
        if Compression::of(&path).is_none() {
            return Err(Error::UnknownSource { path });
        }
        Self::file(Provenance::Tarball, path)
    }

    fn release(path: &Path) -> Result<Self, Error> {
        Self::file(Provenance::Release, path.to_path_buf())
    }

    fn file(provenance: Provenance, path: PathBuf) -> Result<Self, Error> {
        let identity = format!("{} sha256:{}", unpack::shown(&path), identity::of_file(&path)?);
        Ok(Source { provenance, identity, path })
    }

    /// A version from the mirror, else from kernel.org.
    fn of_version(sources: &Path, wanted: &Wanted, reporter: &Reporter) -> Result<Self, Error> {
        // An exact version that was fetched before can't be any newer on the mirror.
        if wanted.exact().is_some()
            && let Some((path, _)) = fetched(sources, Some(wanted)).pop()
        {
            return Source::package(path);
        }
        let offer = Offer::look(sources, Some(wanted), reporter);
        let missing = match offer.and_then(|offer| offer.take(sources, reporter)) {
            Err(error) if error.is_of_mirror() => error,
            other => return other,
        };
        match Release::pinned(wanted) {
            Some(release) => {
                reporter.note(format_args!(
                    "{missing}\nTaking Linux {} from kernel.org",
                    release.version()
                ));
                Source::release(&release.fetch(sources, reporter)?)
            }
            None => Err(Error::NoVersionAnywhere {
                wanted: *wanted,
                known: kernel_org::known(),
                source: Box::new(missing),
            }),
        }
    }

    /// The best package of a tested series on the mirror; where there is none, the pinned release of the preferred
    /// series; and where that can't be had, the best of all packages.
    fn best(sources: &Path, reporter: &Reporter) -> Result<Self, Error> {
        let offer = match Offer::look(sources, None, reporter) {
            Ok(offer) if offer.version().is_tested() => match offer.take(sources, reporter) {
                Err(error) if error.is_of_mirror() => Err(error),
                other => return other,
            },
            Err(error) if error.is_of_mirror() => Err(error),
            other => Ok(other?),
        };
        let preferred = Wanted::series(TESTED[0]);
        let Some(release) = Release::pinned(&preferred) else {
            return offer?.take(sources, reporter);
        };
        let why = match &offer {
            Ok(offer) => format!(
                "The package mirror has no version that uml-test is tested with, at best Linux {}",
                offer.version()
            ),
            Err(error) => error.to_string(),
        };
        reporter.note(format_args!("{why}\nTaking Linux {} from kernel.org", release.version()));
        match (release.fetch(sources, reporter), offer) {
            (
                Err(
                    error @ (Error::Download { .. }
                    | Error::MissingTools { .. }
                    | Error::InstallTools { .. }),
                ),
                Ok(offer),
            ) => {
                reporter.note(error);
                offer.take(sources, reporter)
            }
            (fetched, _) => Source::release(&fetched?),
        }
    }

    fn package(path: PathBuf) -> Result<Self, Error> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().replace('_', " ");
        let identity =
            format!("{} sha256:{}", name.trim_end_matches(" all"), identity::of_file(&path)?);
        Ok(Source { provenance: Provenance::Package, identity, path })
    }

    /// Where the user has it, if it is of the user's and the path is text.
    pub(crate) fn path_of_users(&self) -> Option<&str> {
        self.path.to_str().filter(|_| self.provenance.is_users_own())
    }

    /// Whether its tree lies below `build` already.
    pub(crate) fn is_unpacked(&self, build: &Path) -> bool {
        self.provenance != Provenance::Tree && build.join(UNPACKED).exists()
    }

    /// A tree to build: the user's own, or one unpacked below `build`.
    pub(crate) fn tree(&self, build: &Path, reporter: &Reporter) -> Result<PathBuf, Error> {
        if self.provenance == Provenance::Tree {
            return Ok(self.path.clone());
        }
        let unpacked = build.join(UNPACKED);
        if !unpacked.exists() {
            if self.provenance == Provenance::Package {
                deb::unpack_source(&self.path, build, &unpacked, reporter)?;
            } else {
                unpack::tarball(&self.path, &unpacked, reporter)?;
            }
        }
        tree::check_tree(&unpacked).inspect_err(|_| {
            // Not a kernel: nothing to resume with.
            let _ = fs::remove_dir_all(&unpacked);
        })?;
        Ok(unpacked)
    }
}

/// The best source package that can be had.
enum Offer {
    Mirrors(Apt, Package),
    /// Fetched earlier, and the mirrors can't be reached.
    Fetched(PathBuf, Version),
}

impl Offer {
    /// Looks at the machine's package mirrors. `directory` has what was fetched.
    fn look(directory: &Path, wanted: Option<&Wanted>, reporter: &Reporter) -> Result<Self, Error> {
        let phase = reporter.phase("Looking for kernel source on the package mirror");
        let apt = Apt::new(directory)?;
        let found = apt.find_source(wanted);
        drop(phase);
        match found {
            Ok(package) => Ok(Offer::Mirrors(apt, package)),
            Err(error) => {
                let Some((path, version)) = fetched(directory, wanted).pop() else {
                    return Err(error);
                };
                reporter
                    .note(format_args!("{error}\nThere is {}, fetched earlier", path.display()));
                Ok(Offer::Fetched(path, version))
            }
        }
    }

    fn version(&self) -> &Version {
        match self {
            Offer::Mirrors(_, package) => &package.upstream,
            Offer::Fetched(_, version) => version,
        }
    }

    /// The package, fetched into `directory` unless it is there.
    fn take(self, directory: &Path, reporter: &Reporter) -> Result<Source, Error> {
        if !self.version().is_tested() {
            reporter.note(format_args!(
                "Linux {} is not a version that uml-test is tested with",
                self.version()
            ));
        }
        let (apt, package) = match self {
            Offer::Mirrors(apt, package) => (apt, package),
            Offer::Fetched(path, _) => return Source::package(path),
        };
        let path = directory.join(format!("{}_{}_all.deb", package.name, package.version));
        if !(path.exists() && identity::of_file(&path)? == package.sha256) {
            apt.download(&package, &path, reporter)?;
        }
        let sum = sum_of(&path);
        fs::write(&sum, &package.sha256).map_err(Error::io("write", &sum))?;
        let prefix = format!("{}_", package.name);
        for (old, version) in packages(directory) {
            if old != path
                && version <= package.upstream
                && unpack::shown(&old).starts_with(&prefix)
            {
                fs::remove_file(&old).map_err(Error::io("remove", &old))?;
                let _ = fs::remove_file(sum_of(&old));
            }
        }
        Source::package(path)
    }
}

/// The file with a package's SHA-256, as the mirror gave it.
fn sum_of(package: &Path) -> PathBuf {
    let mut path = package.as_os_str().to_owned();
    path.push(".sha256");
    path.into()
}

/// Whether a package is as it was fetched. One of an older version of this command has no sum.
fn is_intact(package: &Path) -> bool {
    fs::read_to_string(sum_of(package))
        .map_or(true, |sum| identity::of_file(package).is_ok_and(|found| found == sum))
}

/// Undamaged source packages in the cache that are wanted, the best last.
fn fetched(directory: &Path, wanted: Option<&Wanted>) -> Vec<(PathBuf, Version)> {
    let mut found = packages(directory);
    found.retain(|(path, version)| {
        wanted.is_none_or(|wanted| wanted.matches(version)) && is_intact(path)
    });
    found.sort_by_key(|(_, version)| version.preference());
    found
}

/// All source packages in the cache: files `linux-source-7.2_7.2.12-1_all.deb`.
fn packages(directory: &Path) -> Vec<(PathBuf, Version)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".deb")?;
            let mut parts = name.split('_');
            let version = parts.next().filter(|name| package::is_source(name)).and(parts.next())?;
            let version = package::upstream(version)?;
            Some((path, version))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_versions_from_paths() {
        let parse = |text| Choice::parse(Some(text), None);
        assert!(matches!(parse("7.2"), Ok(Choice::Version(_))));
        assert!(matches!(parse("."), Ok(Choice::Path(_))));
        assert!(matches!(parse("7.2-rc1"), Err(Error::NoSuchSource { .. })));
        assert!(matches!(parse("5.10"), Err(Error::TooOld { .. })));
        assert!(matches!(Choice::parse(None, None), Ok(Choice::Best)));
    }

    #[test]
    fn a_hash_goes_with_an_exact_version() {
        let hash = "0".repeat(64);
        let parse = |text, hash| Choice::parse(text, Some(hash));
        assert!(matches!(parse(Some("6.7.1"), &hash), Ok(Choice::Release(_))));
        assert!(matches!(parse(Some("6.7"), &hash), Err(Error::HashWithoutVersion)));
        assert!(matches!(parse(None, &hash), Err(Error::HashWithoutVersion)));
        assert!(matches!(parse(Some("6.7.1"), "12"), Err(Error::BadHash { .. })));
    }
}
