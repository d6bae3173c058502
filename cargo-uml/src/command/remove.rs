//! `cargo uml kernel remove` and `prune`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use indicatif::HumanBytes;

use crate::cli::PruneArguments;
use crate::error::Error;
use crate::kernel::cache::Cache;
use crate::kernel::entry::{self, Kernel, discard};
use crate::kernel::lock::{BuildLock, CacheLock};
use crate::kernel::names::Name;
use crate::report::Reporter;

/// Removes names, and kernels, damaged or not, that then have none.
pub(crate) fn remove(cache: &Cache, names: &[String], reporter: &Reporter) -> Result<(), Error> {
    let lock = CacheLock::take(cache)?;
    // All or nothing: a mistyped name should not leave half of the work done.
    let entries: Vec<(Option<Name>, String)> =
        names.iter().map(|text| cache.entry(text)).collect::<Result<_, _>>()?;
    for (text, (name, id)) in names.iter().zip(entries) {
        let directory = cache.kernels().join(&id);
        if !directory.exists() {
            continue;
        }
        let was_default = cache.default_id().is_some_and(|default| default == id);
        match name.filter(|_| text != "default") {
            Some(name) => {
                cache.unname(&name, &lock)?;
            }
            None => {
                for name in cache.names_of(&id) {
                    cache.unname(&Name::parse(&name)?, &lock)?;
                }
            }
        }
        if cache.names_of(&id).is_empty() {
            discard(&directory)?;
            cache.drop_dangling(&lock)?;
            reporter.note(format_args!("Removed {text} ({id})"));
            if was_default {
                reporter.note(
                    "There is no default kernel now: choose one by `cargo uml kernel default NAME`",
                );
            }
        } else {
            reporter.note(format_args!("Removed the name {text} of {id}"));
        }
    }
    Ok(())
}

/// Removes what nothing refers to.
pub(crate) fn prune(
    cache: &Cache,
    arguments: &PruneArguments,
    reporter: &Reporter,
) -> Result<(), Error> {
    // A build in progress has the build tree.
    let _build = BuildLock::take(cache, "pruning", reporter)?;
    let lock = CacheLock::take(cache)?;
    let mut paths = Vec::new();
    for kernel in cache.list().into_iter().filter(|kernel| is_kernel(kernel.directory())) {
        let unused = arguments.unused_for.is_some_and(|days| is_unused(&kernel, days));
        if cache.is_nameless(&kernel) || (unused && !cache.is_default(&kernel)) {
            paths.push(kernel.directory().to_path_buf());
        }
    }
    paths.extend(below(&cache.kernels()).into_iter().filter(|path| !is_kernel(path)));
    paths.extend(
        below(&cache.builds())
            .into_iter()
            .filter(|path| !is_kept_build(path, arguments.unused_for)),
    );
    if arguments.sources {
        paths.extend(below(&cache.sources()));
    }
    let mut total = 0;
    for path in paths {
        let size =
            if path.is_dir() { entry::size(&path) } else { path.metadata().map_or(0, |m| m.len()) };
        total += size;
        let verb = if arguments.dry_run { "Would remove" } else { "Removing" };
        reporter.note(format_args!("{verb} {} ({})", path.display(), HumanBytes(size)));
        if !arguments.dry_run {
            discard(&path)?;
        }
    }
    if !arguments.dry_run {
        cache.drop_dangling(&lock)?;
    }
    let verb = if arguments.dry_run { "Would free" } else { "Freed" };
    reporter.note(format_args!("{verb} {}", HumanBytes(total)));
    Ok(())
}

fn is_unused(kernel: &Kernel, days: u64) -> bool {
    let last = kernel.last_used().unwrap_or(kernel.installed).max(kernel.installed);
    is_older(last, days)
}

fn is_older(time: SystemTime, days: u64) -> bool {
    let age = SystemTime::now().duration_since(time).unwrap_or_default();
    age > Duration::from_secs(days.saturating_mul(24 * 60 * 60))
}

/// Not what is half installed or half removed.
fn is_kernel(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && entry::obvious_damage(path).is_none()
}

/// A source tree's build that was finished once, of a tree that is still there: the next build takes seconds from it.
/// `days` says for how many the last may be past.
fn is_kept_build(path: &Path, days: Option<u64>) -> bool {
    use std::os::unix::ffi::OsStringExt;
    let tree = fs::read(path.join("tree")).map(std::ffi::OsString::from_vec).map(PathBuf::from);
    // Each build begins the log anew.
    let last = path.join("build.log").metadata().and_then(|metadata| metadata.modified());
    path.join("out/linux").exists()
        && tree.is_ok_and(|tree| tree.join("Makefile").exists())
        && !days.is_some_and(|days| last.is_ok_and(|last| is_older(last, days)))
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
