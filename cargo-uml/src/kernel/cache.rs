//! The user's cache directory: where things are in it, and which kernels it has.
//!
//! The directory is `$UML_TEST_CACHE_DIR`, else `$XDG_CACHE_HOME/uml-test`, else `$HOME/.cache/uml-test`:
//!
//! ```text
//! kernels/<id>/linux          the kernel, stripped, executable
//! kernels/<id>/linux.debug    its debug information, found by gdb through .gnu_debuglink; not of foreign kernels
//! kernels/<id>/config         the resolved .config; missing if a foreign kernel does not tell
//! kernels/<id>/kernel.toml    see [`Metadata`](super::metadata::Metadata)
//! kernels/<id>/build/         what modules outside the tree are built against; not of foreign kernels
//! kernels/<id>/modules/       what the guest sees as /lib/modules, if the kernel has modules
//! kernels/<id>/last-used      empty; uml-test touches it when it boots a guest
//! names/<name>                a link to ../kernels/<id>; `/` in the name is written `:`
//! names/default               a link to the kernel that is booted where none is named
//! sources/                    fetched source packages, each with its SHA-256 beside it, and tarballs
//! build/<hash>/               a build in progress or failed, or one of a source tree, which is kept:
//!                             src/, out/, build.log, tree (the path of the source tree)
//! build.lock, cache.lock      see [`super::lock`]
//! ```
//!
//! `<id>` is the version and a content hash, such as `7.2.12-1a2b3c4d5e6f`. Names that start with a dot are things
//! being put together. `uml-test` reads `kernels` and `names`, touches `last-used`, and knows nothing else of this
//! crate.
//!
//! A build tree takes 2.5 GB and goes after success, except a source tree's, from which the next build is a matter of
//! seconds. Fetched source (165 MB) stays until a newer version of the same is fetched, so that a change of
//! configuration or compiler builds without a network.

use std::fs;
use std::path::{Path, PathBuf};

use uml_test::kernel_name;
use uml_test::remedy::how_to_build;

use super::entry::Kernel;
use super::metadata::{Metadata, Provenance};
use super::names::{DEFAULT, Name};
use super::version::{TESTED, Version, Wanted};
use crate::error::Error;

pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache directory that the environment names; it need not exist.
    pub(crate) fn locate() -> Result<Self, Error> {
        let variable =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let own = variable("UML_TEST_CACHE_DIR");
        if let Some(found) = own.as_ref().filter(|path| !path.is_absolute()) {
            return Err(Error::RelativeCacheDirectory { found: found.clone() });
        }
        // By their specification relative ones are void.
        let absolute = |name| variable(name).filter(|path| path.is_absolute());
        let root = own
            .or_else(|| Some(absolute("XDG_CACHE_HOME")?.join("uml-test")))
            .or_else(|| Some(absolute("HOME")?.join(".cache/uml-test")))
            .ok_or(Error::NoCacheDirectory)?;
        Ok(Cache { root })
    }

    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Cache { root: root.to_path_buf() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    pub(crate) fn builds(&self) -> PathBuf {
        self.root.join("build")
    }

    pub(crate) fn kernels(&self) -> PathBuf {
        self.root.join("kernels")
    }

    pub(crate) fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// The directories of all kernels, damaged or not, sorted.
    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.kernels()).into_iter().flatten().flatten();
        let mut directories: Vec<PathBuf> = entries
            // One that is being put together has a name with a dot in front.
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(|entry| entry.path())
            .collect();
        directories.sort();
        directories
    }

    /// All kernels with readable metadata, the oldest first.
    pub(crate) fn list(&self) -> Vec<Kernel> {
        let mut kernels: Vec<Kernel> =
            self.entries().iter().filter_map(|directory| Kernel::read(directory)).collect();
        kernels.sort_by(|a, b| a.installed.cmp(&b.installed).then_with(|| a.id().cmp(&b.id())));
        kernels
    }

    /// The undamaged kernel of the most preferred version that was built with `recipe` from a package or release that is
    /// wanted; where nobody says which, of the most preferred series only, as the mirror may have that.
    pub(crate) fn with_recipe(&self, recipe: &str, wanted: Option<&Wanted>) -> Option<Kernel> {
        self.best_with_recipe(recipe, |version| match wanted {
            Some(wanted) => wanted.matches(version),
            None => version.series() == TESTED[0],
        })
    }

    /// The same of any version: the last resort.
    pub(crate) fn any_with_recipe(&self, recipe: &str) -> Option<Kernel> {
        self.best_with_recipe(recipe, |_| true)
    }

    fn best_with_recipe(
        &self,
        recipe: &str,
        is_wanted: impl Fn(&Version) -> bool,
    ) -> Option<Kernel> {
        let mut found: Vec<(Version, Kernel)> = self
            .list()
            .into_iter()
            .filter(|kernel| {
                matches!(kernel.metadata.provenance, Provenance::Package | Provenance::Release)
                    && kernel.metadata.recipe == recipe
            })
            .filter_map(|kernel| Some((Version::of_release(&kernel.metadata.version)?, kernel)))
            .filter(|(version, _)| is_wanted(version))
            .collect();
        // Of equals the last that was installed stays the last.
        found.sort_by_key(|(version, _)| version.preference());
        found.into_iter().map(|(_, kernel)| kernel).rev().find(Kernel::is_intact)
    }

    /// The undamaged kernel with this content hash.
    pub(crate) fn with_content(&self, content: &str) -> Option<Kernel> {
        let suffix = format!("-{content}");
        self.list()
            .into_iter()
            .rev()
            .find(|kernel| kernel.id().ends_with(&suffix) && kernel.is_intact())
    }

    /// The kernel that a name, or an id, stands for.
    pub(crate) fn named(&self, text: &str) -> Result<Kernel, Error> {
        let (_, id) = self.entry(text)?;
        let path = self.kernels().join(&id);
        let is_there = |kernel: &Kernel| kernel.linux().exists();
        Kernel::read(&path).filter(is_there).ok_or_else(|| Error::DamagedKernel {
            name: self.names_of(&id).into_iter().next().unwrap_or_else(|| id.clone()),
            again: self.how_to_make(&id),
            id,
            path,
        })
    }

    /// The command that makes a kernel again: as its metadata has it, or where these can't be read, its name.
    pub(crate) fn how_to_make(&self, id: &str) -> String {
        let name = self.names_of(id).into_iter().next();
        match Metadata::read(&self.kernels().join(id)) {
            Ok(metadata) => metadata.how_to_make(name.as_ref().unwrap_or(&metadata.name)),
            Err(_) => how_to_build(name.as_deref().unwrap_or(id)),
        }
    }

    /// The same as [`find`](Self::find), of a kernel that is there, damaged or not.
    pub(crate) fn entry(&self, text: &str) -> Result<(Option<Name>, String), Error> {
        self.find(text).filter(|(_, id)| self.kernels().join(id).is_dir()).ok_or_else(|| match text
        {
            DEFAULT => Error::NoDefault { known: self.names_or_ids() },
            _ => Error::UnknownKernel { name: text.to_owned(), known: self.known() },
        })
    }

    /// The executable of the kernel that a name, or an id, stands for. It need not be there.
    pub(crate) fn executable(&self, text: &str) -> Option<PathBuf> {
        let (_, id) = self.find(text)?;
        Some(self.kernels().join(id).join("linux"))
    }

    /// The id that a name, `default` among them, stands for, or else that the text is itself; with the name as the
    /// cache has it, which may have its flavours in another order.
    pub(crate) fn find(&self, text: &str) -> Option<(Option<Name>, String)> {
        let named = |text: &str| {
            let name = Name::parse(text).ok()?;
            let id = self.target(&name)?;
            Some((Some(name), id))
        };
        named(text).or_else(|| named(&kernel_name::usual(text))).or_else(|| {
            let is_one_part = !text.is_empty() && !text.starts_with('.') && !text.contains('/');
            (is_one_part && self.kernels().join(text).is_dir()).then(|| (None, text.to_owned()))
        })
    }

    /// The names of the kernels that there are, for messages.
    pub(crate) fn known(&self) -> String {
        let names = self.names_of_kernels();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The names of the kernels that there are; their ids where none has a name.
    fn names_or_ids(&self) -> Vec<String> {
        let ids = || {
            self.entries()
                .iter()
                .filter_map(|path| Some(path.file_name()?.display().to_string()))
                .collect()
        };
        let names = self.names_of_kernels();
        if names.is_empty() { ids() } else { names }
    }

    fn names_of_kernels(&self) -> Vec<String> {
        let kernels = self.kernels();
        let names = self.all_names().into_iter();
        names
            .filter(|(_, id)| kernels.join(id).is_dir())
            .map(|(name, _)| name.to_string())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::kernel::identity;

    /// Installs something that says this version, later than all before.
    fn install(cache: &Cache, version: &str) {
        let directory = cache.kernels().join(format!("{version}-0123456789ab"));
        fs::create_dir_all(&directory).unwrap();
        let linux = directory.join("linux");
        fs::write(&linux, format!("#!/bin/sh\necho {version}\n")).unwrap();
        fs::set_permissions(&linux, fs::Permissions::from_mode(0o755)).unwrap();
        let metadata = format!(
            "name = \"x\"\nversion = \"{version}\"\nprovenance = \"release\"\nsource = \"x\"\nrecipe = \"r\"\n\
             compiler = \"x\"\nsha256 = \"{}\"\nbuild_seconds = 1\nbuild_steps = 1\n",
            identity::of_file(&linux).unwrap()
        );
        let path = directory.join("kernel.toml");
        fs::write(&path, metadata).unwrap();
        let before = cache.list().iter().map(|kernel| kernel.installed).max().unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(before + std::time::Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn a_damaged_kernel_is_told_from_one_that_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        install(&cache, "7.2.1");
        let id = "7.2.1-0123456789ab";
        assert_eq!(cache.named(id).unwrap().id(), id);
        fs::remove_file(cache.kernels().join(id).join("kernel.toml")).unwrap();
        assert!(matches!(cache.named(id), Err(Error::DamagedKernel { .. })));
        assert!(matches!(cache.named("7.2.2"), Err(Error::UnknownKernel { .. })));
    }

    #[test]
    fn the_version_decides_which_kernel_serves_not_when_it_was_installed() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let found = |wanted: Option<&str>| {
            let wanted = wanted.map(|text| Wanted::parse(text).unwrap());
            cache.with_recipe("r", wanted.as_ref()).map(|kernel| kernel.metadata.version)
        };
        for version in ["6.12.95", "6.12.64", "7.3.1"] {
            install(&cache, version);
        }
        assert_eq!(found(Some("6.12")).as_deref(), Some("6.12.95"));
        assert_eq!(found(Some("6.12.64")).as_deref(), Some("6.12.64"));
        assert_eq!(found(None), None, "the mirror may have better");
        assert_eq!(cache.any_with_recipe("r").unwrap().metadata.version, "6.12.95");
        assert!(cache.any_with_recipe("x").is_none());
        for version in ["7.2.12", "7.2.9", "6.1.187"] {
            install(&cache, version);
        }
        assert_eq!(found(None).as_deref(), Some("7.2.12"));
        assert_eq!(found(Some("7.2")).as_deref(), Some("7.2.12"));
    }
}
