//! The user's cache directory: the kernels in it, and how they get there.
//!
//! The directory is `$UML_TEST_CACHE_DIR`, else `$XDG_CACHE_HOME/uml-test`, else `$HOME/.cache/uml-test`:
//!
//! ```text
//! kernels/<id>/linux          the kernel, stripped, executable
//! kernels/<id>/linux.debug    its debug information, found by gdb through .gnu_debuglink
//! kernels/<id>/config         the resolved .config
//! kernels/<id>/kernel.toml    see [`Metadata`]
//! sources/*.deb               the last fetched source package
//! build/<hash>/               a build in progress or failed: src/, out/, build.log
//! setup.lock                  held by the setup that is at work
//! ```
//!
//! `<id>` is the version and a content hash, such as `7.2.12-1a2b3c4d5e6f`. Names in `kernels/` that start with a dot
//! are kernels being put together. The kernel in use is the one whose `linux` has the latest modification time:
//! that is how `uml-test` finds it, which reads this layout and nothing else of this crate.
//!
//! A kernel appears by a rename, whole. A build tree takes 2.5 GB and goes after success; the source package (165 MB)
//! stays until a newer one is fetched, so that a change of configuration or compiler builds without a network.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use tempfile::TempDir;

use super::identity;
use super::metadata::{Metadata, Provenance};
use crate::error::Error;
use crate::process;

pub(crate) struct Cache {
    root: PathBuf,
}

/// A kernel in the cache.
#[derive(Debug)]
pub(crate) struct Kernel {
    directory: PathBuf,
    pub(crate) metadata: Metadata,
    modified: SystemTime,
}

