//! `cargo uml kernel default` and `path`.

use std::path::PathBuf;

use crate::error::Error;
use crate::kernel::cache::Cache;
use crate::kernel::lock::CacheLock;

/// The kernel's executable, or what modules are built against.
pub(crate) fn path(cache: &Cache, name: &str, build: bool) -> Result<PathBuf, Error> {
    let kernel = cache.named(name)?;
    if build {
        kernel.build().ok_or_else(|| Error::NothingToBuildAgainst { id: kernel.id() })
    } else {
        Ok(kernel.linux())
    }
}

/// The default kernel's first name, or its id if it has none.
pub(crate) fn default_name(cache: &Cache) -> Result<String, Error> {
    let kernel = cache.named("default")?;
    Ok(cache.names_of(&kernel.id()).into_iter().next().unwrap_or_else(|| kernel.id()))
}

pub(crate) fn set_default(cache: &Cache, name: &str) -> Result<(), Error> {
    let lock = CacheLock::take(cache)?;
    cache.set_default(&cache.named(name)?, &lock)
}
