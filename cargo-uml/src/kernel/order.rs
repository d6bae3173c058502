//! A kernel as it is asked for, and how the cache comes to have it.

use std::fs;
use std::path::{Path, PathBuf};

use super::build::Build;
use super::cache::Cache;
use super::entry::Kernel;
use super::flavour::{self, Flavour};
use super::fragment::{self, Dropped, Fragment, Request};
use super::identity;
use super::install::{self, Contents, Image};
use super::lock::{BuildLock, CacheLock};
use super::metadata::{Metadata, Provenance};
use super::names::Name;
use super::source::{Choice, Source};
use super::tools;
use super::tree;
use super::unseen;
use super::version::{MINIMUM, Version};
use crate::doctor;
use crate::error::Error;
use crate::report::Reporter;

/// Where in its directory a build writes; that of the menus is another.
const OUT: &str = "out";

/// Which kernel to build.
pub(crate) struct Order {
    pub(crate) choice: Choice,
    flavours: Vec<Flavour>,
    fragments: Vec<Fragment>,
    /// Where the fragments are, whatever the working directory.
    fragment_paths: Vec<String>,
    /// The flavours and the fragments' file names: what tells the kernel from others of its version.
    parts: Vec<String>,
    name: Option<Name>,
    becomes_default: bool,
}

/// What is built, once its source is known.
struct Plan {
    source: Source,
    compiler: String,
    content: String,
}