/// The right to build and install. While it lives, no other setup changes the cache.
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Cache {
    /// The cache directory that the environment names; it need not exist.
    pub(crate) fn locate() -> Result<Self, Error> {
        let variable =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable("UML_TEST_CACHE_DIR")
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("uml-test")))
            .or_else(|| Some(variable("HOME")?.join(".cache/uml-test")))
            .ok_or(Error::NoCacheDirectory)?;
        let root = std::path::absolute(&root).map_err(Error::io("resolve", &root))?;
        Ok(Cache { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    pub(crate) fn build(&self, content: &str) -> PathBuf {
        self.root.join("build").join(content)
    }

    fn kernels(&self) -> PathBuf {
        self.root.join("kernels")
    }

    /// Waits for the lock; calls `waiting` first if another process has it.
    ///
    /// The descriptor stays open across exec: when setup is killed, the make that it leaves behind keeps the build
    /// tree locked until it has ended too.
    pub(crate) fn lock(&self, waiting: impl FnOnce()) -> Result<Lock, Error> {
        fs::create_dir_all(&self.root).map_err(Error::io("create", &self.root))?;
        let path = self.root.join("setup.lock");
        let open = || File::create(&path).map_err(Error::io("create", &path));
        let locked = match Flock::lock(open()?, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => locked,
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                waiting();
                Flock::lock(file, FlockArg::LockExclusive)
                    .map_err(|(_, error)| Error::io("lock", &path)(error.into()))?
            }
            Err((_, error)) => return Err(Error::io("lock", &path)(error.into())),
        };
        fcntl(&*locked, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(|error| Error::io("lock", &path)(error.into()))?;
        self.remove_leftovers();
        Ok(Lock { _file: locked })
    }

    /// What killed setups left half-done. The lock is held, so nobody is at work on it.
    fn remove_leftovers(&self) {
        for directory in [self.kernels(), self.sources()] {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            for entry in
                entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."))
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// All kernels with readable metadata.
    fn list(&self) -> Vec<Kernel> {
        let entries = fs::read_dir(self.kernels()).into_iter().flatten().flatten();
        entries
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .filter_map(|entry| Kernel::read(&entry.path()))
            .collect()
    }

    /// The newest undamaged kernel built with `recipe` from a source package.
    pub(crate) fn packaged(&self, recipe: &str) -> Option<Kernel> {
        self.newest(|kernel| {
            kernel.metadata.provenance == Provenance::Package && kernel.metadata.recipe == recipe
        })
    }

    /// The undamaged kernel with this content hash.
    pub(crate) fn with_content(&self, content: &str) -> Option<Kernel> {
        self.newest(|kernel| kernel.directory.to_string_lossy().ends_with(&format!("-{content}")))
    }

    fn newest(&self, matches: impl Fn(&Kernel) -> bool) -> Option<Kernel> {
        let mut found: Vec<Kernel> = self.list().into_iter().filter(matches).collect();
        found.sort_by_key(|kernel| kernel.modified);
        found.into_iter().rev().find(Kernel::is_intact)
    }

    /// Makes `kernel` the one in use, and returns its path.
    pub(crate) fn select(&self, kernel: &Kernel) -> Result<PathBuf, Error> {
        let path = kernel.linux();
        if self
            .list()
            .iter()
            .any(|other| other.directory != kernel.directory && other.modified >= kernel.modified)
        {
            File::open(&path)
                .and_then(|file| file.set_modified(SystemTime::now()))
                .map_err(Error::io("set the modification time of", &path))?;
        }
        Ok(path)
    }

    /// Puts a built kernel into the cache under its version and `content`.
    pub(crate) fn install(
        &self,
        built: &Path,
        config: &Path,
        mut metadata: Metadata,
        content: &str,
    ) -> Result<Kernel, Error> {
        let kernels = self.kernels();
        fs::create_dir_all(&kernels).map_err(Error::io("create", &kernels))?;
        let staging = TempDir::with_prefix_in(".new-", &kernels)
            .map_err(Error::io("create a directory in", &kernels))?;
        let at = |name: &str| staging.path().join(name);

        let objcopy = || {
            let mut command = Command::new("objcopy");
            command.current_dir(staging.path());
            command
        };
        process::stdout(objcopy().arg("--only-keep-debug").arg(built).arg("linux.debug"))?;
        process::stdout(
            objcopy()
                .args(["--strip-all", "--add-gnu-debuglink=linux.debug"])
                .arg(built)
                .arg("linux"),
        )?;
        expect_version(&at("linux"), &metadata.version)?;

        fs::copy(config, at("config")).map_err(Error::io("copy", config))?;
        metadata.sha256 = identity::of_file(&at("linux"))?;
        let path = at("kernel.toml");
        let text = toml::to_string(&metadata)
            .map_err(|source| Error::Metadata { path: path.clone(), source })?;
        File::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(Error::io("write", &path))?;

        // objcopy keeps the mode; the directory is private to its owner until here.
        set_mode(staging.path(), 0o755)?;
        for name in ["linux", "linux.debug", "config", "kernel.toml", "."] {
            let path = at(name);
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(Error::io("write", &path))?;
        }

        let directory = kernels.join(format!("{}-{content}", metadata.version));
        if directory.exists() {
            // Damaged, or it would have been used.
            fs::remove_dir_all(&directory).map_err(Error::io("remove the damaged", &directory))?;
        }
        fs::rename(staging.keep(), &directory).map_err(Error::io("create", &directory))?;
        File::open(&kernels)
            .and_then(|file| file.sync_all())
            .map_err(Error::io("write", &kernels))?;
        Kernel::read(&directory)
            .ok_or_else(|| Error::io("read", &directory)(std::io::ErrorKind::InvalidData.into()))
    }

    /// Removes every build tree. Called after a success: what failed before it is of no more use.
    pub(crate) fn remove_builds(&self) -> Result<(), Error> {
        let path = self.root.join("build");
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Kernel {
    fn read(directory: &Path) -> Option<Kernel> {
        let metadata =
            toml::from_str(&fs::read_to_string(directory.join("kernel.toml")).ok()?).ok()?;
        let modified = directory.join("linux").metadata().ok()?.modified().ok()?;
        Some(Kernel { directory: directory.to_path_buf(), metadata, modified })
    }

    pub(crate) fn linux(&self) -> PathBuf {
        self.directory.join("linux")
    }

    /// Whether the kernel is what was installed, and starts on this machine.
    ///
    /// The hash finds damage, the start finds a cache that came from a machine with a newer C library. A whole run of
    /// setup with both takes 20 ms (*measured*, 21 MB kernel, optimized sha2), so they are done every time.
    fn is_intact(&self) -> bool {
        let linux = self.linux();
        identity::of_file(&linux).is_ok_and(|found| found == self.metadata.sha256)
            && expect_version(&linux, &self.metadata.version).is_ok()
    }
}

fn expect_version(linux: &Path, expected: &str) -> Result<(), Error> {
    let output = process::output(Command::new(linux).arg("--version"))?;
    if output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == expected {
        return Ok(());
    }
    let found = process::tail(&process::said(&output));
    Err(Error::KernelDoesNotStart {
        path: linux.to_path_buf(),
        expected: expected.to_owned(),
        found,
    })
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(Error::io("set the mode of", path))
}
