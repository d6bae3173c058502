//! What a guest on this host would be made of, for `cargo uml doctor`: the same choices as for a
//! boot, without one. Hidden from the documentation: it changes with that command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{limits, process, run_dir};
use crate::artifacts;
use crate::builder::VmBuilder;
use crate::cache;
use crate::case::Overrides;
use crate::config::{self, Config};
use crate::error::{Error, KernelError};

/// This host, with the settings of a package.
#[derive(Debug)]
pub struct Host {
    config: Config,
    manifest_dir: PathBuf,
}

/// A directory that run directories may be made in.
#[derive(Debug)]
pub struct Place {
    /// As configured.
    pub path: PathBuf,
    /// Free bytes; or why it is not fit.
    pub room: Result<u64, String>,
}

impl Host {
    /// With the settings of the package in `manifest_dir`, which need not have a manifest, and of
    /// the `UML_TEST_*` variables.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot be used; on hosts that no guest runs on
    /// [`Error::Unsupported`].
    pub fn of(manifest_dir: &Path) -> Result<Self, Error> {
        let config = config::resolve(manifest_dir, &Overrides::NONE, &config::variables())?;
        Ok(Self { config, manifest_dir: manifest_dir.to_owned() })
    }

    /// Whether this is a guest itself, which boots none.
    pub fn is_guest() -> bool {
        crate::guest::is_inside()
    }

    /// The target directory that cargo built an executable in, as far as there is one.
    pub fn target_dir(executable: &Path) -> Option<PathBuf> {
        super::paths::target_dir(executable)
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The kernel that would be booted, and where the choice comes from.
    ///
    /// # Errors
    /// [`KernelError`], as a boot would give it.
    pub fn kernel(&self) -> Result<(PathBuf, String), KernelError> {
        let found = artifacts::kernel(&self.config)?;
        Ok((found.linux, found.origin))
    }

    /// Every directory that would be looked at for guests' memory, in that order. The first that
    /// is fit is taken.
    pub fn places(&self) -> Vec<Place> {
        let check = |path: PathBuf| Place {
            room: run_dir::check(&path, self.config.mem).map(|place| place.room),
            path,
        };
        run_dir::candidates(&self.config).into_iter().map(check).collect()
    }

    /// Whether files may be as large as a guest needs them.
    ///
    /// # Errors
    /// [`Error::FileSize`].
    pub fn check_file_size(&self) -> Result<(), Error> {
        limits::check_file_size(self.config.mem)
    }

    /// Executes the agent, of which guests' supervisors are made, and has it do nothing. Says what kind
    /// of file it was executed from.
    ///
    /// # Errors
    /// [`Error::Supervisor`] where it cannot be written or executed.
    pub fn agent(&self) -> Result<String, Error> {
        let places = self.places();
        let fit = places.iter().find(|place| place.room.is_ok()).or(places.first());
        process::try_agent(fit.map_or(Path::new("/tmp"), |place| &place.path))
    }

    /// How long a guest with these settings may take until it is set up.
    pub fn boot_limit(&self) -> Duration {
        match artifacts::kernel(&self.config) {
            Ok(kernel) => cache::needs(&kernel.linux).boot_limit(self.config.boot_timeout),
            Err(_) => self.config.boot_timeout,
        }
    }

    /// A guest with these settings.
    pub fn builder(&self) -> VmBuilder {
        VmBuilder::of(self.config.clone(), &self.manifest_dir)
    }
}
