//! Profiles of programs that were built for coverage: where a guest writes them, so that they are on the host then.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::TempDir;
use uml_test::VmBuilder;

use super::program;

/// Where the LLVM runtime of such a program is told to write.
pub(super) const VARIABLE: &str = "LLVM_PROFILE_FILE";

/// What the runtime writes if it is told nothing, in the working directory. Guests have processes of different numbers.
const USUAL: &str = "default_%m_%p.profraw";

/// What a profile of a 64-bit program begins with.
const MAGIC: &[u8; 8] = b"\x81rforpl\xff";

/// Where a guest's profiles go.
#[derive(Debug)]
pub(super) enum Profiles {
    /// Nowhere: there are none, or their directory is not known before they are written.
    None,
    /// Straight into a directory of the host's.
    Into(PathBuf),
    /// Into a directory that guests must not write, such as the working directory, or a file that several would write
    /// at once: by way of another directory.
    Through { dir: TempDir, pattern: OsString, destination: PathBuf },
}

impl Profiles {
    /// Those of `program`, which runs in `directory`.
    pub(super) fn of(program: &OsStr, directory: &Path) -> anyhow::Result<Self> {
        let pattern = std::env::var_os(VARIABLE).filter(|pattern| !pattern.is_empty());
        if let Some(parent) = pattern.as_deref().and_then(parent) {
            if parent.as_os_str().as_encoded_bytes().contains(&b'%') {
                return Ok(Profiles::None);
            }
            let destination = directory.join(parent);
            // As the runtime does on the host. What can't be made, it could not have written either.
            if fs::create_dir_all(&destination).is_err() {
                return Ok(Profiles::None);
            }
            let name = pattern.as_deref().map(Path::new).and_then(Path::file_name);
            return match name.filter(|name| is_shared(name) || is_broad(&destination, directory)) {
                Some(name) => Self::through(name.to_owned(), destination),
                None => Ok(Profiles::Into(destination)),
            };
        }
        let found = program::path_of(program).and_then(|path| program::instrumented(&path));
        let Some(instrumented) = found else { return Ok(Profiles::None) };
        let pattern = pattern.or(instrumented.file).unwrap_or_else(|| USUAL.into());
        // A directory that the compiler was told of: whether a guest may write it, a program does not decide. And `%t`
        // stands for one.
        if parent(&pattern).is_some() || pattern.as_bytes().windows(2).any(|two| two == b"%t") {
            return Ok(Profiles::None);
        }
        Self::through(pattern, directory.to_owned())
    }

    fn through(pattern: OsString, destination: PathBuf) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("uml-profiles-").context("make a directory for profiles")?;
        Ok(Profiles::Through { dir, pattern, destination })
    }

    /// The directory that the guest may write.
    pub(super) fn dir(&self) -> Option<&Path> {
        match self {
            Profiles::None => None,
            Profiles::Into(dir) => Some(dir),
            Profiles::Through { dir, .. } => Some(dir.path()),
        }
    }

    /// The guest that may write them there.
    pub(super) fn given_to(&self, guest: VmBuilder) -> VmBuilder {
        match self {
            Profiles::None => guest,
            Profiles::Into(dir) => guest.rw_dir(dir),
            Profiles::Through { dir, .. } => guest.temporary_rw_dir(dir.path()),
        }
    }

    /// The variable that has the guest write there, where its own does not.
    pub(super) fn variable(&self) -> Option<(&'static str, OsString)> {
        match self {
            Profiles::Through { dir, pattern, .. } => {
                Some((VARIABLE, dir.path().join(pattern).into()))
            }
            Profiles::None | Profiles::Into(_) => None,
        }
    }

    /// Brings them to where they belong, when the guest has ended.
    pub(super) fn bring_back(self) -> anyhow::Result<()> {
        let Profiles::Through { dir, pattern, destination } = self else { return Ok(()) };
        copy_all(dir.path(), &destination, &pattern)
            .with_context(|| format!("could not write profiles into {}", destination.display()))
    }
}

