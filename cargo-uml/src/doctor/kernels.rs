//! The kernels there are, and the one that would be booted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use uml_test::Host;

use super::bounded;
use super::finding::Finding;
use crate::kernel::cache::Cache;
use crate::kernel::entry;
use crate::kernel::names::DEFAULT;
use crate::process;

const CACHE: &str = "cached kernels";
const KERNEL: &str = "kernel";

/// How long a kernel may take to print its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// All kernels of the cache with their names; damaged ones are named.
pub(crate) fn cached() -> Finding {
    let cache = match Cache::locate() {
        Ok(cache) => cache,
        Err(error) => {
            return Finding::warning(
                CACHE,
                error.to_string(),
                "set UML_TEST_CACHE_DIR to a directory",
            );
        }
    };
    let kernels = cache.entries();
    let mut names: Vec<(String, String)> =
        cache.all_names().into_iter().map(|(name, id)| (name.to_string(), id)).collect();
    names.extend(cache.default_id().map(|id| (DEFAULT.to_owned(), id)));
    let mut lines = Vec::new();
    let (mut damaged, mut remedies) = (Vec::new(), Vec::new());
    for directory in &kernels {
        let mut line = short(directory);
        let names: Vec<&str> = names
            .iter()
            .filter(|(_, id)| *id == short(directory))
            .map(|(name, _)| name.as_str())
            .collect();
        if let Some((first, rest)) = names.split_first() {
            line = format!(
                "{line} ({first}{})",
                rest.iter().map(|n| format!(", {n}")).collect::<String>()
            );
        }
        if let Some(reason) = entry::damage(directory) {
            let id = short(directory);
            line = format!("{line}: damaged, {reason}");
            remedies.push(format!("`{}` makes {id} again", cache.how_to_make(&id)));
            // Removed, a default would be nobody's choice any more.
            if !names.contains(&DEFAULT) {
                damaged.push(id);
            }
        }
        lines.push(line);
    }
    let dangling: Vec<&str> = names
        .iter()
        .filter(|(_, id)| !cache.kernels().join(id).join("linux").exists())
        .map(|(name, _)| name.as_str())
        .collect();
    if !dangling.is_empty() {
        lines.push(format!("names of kernels that are gone: {}", dangling.join(", ")));
    }
    let place = cache.root().display();
    let found = match lines.is_empty() {
        true => format!("none in {place}"),
        false => format!("in {place}:\n{}", lines.join("\n")),
    };
    if !damaged.is_empty() {
        remedies.push(format!(
            "`cargo uml kernel remove {}` removes what is damaged",
            damaged.join(" ")
        ));
    }
    if kernels.is_empty() {
        Finding::warning(CACHE, found, "`cargo uml setup` builds one")
    } else if !remedies.is_empty() {
        Finding::warning(CACHE, found, remedies.join("; "))
    } else if !dangling.is_empty() {
        let default = dangling.contains(&DEFAULT);
        let remedy =
            if default { "`cargo uml setup` sets the default again" } else { "build them again" };
        Finding::warning(CACHE, found, remedy)
    } else {
        Finding::ok(CACHE, found)
    }
}

/// The directory's name: the kernel's version and content hash.
fn short(directory: &Path) -> String {
    directory.file_name().unwrap_or(directory.as_os_str()).display().to_string()
}

/// The kernel that would be booted, if it starts.
pub(crate) fn chosen(host: &Host) -> (Finding, Option<PathBuf>) {
    const SETUP: &str = "`cargo uml setup` builds one where there is none; else `cargo uml kernel build` builds another, \
                         for `cargo uml kernel default` or UML_TEST_KERNEL to name";
    let (kernel, origin) = match host.kernel() {
        Ok(chosen) => chosen,
        Err(error) => return (Finding::failed(KERNEL, error.to_string(), SETUP), None),
    };
    let shown = format!("{} ({origin})", kernel.display());
    let finding = match bounded::program(Command::new(&kernel).arg("--version"), PATIENCE) {
        Ok(Some(ended)) if ended.status.success() && !ended.output.trim().is_empty() => {
            let version = ended.output.lines().next().unwrap_or_default();
            return (Finding::ok(KERNEL, format!("Linux {version}, {shown}")), Some(kernel));
        }
        Ok(Some(ended)) => format!(
            "{shown} does not start: `--version` ended with {}\n{}",
            ended.status,
            process::tail(ended.output.trim())
        ),
        Ok(None) => format!("{shown} does not start: no end of `--version` after {PATIENCE:?}"),
        Err(error) => format!("{shown} does not start: {error}"),
    };
    (Finding::failed(KERNEL, finding.trim_end(), SETUP), None)
}
