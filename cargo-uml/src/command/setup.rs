//! `cargo uml setup`: an up-to-date default kernel, built if there is none.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::kernel::cache::Cache;
use crate::kernel::entry::Kernel;
use crate::kernel::lock::CacheLock;
use crate::kernel::metadata::Provenance;
use crate::kernel::order::Order;
use crate::kernel::source::Choice;
use crate::report::Reporter;

/// Provides the default kernel; returns its path. With a `source`, the kernel built from it becomes the default.
pub(crate) fn setup(
    cache: &Cache,
    source: Option<&Path>,
    reporter: &Reporter,
) -> Result<PathBuf, Error> {
    let choice = source.map_or(Choice::Best, |path| Choice::Path(path.to_path_buf()));
    let order = Order::new(choice, &[], &[], None)?;
    if source.is_none()
        && let Ok(kernel) = cache.named("default")
        && is_current(&kernel, &order.recipe())
    {
        if kernel.is_intact() {
            return Ok(kernel.linux());
        }
        reporter.note(format_args!(
            "The default kernel {} ({}) is damaged; the usual one takes its place",
            kernel.id(),
            kernel.metadata.name
        ));
    }
    let kernel = order.provide(cache, reporter)?;
    if !cache.is_default(&kernel) {
        cache.set_default(&kernel, &CacheLock::take(cache)?)?;
    }
    Ok(kernel.linux())
}

/// Whether the kernel is what this version of the command would build, or the user's own choice.
fn is_current(kernel: &Kernel, recipe: &str) -> bool {
    let metadata = &kernel.metadata;
    let ours = matches!(metadata.provenance, Provenance::Package | Provenance::Release)
        && metadata.flavours.is_empty()
        && metadata.fragments.is_empty();
    !ours || metadata.recipe == recipe
}
