//! `cargo uml setup`: an up-to-date default kernel, built if there is none.

use std::path::{Path, PathBuf};

use crate::error::{EXIT_NO_SOURCE, Error};
use crate::kernel::cache::Cache;
use crate::kernel::entry::Kernel;
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
    let (order, is_replaceable) = match source {
        Some(path) => (plain(Choice::Path(path.to_path_buf()))?, false),
        None => match default(cache, reporter)? {
            Default::Fit(kernel) => return Ok(kernel.linux()),
            Default::Due { order, is_replaceable } => (order, is_replaceable),
        },
    };
    let kernel = match order.for_default().provide(cache, reporter) {
        Err(error) if is_replaceable && error.exit_code() == EXIT_NO_SOURCE => {
            reporter.note(format_args!("{error}; the usual kernel takes the default's place"));
            plain(Choice::Best)?.for_default().provide(cache, reporter)?
        }
        provided => provided?,
    };
    Ok(kernel.linux())
}

/// What is to be done about the default.
enum Default {
    /// It is what it should be.
    Fit(Kernel),
    /// It has to be built. If it is replaceable, the usual kernel does where there is no source of it.
    Due { order: Order, is_replaceable: bool },
}

/// What is missing or outdated may be another, what is damaged may not: who chose it is to know.
fn missing_or_outdated(choice: Choice) -> Result<Default, Error> {
    let is_replaceable = matches!(choice, Choice::Version(_));
    Ok(Default::Due { order: plain(choice)?, is_replaceable })
}

fn damaged(choice: Choice) -> Result<Default, Error> {
    Ok(Default::Due { order: plain(choice)?, is_replaceable: false })
}

fn plain(choice: Choice) -> Result<Order, Error> {
    Order::new(choice, &[], &[], None)
}

/// A damaged one is built again as what it was, or it is an error: nobody's choice becomes another kernel.
fn default(cache: &Cache, reporter: &Reporter) -> Result<Default, Error> {
    let kernel = match cache.named("default") {
        Ok(kernel) => kernel,
        Err(Error::NoDefault { .. }) => return missing_or_outdated(Choice::Best),
        Err(error) => {
            let Error::DamagedKernel { name, id, path, .. } = &error else { return Err(error) };
            let Some(kernel) = Kernel::read(path) else {
                // Its name is all that is known.
                let Some(series) = TESTED.into_iter().find(|series| is_called(name, *series))
                else {
                    return Err(error);
                };
                note_damage(reporter, id, name);
                return damaged(of_series(series));
            };
            kernel
        }
    };
    if !is_current(&kernel, &plain(Choice::Best)?.recipe()) {
        return missing_or_outdated(as_chosen(&kernel));
    }
    if kernel.is_intact() {
        return Ok(Default::Fit(kernel));
    }
    let (id, metadata) = (kernel.id(), &kernel.metadata);
    let name = cache.names_of(&id).into_iter().next();
    let shown = name.as_ref().unwrap_or(&metadata.name);
    let series = Version::of_release(&metadata.version).map(|version| version.series());
    match series.filter(|_| is_built_of_known(&kernel)) {
        Some(series) if is_ours(&kernel) => {
            note_damage(reporter, &id, shown);
            damaged(of_series(series))
        }
        Some(series) => {
            note_damage(reporter, &id, shown);
            let choice = Choice::Version(Wanted::series(series));
            let order = Order::new(choice, &metadata.flavours, &[], name.as_deref())?;
            Ok(Default::Due { order, is_replaceable: false })
        }
        None => {
            let again = cache.how_to_make(&id);
            Err(Error::DamagedDefault { name: shown.clone(), id, again })
        }
    }
}

fn note_damage(reporter: &Reporter, id: &str, name: &str) {
    reporter.note(format_args!(
        "The default kernel {id} ({name}) is damaged; a new one takes its place"
    ));
}

fn is_called(name: &str, (major, minor): (u32, u32)) -> bool {
    name == format!("{major}.{minor}")
}

/// The usual kernel is not just one of its series: nobody has chosen that.
fn of_series(series: (u32, u32)) -> Choice {
    if series == TESTED[0] { Choice::Best } else { Choice::Version(Wanted::series(series)) }
}

/// Whether the kernel is what this version of the command would build, or the user's own choice.
fn is_current(kernel: &Kernel, recipe: &str) -> bool {
    !is_ours(kernel) || kernel.metadata.recipe == recipe
}

/// Whether it is one that this command builds by itself, of whatever version.
fn is_ours(kernel: &Kernel) -> bool {
    is_built_of_known(kernel) && kernel.metadata.flavours.is_empty()
}

/// Whether it was built of source that can be had again, and of nothing of the user's.
fn is_built_of_known(kernel: &Kernel) -> bool {
    let metadata = &kernel.metadata;
    matches!(metadata.provenance, Provenance::Package | Provenance::Release)
        && metadata.fragments.is_empty()
}

/// What takes the place of an outdated default: one of its series, if that is a tested one. Somebody has chosen it, or it
/// is the one that could be had.
fn as_chosen(kernel: &Kernel) -> Choice {
    match Version::of_release(&kernel.metadata.version).map(|version| version.series()) {
        Some(series) if TESTED.contains(&series) => of_series(series),
        _ => Choice::Best,
    }
}