/// Whether several processes write one file of this name. They lock it on a host; a guest's locks are its own.
fn is_shared(name: &OsStr) -> bool {
    let name = name.as_bytes();
    Pattern::of(OsStr::from_bytes(name)).merges && !name.windows(2).any(|two| two == b"%p")
}

/// Whether a directory has more in it than profiles: the working directory, the user's own and those above them, and
/// the places for temporary files, of which a guest has fresh ones.
fn is_broad(dir: &Path, working_directory: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let dir = real(dir);
    real(working_directory).starts_with(&dir)
        || std::env::home_dir().is_some_and(|home| real(&home).starts_with(&dir))
        || ["/tmp", "/var/tmp", "/run", "/dev/shm"].iter().any(|fresh| dir == Path::new(fresh))
}

/// The directory in which files of this pattern lie, if it names one.
fn parent(pattern: &OsStr) -> Option<&Path> {
    Path::new(pattern).parent().filter(|parent| !parent.as_os_str().is_empty())
}

/// Copies the profiles in a directory that a guest has written, in which there may be anything, into one of the user's.
/// One that can't be copied keeps none of the others.
fn copy_all(from: &Path, to: &Path, pattern: &OsStr) -> anyhow::Result<()> {
    let pattern = Pattern::of(pattern);
    let mut result = Ok(());
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Of a link this is the link's own, and a pipe would have the reader wait.
        let name = entry.file_name();
        if !entry.file_type()?.is_file() || !pattern.matches(&name) {
            continue;
        }
        let copied = match is_profile(&entry.path()) {
            Ok(true) => copy(&entry.path(), &to.join(&name), pattern.merges),
            Ok(false) => Ok(()),
            Err(error) => Err(error.into()),
        };
        result = result.and(copied.with_context(|| format!("could not keep {}", name.display())));
    }
    result
}

fn copy(from: &Path, to: &Path, merges: bool) -> anyhow::Result<()> {
    let directory = to.parent().unwrap_or(Path::new("."));
    let prefix: OsString =
        [to.file_stem().unwrap_or_default(), OsStr::new("-")].into_iter().collect();
    let suffix: OsString =
        to.extension().into_iter().flat_map(|end| [OsStr::new("."), end]).collect();
    let mut copy =
        tempfile::Builder::new().prefix(&prefix).suffix(&suffix).tempfile_in(directory)?;
    let mut file = File::open(from)?;
    io::copy(&mut file, &mut copy)?;
    copy.as_file().set_permissions(Permissions::from_mode(file.metadata()?.mode() & 0o666))?;
    match to.symlink_metadata() {
        Err(_) => match copy.persist_noclobber(to) {
            // Another guest's has come in between.
            Err(error) if merges && error.error.kind() == io::ErrorKind::AlreadyExists => {
                error.file.keep()?;
            }
            other => {
                other?;
            }
        },
        // On the host the runtime adds to the profile that is there. The tools merge any number of them.
        Ok(_) if merges => {
            copy.keep()?;
        }
        Ok(found) if found.is_file() && (found.len() == 0 || is_profile(to)?) => {
            copy.persist(to)?;
        }
        Ok(_) => {
            bail!("what is there already is no profile; remove it, or name another by {VARIABLE}")
        }
    }
    Ok(())
}

fn is_profile(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == MAGIC)
}

/// Names of profiles, as far as it tells them from other files that a guest may have made.
struct Pattern<'a> {
    beginning: &'a [u8],
    /// Where something stands in between.
    end: Option<&'a [u8]>,
    /// Whether processes are to share a file.
    merges: bool,
}

impl<'a> Pattern<'a> {
    fn of(pattern: &'a OsStr) -> Self {
        let pattern = pattern.as_bytes();
        let Some(first) = pattern.iter().position(|byte| *byte == b'%') else {
            return Pattern { beginning: pattern, end: None, merges: false };
        };
        // A specifier is a letter, behind a number at times.
        let letters = pattern.split(|byte| *byte == b'%').skip(1).map(|part| {
            let digits = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
            &part[digits..]
        });
        let merges = letters.clone().any(|part| part.first() == Some(&b'm'));
        let end = letters.last().and_then(|part| part.get(1..)).or(Some(&[]));
        Pattern { beginning: &pattern[..first], end, merges }
    }

