//! `cargo uml setup`: an up-to-date default kernel, built if there is none.

use std::path::{Path, PathBuf};

use crate::error::{EXIT_NO_SOURCE, Error};
use crate::kernel::cache::Cache;
use crate::kernel::entry::Kernel;
use crate::kernel::lock::CacheLock;
use crate::kernel::metadata::Provenance;
use crate::kernel::order::Order;
use crate::kernel::source::Choice;
use crate::kernel::version::{TESTED, Version, Wanted};
use crate::report::Reporter;

/// Provides the default kernel; returns its path. With a `source`, the kernel built from it becomes the default.
pub(crate) fn setup(
    cache: &Cache,
    source: Option<&Path>,
    reporter: &Reporter,
) -> Result<PathBuf, Error> {
    let default = if source.is_none() { cache.named("default").ok() } else { None };
    let choice = match (source, &default) {
        (Some(path), _) => Choice::Path(path.to_path_buf()),
        (None, Some(kernel)) => as_chosen(kernel),
        (None, None) => Choice::Best,
    };
    let chosen = source.is_none() && matches!(choice, Choice::Version(_));
    let order = Order::new(choice, &[], &[], None)?;
    if let Some(kernel) = default
        && is_current(&kernel, &order.recipe())
    {
        if kernel.is_intact() {
            return Ok(kernel.linux());
        }
        reporter.note(format_args!(
            "The default kernel {} ({}) is damaged; a new one takes its place",
            kernel.id(),
            kernel.metadata.name
        ));
    }
    let kernel = match order.provide(cache, reporter) {
        Err(error) if chosen && error.exit_code() == EXIT_NO_SOURCE => {
            reporter.note(format_args!("{error}; the usual kernel takes the default's place"));
            Order::new(Choice::Best, &[], &[], None)?.provide(cache, reporter)?
        }
        provided => provided?,
    };
    if !cache.is_default(&kernel) {
        cache.set_default(&kernel, &CacheLock::take(cache)?)?;
    }
    Ok(kernel.linux())
}

/// Whether the kernel is what this version of the command would build, or the user's own choice.
fn is_current(kernel: &Kernel, recipe: &str) -> bool {
    !is_ours(kernel) || kernel.metadata.recipe == recipe
}

/// Whether it is one that this command builds by itself, of whatever version.
fn is_ours(kernel: &Kernel) -> bool {
    let metadata = &kernel.metadata;
    matches!(metadata.provenance, Provenance::Package | Provenance::Release)
        && metadata.flavours.is_empty()
        && metadata.fragments.is_empty()
}

/// What takes the place of an outdated default: one of its series, if that is not the usual one, but a tested one.
/// Somebody has chosen it, or it is the one that could be had.
fn as_chosen(kernel: &Kernel) -> Choice {
    match Version::of_release(&kernel.metadata.version).map(|version| version.series()) {
        Some(series) if is_ours(kernel) && TESTED[1..].contains(&series) => {
            Choice::Version(Wanted::series(series))
        }
        _ => Choice::Best,
    }
}
