//! Settings of a guest that is driven by hand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::case::{MIN_MEM, Overrides};
use crate::config::{self, Config, KernelChoice, RwDir, Sandbox, Traps};
use crate::error::{ConfigError, Error};
use crate::vm::{self, Vm};

/// Settings of a guest to be booted. Starts from the package's configuration.
#[derive(Clone, Debug)]
#[must_use = "nothing is booted before `boot` is called"]
pub struct VmBuilder {
    config: Result<Config, ConfigError>,
    manifest_dir: PathBuf,
    lifetime: Option<Duration>,
}

impl VmBuilder {
    /// What the package's configuration and the `UML_TEST_*` variables say.
    pub(crate) fn new() -> Self {
        let manifest_dir =
            config::variable("CARGO_MANIFEST_DIR").map_or_else(working_dir, PathBuf::from);
        let config = config::resolve(&manifest_dir, &Overrides::NONE, &config::variables());
        Self { config, manifest_dir, lifetime: None }
    }

    /// These settings, for a package in `manifest_dir`.
    pub(crate) fn of(config: Config, manifest_dir: &Path) -> Self {
        Self { config: Ok(config), manifest_dir: manifest_dir.to_owned(), lifetime: None }
    }

    /// What the `UML_TEST_*` variables say, without any package's configuration: for programs that
    /// boot kernels of their own choice. Name one with [`VmBuilder::kernel`]; `UML_TEST_KERNEL`
    /// is not read.
    pub fn of_environment() -> Self {
        let mut variables = config::variables();
        variables.remove("UML_TEST_KERNEL");
        let config = config::of_variables(&variables);
        Self { config, manifest_dir: working_dir(), lifetime: None }
    }

    /// Boots the kernel in this file.
    pub fn kernel(self, path: impl Into<PathBuf>) -> Self {
        self.with(|config| config.kernel = Some(KernelChoice::Path(path.into())))
    }

    /// Guest memory in bytes, at least 32 MiB; 128 MiB without. A kernel that is known to need more
    /// gets that.
    pub fn mem(self, bytes: u64) -> Self {
        self.with(|config| config.mem = bytes)
    }

    /// More kernel arguments, separated by white space.
    pub fn cmdline(self, arguments: &str) -> Self {
        let words = arguments.split_whitespace().map(str::to_owned);
        self.with(|config| config.cmdline.extend(words))
    }

    /// A host directory that the guest may write, at the same path, also by way of a link if it is
    /// named so; everything else it writes is thrown away. A relative path starts at the package's
    /// directory, or where no package is known at the working directory.
    pub fn rw_dir(self, path: impl AsRef<Path>) -> Self {
        let path = self.manifest_dir.join(path);
        self.with(|config| config.rw_dirs.push(RwDir::at_its_path(path)))
    }

    /// As [`VmBuilder::rw_dir`], at another path in the guest, which is made if need be: an absolute
    /// one without `..`, neither `/` nor `/dev`, and not in `/proc` or `/sys`.
    pub fn rw_dir_at(self, host: impl AsRef<Path>, guest: impl Into<PathBuf>) -> Self {
        let dir =
            RwDir { guest: Some(guest.into()), ..RwDir::at_its_path(self.manifest_dir.join(host)) };
        self.with(|config| config.rw_dirs.push(dir))
    }

    /// As [`VmBuilder::rw_dir`], a directory of this process's own. Where the process is killed before
    /// it has removed that, the guest's supervisor does.
    #[doc(hidden)]
    pub fn temporary_rw_dir(self, path: &Path) -> Self {
        let dir = RwDir { temporary: true, ..RwDir::at_its_path(self.manifest_dir.join(path)) };
        self.with(|config| config.rw_dirs.push(dir))
    }

    /// A host path that the guest's commands find where it is also below `/tmp`, `/run` and
    /// `/dev/shm`, which are fresh and empty in a guest, also by way of a link if it is named so. The
    /// working directory, the package, this executable with its target directory, the programs of `PATH`, and
    /// what `HOME`, `TMPDIR` and `XDG_RUNTIME_DIR` name are found anyway. One that does not exist is no error.
    pub fn keep(self, path: impl Into<PathBuf>) -> Self {
        self.with(|config| config.keep.push(path.into()))
    }

    /// Sets a variable in the environment that the guest's commands start with: this process's.
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|config| drop(config.env.insert(name.into(), value.into())))
    }

    /// A limit of the guest's whole life, its boot included (the `timeout` of a `#[uml_test]`
    /// limits the body alone): a boot and a wait for a command get [`Error::TimedOut`] when it has
    /// passed. [`Vm::shutdown`] has limits of its own, and a guest that nobody waits for goes on until
    /// its [`Vm`] is dropped. Without one there is no limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.lifetime = Some(limit);
        self
    }

    /// How long the guest may take until it is set up; 8 seconds without, or ten times what its kernel
    /// took when it was installed, if that is more.
    pub fn boot_timeout(self, limit: Duration) -> Self {
        self.with(|config| config.boot_timeout = limit)
    }

    /// How system calls are intercepted; [`Traps::Auto`] without.
    pub fn traps(self, traps: Traps) -> Self {
        self.with(|config| config.traps = traps)
    }

    /// Whether the guest is kept from writing the host's files; [`Sandbox::Auto`] without.
    pub fn sandbox(self, sandbox: Sandbox) -> Self {
        self.with(|config| config.sandbox = sandbox)
    }

    /// Boots the guest and waits until it is set up.
    ///
    /// # Errors
    /// Every [`Error`] but [`Error::Output`]: a wrong setting, no kernel, no room, no sandbox
    /// where one is required, a guest that ended or was not up in time; [`Error::Request`] where
    /// the environment is too large to be sent. On a host without Landlock, unless
    /// [`Sandbox::Off`] was asked for, a line on standard error says so once; so does one where
    /// [`Traps::Seccomp`] was and the kernel does not know it.
    pub fn boot(self) -> Result<Vm, Error> {
        match self.config {
            Ok(config) if config.mem < MIN_MEM => Err(Error::Config(ConfigError::Value {
                place: "VmBuilder::mem".to_owned(),
                expected: "bytes, at least 32 MiB (33554432)",
                found: config.mem.to_string(),
            })),
            Ok(config) => {
                let vm = vm::boot(&config, &self.manifest_dir, self.lifetime)?;
                #[cfg(supported_host)]
                {
                    crate::report::warn_unprotected(&vm.protection(), config.sandbox);
                    crate::report::warn_traps(vm.kernel_release(), config.traps);
                }
                Ok(vm)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        if let Ok(config) = &mut self.config {
            change(config);
        }
        self
    }
}

/// Where relative paths start without a package, and where one is looked for.
fn working_dir() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_stays_one_in_every_copy() {
        let wrong = ConfigError::Value {
            place: "UML_TEST_MEM".to_owned(),
            expected: "a size",
            found: "lots".to_owned(),
        };
        let builder =
            VmBuilder { config: Err(wrong), manifest_dir: PathBuf::from("/"), lifetime: None };
        for builder in [builder.clone(), builder.mem(1 << 30)] {
            let error = builder.boot().unwrap_err();
            assert!(matches!(error, Error::Config(ConfigError::Value { .. })), "{error:?}");
        }
    }
}
