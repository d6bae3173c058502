//! What guests load modules with, where a cached kernel has any.

use super::finding::Finding;
use crate::kernel::cache::Cache;
use crate::kernel::modules;

const MODULES: &str = "modules";

pub(crate) fn check() -> Finding {
    let kernels = Cache::locate().map(|cache| cache.list()).unwrap_or_default();
    let ids: Vec<String> = kernels
        .iter()
        .filter(|kernel| kernel.directory().join("modules").is_dir())
        .map(|kernel| kernel.id())
        .collect();
    if ids.is_empty() {
        return Finding::ok(MODULES, "no cached kernel has any");
    }
    let ids = ids.join(", ");
    if modules::has_modprobe() {
        return Finding::ok(
            MODULES,
            format!("guests load those of {ids} when something uses them"),
        );
    }
    Finding::warning(
        MODULES,
        format!(
            "there is no /sbin/modprobe, so guests don't load the modules of {ids} when something uses them"
        ),
        "install the package kmod",
    )
}