impl Order {
    pub(crate) fn new(
        choice: Choice,
        flavours: &[String],
        fragments: &[PathBuf],
        name: Option<&str>,
    ) -> Result<Self, Error> {
        let flavours = flavour::named(flavours)?;
        let mut parts: Vec<String> = flavours
            .iter()
            .filter(|flavour| !flavour.is_base())
            .map(|flavour| flavour.name.to_owned())
            .collect();
        for path in fragments {
            parts.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
        let absolute = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let fragment_paths =
            fragments.iter().map(|path| absolute(path).display().to_string()).collect();
        let fragments =
            fragments.iter().map(|path| Fragment::read(path)).collect::<Result<Vec<_>, _>>()?;
        let name = name.map(Name::parse_own).transpose()?;
        if name.is_none() {
            // Now, not after the build.
            Name::of_build((0, 0), &parts)?;
            let of_fragments = &parts[parts.len() - fragments.len()..];
            for (at, part) in of_fragments.iter().enumerate() {
                let is_flavour = flavour::ALL.iter().any(|flavour| flavour.name == *part);
                if is_flavour || of_fragments[..at].contains(part) {
                    return Err(Error::AmbiguousName { part: part.clone() });
                }
            }
        }
        Ok(Order {
            choice,
            flavours,
            fragments,
            fragment_paths,
            parts,
            name,
            becomes_default: false,
        })
    }

    /// The same of a kernel that is to be the default, whatever is that before.
    pub(crate) fn for_default(self) -> Self {
        Order { becomes_default: true, ..self }
    }

    /// All fragments, in the order in which they are merged.
    pub(crate) fn all_fragments(&self) -> Vec<Fragment> {
        let shipped = self.flavours.iter().map(Flavour::fragment);
        shipped.chain(self.fragments.iter().cloned()).collect()
    }

    pub(crate) fn recipe(&self) -> String {
        identity::recipe(&self.all_fragments())
    }

    fn name(&self, version: &str) -> Result<Name, Error> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => {
                let series = Version::of_release(version).unwrap_or(MINIMUM).series();
                Name::of_build(series, &self.parts)
            }
        }
    }

    /// A cached kernel that fits without a look at the source: a newer one on the mirror or another compiler is no
    /// reason to build.
    fn cached(&self, cache: &Cache) -> Option<Kernel> {
        match self.choice {
            Choice::Best | Choice::Version(_) => {
                cache.with_recipe(&self.recipe(), self.choice.wanted())
            }
            Choice::Release(_) | Choice::Path(_) => None,
        }
    }

    /// The kernel, built unless the cache has it, under its name.
    pub(crate) fn provide(&self, cache: &Cache, reporter: &Reporter) -> Result<Kernel, Error> {
        loop {
            let kernel = match self.cached(cache) {
                Some(kernel) => kernel,
                None => self.provide_built(cache, reporter)?,
            };
            let name = self.name(&kernel.metadata.version)?;
            let has_default = match self.becomes_default {
                true => cache.is_default(&kernel),
                false => cache.default_id().is_some(),
            };
            if has_default && cache.target(&name).is_some_and(|id| id == kernel.id()) {
                return Ok(kernel);
            }
            let lock = CacheLock::take(cache)?;
            // While nothing was locked, a prune may have removed a kernel that had no name.
            if kernel.directory().exists() {
                self.give_name(cache, &kernel, &lock, reporter)?;
                return Ok(kernel);
            }
        }
    }

    fn give_name(
        &self,
        cache: &Cache,
        kernel: &Kernel,
        lock: &CacheLock,
        reporter: &Reporter,
    ) -> Result<(), Error> {
        if self.becomes_default {
            cache.set_default(kernel, lock)?;
        }
        cache.set_name(&self.name(&kernel.metadata.version)?, kernel, lock, reporter)
    }

    fn provide_built(&self, cache: &Cache, reporter: &Reporter) -> Result<Kernel, Error> {
        // A wrong path should not wait for the lock, nor should a kernel that is there.
        if let Choice::Path(path) = &self.choice {
            let source = Source::given(path)?;
            if let Ok(compiler) = tools::compiler(&self.all_fragments())
                && let Some(kernel) = cache.with_content(&identity::content(
                    &self.recipe(),
                    &source.identity,
                    &compiler,
                ))
            {
                return Ok(kernel);
            }
        }
        let work = format!("building {}", self.shown());
        let _lock = BuildLock::take(cache, &work, reporter)?;
        if let Some(kernel) = self.cached(cache) {
            return Ok(kernel);
        }
        tools::ensure(&tools::BUILD, reporter)?;
        let source = match self.choice.source(&cache.sources(), reporter) {
            Ok(source) => source,
            Err(error) => return self.last_resort(cache, error, reporter),
        };
        let plan = self.plan(source)?;
        match cache.with_content(&plan.content) {
            Some(kernel) => Ok(kernel),
            None => self.build(cache, &plan, reporter),
        }
    }

    /// Where nobody says which version, one of another series than the preferred serves if no source can be had.
    fn last_resort(
        &self,
        cache: &Cache,
        error: Error,
        reporter: &Reporter,
    ) -> Result<Kernel, Error> {
        let kernel = match self.choice {
            Choice::Best => cache.any_with_recipe(&self.recipe()),
            Choice::Version(_) | Choice::Release(_) | Choice::Path(_) => None,
        };
        let Some(kernel) = kernel else { return Err(error) };
        reporter.note(format_args!(
            "{error}\nTaking Linux {}, which was built earlier",
            kernel.metadata.version
        ));
        Ok(kernel)
    }

    fn shown(&self) -> String {
        match &self.parts[..] {
            [] => self.choice.shown(),
            parts => format!("{} with {}", self.choice.shown(), parts.join(" and ")),
        }
    }

    fn plan(&self, source: Source) -> Result<Plan, Error> {
        let compiler = tools::compiler(&self.all_fragments())?;
        let content = identity::content(&self.recipe(), &source.identity, &compiler);
        Ok(Plan { source, compiler, content })
    }

    /// A configured build, in the directory that belongs to it.
    fn configured(
        &self,
        cache: &Cache,
        plan: &Plan,
        out: &str,
        reporter: &Reporter,
    ) -> Result<(Build, Vec<Dropped>), Error> {
        let source = &plan.source;
        let kept = source.provenance == Provenance::Tree;
        let directory = cache.builds().join(if kept {
            identity::of_build_tree(&source.path, &self.recipe(), &plan.compiler)
        } else {
            plan.content.clone()
        });
        let tree = source.tree(&directory, reporter)?;
        let fragments = self.all_fragments();
        if kept {
            unseen::show(&tree, &directory, &directory.join(out), reporter)?;
        }
        let build = Build::new(tree, &directory, out, tools::optional(&fragments).1)?;
        if kept {
            let path = directory.join("tree");
            fs::write(&path, source.path.as_os_str().as_encoded_bytes())
                .map_err(Error::io("write", &path))?;
        }
        let version = build.version();
        if *version < MINIMUM {
            if !kept {
                let _ = discard(cache, &build);
            }
            return Err(Error::TooOld { version: version.to_string(), minimum: MINIMUM });
        }
        let phase = reporter.phase(format_args!("Configuring Linux {version}"));
        let resolved = build.configure(&fragments)?;
        drop(phase);
        for doubt in resolved.doubts {
            reporter.note(doubt);
        }
        Ok((build, resolved.dropped))
    }

    fn build(&self, cache: &Cache, plan: &Plan, reporter: &Reporter) -> Result<Kernel, Error> {
        doctor::require_guests()?;
        if let Some(why) = tree::doubt(&plan.source.path, &plan.source.identity) {
            reporter.note(format_args!(
                "{} is a git checkout, but known by its files' times and not by its commit: {why}",
                plan.source.path.display()
            ));
        }
        let (build, dropped) = self.configured(cache, plan, OUT, reporter)?;
        let version = build.version();
        let (optional, missing): (Vec<Dropped>, Vec<Dropped>) =
            dropped.into_iter().partition(|dropped| dropped.optional);
        if !missing.is_empty() {
            // What other versions lack is not known, so there it is worth trying without. A user's own request counts,
            // and so does what a flavour is there for.
            let purposes: Vec<&str> =
                self.flavours.iter().filter_map(|flavour| flavour.purpose).collect();
            let forgivable =
                |request: &Request| request.shipped && !purposes.contains(&request.option.as_str());
            let forgiven =
                !version.is_tested() && missing.iter().all(|dropped| forgivable(&dropped.request));
            let error = Error::OptionsDropped {
                version: version.clone(),
                dropped: missing.clone(),
                config: build.config(),
            };
            if !forgiven {
                // Other fragments are another build; the configuration stays to be looked at.
                if plan.source.provenance != Provenance::Tree {
                    let _ = remove(build.tree());
                }
                return Err(error);
            }
            reporter.note(format_args!(
                "{error}\nGoing on without them: uml-test is not tested with Linux {version}"
            ));
        }
        let lacking: Vec<String> =
            optional.iter().chain(&missing).map(|dropped| dropped.request.option.clone()).collect();
        if !optional.is_empty() {
            reporter.note(format_args!(
                "Linux {version} does without{}",
                fragment::in_words(&optional)
            ));
        }

        let built = build.compile(reporter)?;
        let is_tree = plan.source.provenance == Provenance::Tree;
        if is_tree && tree::identity(&plan.source.path)? != plan.source.identity {
            return Err(Error::TreeChanged { path: plan.source.path.clone() });
        }
        let metadata = Metadata {
            name: self.name(&version.to_string())?.to_string(),
            version: built.release,
            provenance: plan.source.provenance,
            source: plan.source.identity.clone(),
            source_path: plan.source.path_of_users().map(str::to_owned),
            flavours: self
                .flavours
                .iter()
                .filter(|flavour| !flavour.is_base())
                .map(|flavour| flavour.name.to_owned())
                .collect(),
            fragments: self.fragment_paths.clone(),
            modules_from: None,
            recipe: self.recipe(),
            compiler: plan.compiler.clone(),
            sha256: String::new(),
            build_seconds: built.duration.as_secs(),
            build_steps: built.steps,
            boot_ms: None,
            least_mem_mib: None,
            dropped_options: lacking,
        };
        let config =
            fs::read_to_string(build.config()).map_err(Error::io("read", build.config()))?;
        let contents = Contents {
            image: Image::Built(built.linux),
            config: Some(config),
            modules: None,
            build: Some((build.tree().to_path_buf(), built.out)),
        };
        let lock = CacheLock::take(cache)?;
        let kernel = install::install(cache, &contents, metadata, &plan.content, &lock, reporter)?;
        // Without a name it is what a prune removes that waits for this lock.
        self.give_name(cache, &kernel, &lock, reporter)?;
        drop(lock);
        if !is_tree {
            let _phase = reporter.phase("Removing the build tree");
            discard(cache, &build)?;
        }
        Ok(kernel)
    }

    /// Lets the user change the configuration in the kernel's own menus, and calls `changed` with the tree and the
    /// resolved configuration before and after.
    pub(crate) fn edit(
        &self,
        cache: &Cache,
        reporter: &Reporter,
        changed: impl FnOnce(&Path, &str, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Together: it takes the compiler to see whether a header is there.
        tools::ensure(&[&tools::BUILD[..], &[tools::NCURSES]].concat(), reporter)?;
        let work = format!("configuring {}", self.shown());
        let _lock = BuildLock::take(cache, &work, reporter)?;
        let plan = self.plan(self.choice.source(&cache.sources(), reporter)?)?;
        let was_unpacked = plan.source.is_unpacked(&cache.builds().join(&plan.content));
        let (build, dropped) = self.configured(cache, &plan, "config", reporter)?;
        for dropped in dropped.iter().filter(|dropped| !dropped.optional) {
            reporter.note(format_args!("Not honoured: {dropped}"));
        }
        let read = || fs::read_to_string(build.config()).map_err(Error::io("read", build.config()));
        let edited = read().and_then(|before| {
            build.menuconfig()?;
            changed(build.tree(), &before, &read()?)
        });
        // A build that was interrupted goes on from what it has come to.
        let is_kept = plan.source.provenance == Provenance::Tree || was_unpacked;
        if is_kept { edited } else { edited.and(discard(cache, &build)) }
    }
}

/// Removes all of a build.
fn discard(cache: &Cache, build: &Build) -> Result<(), Error> {
    remove(build.directory())?;
    // Empty, most often.
    let _ = fs::remove_dir(cache.builds());
    Ok(())
}

fn remove(directory: &Path) -> Result<(), Error> {
    fs::remove_dir_all(directory).map_err(Error::io("remove", directory))
}