    fn matches(&self, name: &OsStr) -> bool {
        let Some(rest) = name.as_bytes().strip_prefix(self.beginning) else { return false };
        self.end.map_or(rest.is_empty(), |end| rest.ends_with(end))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory that a guest has written, one of the user's, and a profile with `text`.
    fn dirs() -> (TempDir, TempDir, impl Fn(&str) -> Vec<u8>) {
        let profile = |text: &str| [MAGIC, text.as_bytes()].concat();
        (TempDir::new().unwrap(), TempDir::new().unwrap(), profile)
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_profiles_come_back() {
        let (guest, user, profile) = dirs();
        for name in ["a1.prof", "Cargo.toml"] {
            fs::write(guest.path().join(name), profile("1")).unwrap();
        }
        fs::write(guest.path().join("a2.prof"), "no profile").unwrap();
        fs::create_dir(guest.path().join("a3.prof")).unwrap();
        symlink("a1.prof", guest.path().join("a4.prof")).unwrap();
        for other in ["a", "a%p.x", "%p_%m.profraw"] {
            copy_all(guest.path(), user.path(), OsStr::new(other)).unwrap();
            assert_eq!(names(user.path()), [""; 0]);
        }
        copy_all(guest.path(), user.path(), OsStr::new("a%p.prof")).unwrap();
        assert_eq!(names(user.path()), ["a1.prof"]);
        fs::write(guest.path().join("a1.prof"), profile("2")).unwrap();
        copy_all(guest.path(), user.path(), OsStr::new("a1.prof")).unwrap();
        assert_eq!(names(user.path()), ["a1.prof"]);
        assert_eq!(fs::read(user.path().join("a1.prof")).unwrap(), profile("2"));
    }

    #[test]
    fn what_guests_share_or_must_not_write_goes_by_way_of_another_directory() {
        assert!(is_shared(OsStr::new("%m.profraw")) && is_shared(OsStr::new("a-%4m.profraw")));
        assert!(!is_shared(OsStr::new("%p-%m.profraw")) && !is_shared(OsStr::new("a.profraw")));
        let work = TempDir::new().unwrap();
        let below = work.path().join("target/cov");
        fs::create_dir_all(&below).unwrap();
        let broad = |dir: &str| is_broad(&work.path().join(dir), work.path());
        assert!(broad(".") && broad("..") && broad("/tmp") && broad("/"));
        assert!(!broad("target/cov") && !is_broad(Path::new("/opt"), work.path()));
        assert!(is_broad(&std::env::home_dir().unwrap(), work.path()));
    }

    #[test]
    fn nothing_else_of_the_users_is_replaced() {
        let (guest, user, profile) = dirs();
        for name in ["a", "b", "c"] {
            fs::write(guest.path().join(name), profile("1")).unwrap();
        }
        fs::write(user.path().join("a"), "the user's").unwrap();
        symlink("gone", user.path().join("b")).unwrap();
        let error = copy_all(guest.path(), user.path(), OsStr::new("%p")).unwrap_err();
        assert!(format!("{error:#}").contains("is no profile"), "{error:#}");
        assert_eq!(names(user.path()), ["a", "b", "c"]);
        assert_eq!(fs::read(user.path().join("a")).unwrap(), b"the user's");
        assert_eq!(fs::read(user.path().join("c")).unwrap(), profile("1"));
        assert!(user.path().join("b").is_symlink());
    }

    #[test]
    fn guests_that_would_share_a_profile_have_one_each() {
        let (guest, user, profile) = dirs();
        fs::write(guest.path().join("a-7_0.profraw"), profile("1")).unwrap();
        for runs in 1..=3 {
            copy_all(guest.path(), user.path(), OsStr::new("a-%4m.profraw")).unwrap();
            assert_eq!(names(user.path()).len(), runs);
        }
        assert!(
            names(user.path())
                .iter()
                .all(|name| name.starts_with("a-7_0") && name.ends_with(".profraw"))
        );
    }
}
