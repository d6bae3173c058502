//! `cargo uml setup`: an up-to-date kernel in the cache, built if there is none.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::kernel::build::Build;
use crate::kernel::cache::{Cache, Kernel};
use crate::kernel::config::{self, Dropped};
use crate::kernel::identity;
use crate::kernel::metadata::Metadata;
use crate::kernel::source::Source;
use crate::kernel::tools;
use crate::kernel::version::MINIMUM;
use crate::report::Reporter;

/// The name in `kernel.toml` of the kernel that setup provides.
const NAME: &str = "default";

/// Provides the default kernel and makes it the one in use; returns its path.
///
/// Without a `source`, any cached kernel with the current recipe will do: a newer source on the mirror or another
/// compiler is no reason to build, and nothing but the cache is looked at.
pub(crate) fn setup(source: Option<&Path>, reporter: &Reporter) -> Result<PathBuf, Error> {
    let cache = Cache::locate()?;
    let recipe = identity::recipe(config::FRAGMENT);
    let cached = || if source.is_none() { cache.packaged(&recipe) } else { None };
    if let Some(kernel) = cached() {
        return cache.select(&kernel);
    }
    // A wrong path should not wait for the lock.
    let given = source.map(Source::given).transpose()?;
    let _lock = cache.lock(|| reporter.note("Waiting for another `cargo uml setup` to finish"))?;
    if let Some(kernel) = cached() {
        return cache.select(&kernel);
    }
    tools::ensure(&tools::BUILD, reporter)?;
    let source = given.map_or_else(|| Source::of_mirror(&cache.sources(), reporter), Ok)?;
    let compiler = tools::compiler()?;
    let content = identity::content(&recipe, &source.identity, &compiler);
    let kernel = match cache.with_content(&content) {
        Some(kernel) => kernel,
        None => {
            let kernel = build(&cache, &source, recipe, compiler, &content, reporter)?;
            let _phase = reporter.phase("Removing the build tree");
            cache.remove_builds()?;
            kernel
        }
    };
    cache.select(&kernel)
}

fn build(
    cache: &Cache,
    source: &Source,
    recipe: String,
    compiler: String,
    content: &str,
    reporter: &Reporter,
) -> Result<Kernel, Error> {
    let directory = cache.build(content);
    let tree = source.tree(&directory, reporter)?;
    let build = Build::new(tree, &directory)?;
    let version = build.version();
    if *version < MINIMUM {
        return Err(Error::TooOld { version: version.clone(), minimum: MINIMUM });
    }

    let phase = reporter.phase(format_args!("Configuring Linux {version}"));
    let dropped = build.configure(config::FRAGMENT)?;
    drop(phase);
    if !dropped.is_empty() {
        let error = Error::OptionsDropped {
            version: version.clone(),
            dropped: dropped.clone(),
            config: build.config(),
        };
        // What other versions lack is not known, so there it is worth trying without.
        if version.is_tested() {
            return Err(error);
        }
        reporter.note(format_args!(
            "{error}\nGoing on without them: uml-test is not tested with Linux {version}"
        ));
    }

    let built = build.compile(reporter)?;
    let metadata = Metadata {
        name: NAME.to_owned(),
        version: version.to_string(),
        provenance: source.provenance,
        source: source.identity.clone(),
        recipe,
        compiler,
        sha256: String::new(),
        build_seconds: built.duration.as_secs(),
        build_steps: built.steps,
        dropped_options: dropped.iter().map(Dropped::to_string).collect(),
    };
    let _phase = reporter.phase("Installing the kernel");
    cache.install(&built.linux, &build.config(), metadata, content)
}
