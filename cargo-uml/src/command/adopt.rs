//! `cargo uml kernel adopt` and `install`: kernels that were built elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cli::{AdoptArguments, InstallArguments, Installable};
use crate::error::Error;
use crate::kernel::apt::Apt;
use crate::kernel::cache::Cache;
use crate::kernel::deb;
use crate::kernel::entry::Kernel;
use crate::kernel::identity;
use crate::kernel::image;
use crate::kernel::install::{self, Contents, Image};
use crate::kernel::lock::{BuildLock, CacheLock};
use crate::kernel::metadata::{Metadata, Provenance};
use crate::kernel::modules;
use crate::kernel::names::Name;
use crate::report::Reporter;

/// The distribution's package, and where it has things.
const PACKAGE: &str = "user-mode-linux";
const KERNEL: &str = "usr/bin/linux.uml";
const MODULES: &str = "usr/lib/uml/modules";

/// A kernel that somebody else built.
struct Foreign<'a> {
    image: &'a Path,
    modules: Option<PathBuf>,
    provenance: Provenance,
    source: String,
    name: Option<Name>,
}

pub(crate) fn adopt(
    cache: &Cache,
    arguments: &AdoptArguments,
    reporter: &Reporter,
) -> Result<PathBuf, Error> {
    let name = arguments.name.as_deref().map(Name::parse_own).transpose()?;
    let image = arguments.path.canonicalize().map_err(Error::io("open", &arguments.path))?;
    let canonical = |path: &PathBuf| path.canonicalize().map_err(Error::io("open", path));
    let foreign = Foreign {
        image: &image,
        modules: arguments.modules.as_ref().map(canonical).transpose()?,
        provenance: Provenance::Adopted,
        source: format!("{} sha256:{}", image.display(), identity::of_file(&image)?),
        name,
    };
    Ok(foreign.install(cache, reporter)?.linux())
}

pub(crate) fn install(
    cache: &Cache,
    arguments: &InstallArguments,
    reporter: &Reporter,
) -> Result<PathBuf, Error> {
    let name = Name::parse_own(&arguments.name)?;
    match arguments.what {
        Installable::Distro => distro(cache, name, reporter),
    }
}

fn distro(cache: &Cache, name: Name, reporter: &Reporter) -> Result<PathBuf, Error> {
    let _lock = BuildLock::take(cache, "installing the distribution's kernel", reporter)?;
    let sources = cache.sources();
    let phase = reporter.phase(format_args!("Looking for {PACKAGE} on the package mirror"));
    let apt = Apt::new(&sources)?;
    let package = apt.find(PACKAGE)?;
    drop(phase);
    let source = format!("{} {} sha256:{}", package.name, package.version, package.sha256);
    let lock = CacheLock::take(cache)?;
    if let Some(kernel) = cache.list().into_iter().rev().find(|kernel| {
        let has_modules = kernel.directory().join("modules").exists();
        kernel.metadata.source == source
            && (!has_modules || modules::is_indexed(kernel))
            && kernel.is_intact()
    }) {
        cache.set_name(&name, &kernel, &lock, reporter)?;
        return Ok(kernel.linux());
    }
    drop(lock);
    let scratch = TempDir::with_prefix_in(".deb-", &sources)
        .map_err(Error::io("create a directory in", &sources))?;
    let deb = scratch.path().join("package.deb");
    apt.download(&package, &deb, reporter)?;
    let found = identity::of_file(&deb)?;
    if found != package.sha256 {
        return Err(Error::WrongChecksum {
            url: PACKAGE.to_owned(),
            expected: package.sha256,
            found,
        });
    }
    let contents = scratch.path().join("contents");
    deb::extract(&deb, &contents)?;
    let image = contents.join(KERNEL);
    if !image.exists() {
        return Err(Error::NoKernelInPackage { package: PathBuf::from(PACKAGE) });
    }
    let modules = contents.join(MODULES).join(image::version(&image)?);
    let foreign = Foreign {
        image: &image,
        modules: modules.is_dir().then_some(modules),
        provenance: Provenance::Distribution,
        source,
        name: Some(name),
    };
    Ok(foreign.install(cache, reporter)?.linux())
}

impl Foreign<'_> {
    /// Installs it, unless the cache has it, and names it.
    fn install(&self, cache: &Cache, reporter: &Reporter) -> Result<Kernel, Error> {
        let version = image::version(self.image)?;
        let config = image::config(self.image)?;
        if config.is_none() {
            reporter.note(
                "The kernel does not tell its configuration (CONFIG_IKCONFIG), so gates on options can't be answered",
            );
        }
        if let Some(modules) = &self.modules {
            fs::read_dir(modules).map_err(Error::io("list", modules))?;
            modules::note_without_modprobe(reporter);
        }
        let name = match &self.name {
            Some(name) => name.clone(),
            None => Name::parse_own(&format!("adopted-{version}"))?,
        };
        let listing =
            self.modules.as_deref().map(|modules| identity::of_listing(modules, |_| false));
        let content = identity::of_binary(&identity::of_file(self.image)?, listing.as_deref());
        let lock = CacheLock::take(cache)?;
        // Where depmod was missing, it may be there now.
        let is_whole = |kernel: &Kernel| self.modules.is_none() || modules::is_indexed(kernel);
        let kernel = match cache.with_content(&content).filter(is_whole) {
            Some(kernel) => kernel,
            None => {
                let metadata = Metadata {
                    name: name.to_string(),
                    version,
                    provenance: self.provenance,
                    source: self.source.clone(),
                    source_path: None,
                    flavours: Vec::new(),
                    fragments: Vec::new(),
                    modules_from: match self.provenance {
                        Provenance::Adopted => {
                            self.modules.as_ref().map(|path| path.display().to_string())
                        }
                        _ => None,
                    },
                    recipe: String::new(),
                    compiler: config
                        .as_deref()
                        .and_then(image::compiler)
                        .unwrap_or_else(|| "unknown".to_owned()),
                    sha256: String::new(),
                    build_seconds: 0,
                    build_steps: 0,
                    boot_ms: None,
                    least_mem_mib: None,
                    dropped_options: Vec::new(),
                };
                let contents = Contents {
                    image: Image::Foreign(self.image.to_path_buf()),
                    config,
                    modules: self.modules.clone(),
                    build: None,
                };
                install::install(cache, &contents, metadata, &content, &lock, reporter)?
            }
        };
        cache.set_name(&name, &kernel, &lock, reporter)?;
        Ok(kernel)
    }
}
