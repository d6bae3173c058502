//! A kernel in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::identity;
use super::image;
use super::metadata::Metadata;
use crate::error::Error;

/// A kernel in the cache.
#[derive(Debug)]
pub(crate) struct Kernel {
    directory: PathBuf,
    pub(crate) metadata: Metadata,
    pub(crate) installed: SystemTime,
}

impl Kernel {
    /// `None` if it has no readable metadata. It may be damaged otherwise.
    pub(crate) fn read(directory: &Path) -> Option<Kernel> {
        let metadata = Metadata::read(directory).ok()?;
        let installed = Metadata::path(directory).metadata().ok()?.modified().ok()?;
        Some(Kernel { directory: directory.to_path_buf(), metadata, installed })
    }

    pub(crate) fn id(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn linux(&self) -> PathBuf {
        self.directory.join("linux")
    }

    /// What modules outside the kernel's tree are built against, if it was kept.
    pub(crate) fn build(&self) -> Option<PathBuf> {
        Some(self.directory.join("build")).filter(|path| path.exists())
    }

    /// When a guest was last booted from it.
    pub(crate) fn last_used(&self) -> Option<SystemTime> {
        last_used(&self.directory)
    }

    /// Whether the kernel is what was installed, and starts on this machine.
    ///
    /// The hash finds damage, the start finds a cache that came from a machine with a newer C library. A whole run of
    /// setup with both takes 20 ms (*measured*, 21 MB kernel, optimized sha2), so they are done every time.
    pub(crate) fn is_intact(&self) -> bool {
        let linux = self.linux();
        identity::of_file(&linux).is_ok_and(|found| found == self.metadata.sha256)
            && image::version(&linux).is_ok_and(|version| version == self.metadata.version)
    }
}

/// What is wrong with the kernel in `directory`, as far as it shows without reading its executable.
pub(crate) fn obvious_damage(directory: &Path) -> Option<String> {
    look(directory).err()
}

/// The same, its executable's checksum included. Its other files have none.
pub(crate) fn damage(directory: &Path) -> Option<String> {
    let metadata = match look(directory) {
        Ok(metadata) => metadata,
        Err(reason) => return Some(reason),
    };
    match identity::of_file(&directory.join("linux")) {
        Ok(found) if found == metadata.sha256 => None,
        Ok(_) => Some("the checksum of linux is another than when it was installed".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn look(directory: &Path) -> Result<Metadata, String> {
    let metadata = Metadata::read(directory)?;
    let linux = directory.join("linux").metadata();
    linux.map(|_| metadata).map_err(|error| format!("can't read linux: {error}"))
}

/// When a guest was last booted from the kernel in `directory`.
pub(crate) fn last_used(directory: &Path) -> Option<SystemTime> {
    directory.join("last-used").metadata().ok()?.modified().ok()
}

/// Bytes of the files below `directory`, links not followed.
pub(crate) fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Removes a file or directory; a directory goes by a rename first, so that nobody finds half of it.
pub(crate) fn discard(path: &Path) -> Result<(), Error> {
    let error = Error::io("remove", path);
    let removed = if path.is_dir() {
        let hidden = path.with_file_name(format!(
            ".removed-{}",
            path.file_name().unwrap_or_default().to_string_lossy()
        ));
        fs::rename(path, &hidden).and_then(|()| fs::remove_dir_all(&hidden))
    } else {
        fs::remove_file(path)
    };
    removed.map_err(error)
}
