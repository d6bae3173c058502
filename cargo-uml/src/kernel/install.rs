//! Puts a kernel into the cache: whole or not at all, and only if it boots.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::boot;
use super::cache::Cache;
use super::entry::{self, Kernel};
use super::identity;
use super::image;
use super::kbuild;
use super::lock::CacheLock;
use super::metadata::Metadata;
use super::modules;
use crate::error::Error;
use crate::process;
use crate::report::Reporter;

/// What a kernel consists of.
pub(crate) struct Contents {
    pub(crate) image: Image,
    /// The resolved `.config`, if it is known.
    pub(crate) config: Option<String>,
    /// The directory with the modules of its release, as below `/lib/modules`.
    pub(crate) modules: Option<PathBuf>,
    /// The source tree and the build directory, to build modules against later.
    pub(crate) build: Option<(PathBuf, PathBuf)>,
}

pub(crate) enum Image {
    /// As the linker made it: its debug information is split off.
    Built(PathBuf),
    /// Somebody else's: taken as it is.
    Foreign(PathBuf),
}

impl Image {
    /// What messages call it: the copy that is tried out is gone when they are read.
    fn path(&self) -> &Path {
        let (Image::Built(path) | Image::Foreign(path)) = self;
        path
    }
}

/// Installs the kernel under the version that it prints and `content`. Fills in what `metadata` leaves open: version,
/// checksum and boot time.
///
/// Until the last rename nothing of it is in the cache. A kernel that does not boot never is.
pub(crate) fn install(
    cache: &Cache,
    contents: &Contents,
    mut metadata: Metadata,
    content: &str,
    _: &CacheLock,
    reporter: &Reporter,
) -> Result<Kernel, Error> {
    let phase = reporter.phase("Installing the kernel");
    let kernels = cache.kernels();
    fs::create_dir_all(&kernels).map_err(Error::io("create", &kernels))?;
    let staging = TempDir::with_prefix_in(".new-", &kernels)
        .map_err(Error::io("create a directory in", &kernels))?;
    let at = |name: &str| staging.path().join(name);
    let mut files = vec!["linux", "kernel.toml"];

    let linux = at("linux");
    match &contents.image {
        Image::Built(built) => {
            split(built, staging.path())?;
            files.push("linux.debug");
        }
        Image::Foreign(image) => {
            fs::copy(image, &linux).map_err(Error::io("copy", image))?;
            set_mode(&linux, 0o755)?;
        }
    }
    let version = image::version(&linux).map_err(|error| match error {
        Error::NotAKernel { why, .. } => {
            Error::NotAKernel { path: contents.image.path().to_path_buf(), why }
        }
        error => error,
    })?;
    if !metadata.version.is_empty() && version != metadata.version {
        return Err(Error::KernelDoesNotStart {
            path: contents.image.path().to_path_buf(),
            expected: metadata.version,
            found: version,
        });
    }
    metadata.version = version;
    metadata.sha256 = identity::of_file(&linux)?;
    if let Some(config) = &contents.config {
        fs::write(at("config"), config).map_err(Error::io("write", at("config")))?;
        files.push("config");
    }
    if let Some(directory) = &contents.modules {
        modules::copy(directory, &metadata.version, staging.path(), reporter)?;
    }
    if let Some((tree, out)) = &contents.build {
        kbuild::copy(tree, out, &at("build"))?;
    }
    drop(phase);

    let phase = reporter.phase("Booting it");
    let boots = boot::check(&linux).map_err(|source| Error::KernelDoesNotBoot {
        path: contents.image.path().to_path_buf(),
        source: Box::new(source),
    })?;
    metadata.boot_ms = Some(boots.milliseconds);
    metadata.least_mem_mib = boots.least_mem_mib;
    // These were no guests of the user's.
    let _ = fs::remove_file(at("last-used"));
    drop(phase);

    let path = at("kernel.toml");
    let text = toml::to_string(&metadata)
        .map_err(|source| Error::Metadata { path: path.clone(), source })?;
    fs::write(&path, text).map_err(Error::io("write", &path))?;
    // The directory is private to its owner until here.
    set_mode(staging.path(), 0o755)?;
    files.push(".");
    for path in files.into_iter().map(at) {
        File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("write", &path))?;
    }

    let directory = kernels.join(format!("{}-{content}", metadata.version));
    if directory.exists() {
        // Damaged or not whole, or it would have been used.
        entry::discard(&directory)?;
    }
    fs::rename(staging.keep(), &directory).map_err(Error::io("create", &directory))?;
    File::open(&kernels).and_then(|file| file.sync_all()).map_err(Error::io("write", &kernels))?;
    Kernel::read(&directory)
        .ok_or_else(|| Error::io("read", &directory)(std::io::ErrorKind::InvalidData.into()))
}

/// Writes `linux`, stripped, and `linux.debug` into `directory`.
fn split(built: &Path, directory: &Path) -> Result<(), Error> {
    let objcopy = || {
        let mut command = Command::new("objcopy");
        command.current_dir(directory);
        command
    };
    process::stdout(objcopy().arg("--only-keep-debug").arg(built).arg("linux.debug"))?;
    let strip = ["--strip-all", "--add-gnu-debuglink=linux.debug"];
    // objcopy keeps the mode.
    process::stdout(objcopy().args(strip).arg(built).arg("linux")).map(drop)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(Error::io("set the mode of", path))
}
