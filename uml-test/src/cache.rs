//! The cache of kernels, which `cargo-uml` writes: where it is, what is in it, and the mark of a
//! kernel's last use, the one thing that is written here.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::config::{Config, variable};
use crate::kernel_name::{is_name, usual};

/// The name of the kernel that is taken where none is asked for.
pub(crate) const DEFAULT: &str = "default";

/// Where kernels are kept: an absolute path, as a relative one would be another place for each
/// package (those of XDG are void by their specification; the first was refused before).
pub(crate) fn dir() -> Option<PathBuf> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let below = |name, rest: &str| absolute(name).map(|dir| dir.join(rest));
    absolute("UML_TEST_CACHE_DIR")
        .or_else(|| below("XDG_CACHE_HOME", "uml-test"))
        .or_else(|| below("HOME", ".cache/uml-test"))
}

/// The link `names/NAME`, in which a `/` is written `:`.
pub(crate) fn link(cache: &Path, name: &str) -> PathBuf {
    cache.join("names").join(name.replace('/', ":"))
}

/// The kernel that a name, with its flavours in whatever order, or else an id stands for, whether or
/// not it is fit to be booted; `None` where there is none.
pub(crate) fn named(cache: &Path, text: &str) -> Option<PathBuf> {
    linked(cache, text).or_else(|| linked(cache, &usual(text))).or_else(|| {
        let entry = cache.join("kernels").join(text);
        (!text.contains('/') && entry.is_dir()).then(|| entry.join("linux"))
    })
}

fn linked(cache: &Path, name: &str) -> Option<PathBuf> {
    let link = link(cache, name);
    let target = link.read_link().ok()?;
    // `../kernels/ID`: the kernel's own place, so that the name may point elsewhere meanwhile.
    Some(match target.strip_prefix("../kernels") {
        Ok(id) => cache.join("kernels").join(id).join("linux"),
        Err(_) => link.join("linux"),
    })
}

/// All names but the default's, sorted.
pub(crate) fn names(cache: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(cache.join("names"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().into_string().ok()?.replace(':', "/")))
        .filter(|name| is_name(name) && name != DEFAULT)
        .collect();
    names.sort();
    names
}

/// The kernel that was installed last, among those that are `fit`.
pub(crate) fn newest(cache: &Path, fit: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    std::fs::read_dir(cache.join("kernels"))
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            // A kernel that is being put together has a name with a dot in front.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                return None;
            }
            let path = entry.path().join("linux");
            let modified = path.metadata().ok()?.modified().ok()?;
            fit(&path).then_some((modified, path))
        })
        .max()
        .map(|(_, path)| path)
}

/// The directory of a kernel that is in the cache.
fn entry(kernel: &Path) -> Option<&Path> {
    let entry = kernel.parent()?;
    (entry.parent()? == dir()?.join("kernels")).then_some(entry)
}

/// The modules of a cached kernel, `RELEASE/modules.dep` and so on, where it has any.
pub(crate) fn modules(kernel: &Path) -> Option<PathBuf> {
    Some(entry(kernel)?.join("modules")).filter(|modules| modules.is_dir())
}

/// The configuration of a cached kernel, where it was known when that was put there.
pub(crate) fn config(kernel: &Path) -> Option<PathBuf> {
    Some(entry(kernel)?.join("config")).filter(|config| config.is_file())
}

/// What `cargo uml` found a cached kernel to need, where that is more than usual: one with all checks on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Bytes of memory without which it does not boot.
    pub(crate) mem: u64,
    /// How long it may take to boot: ten times what it took on an idle machine.
    pub(crate) boot: Duration,
}

impl Needs {
    /// How long the kernel's guest may take until it is set up. A limit that somebody chose is one, unless
    /// it is what is there without a choice.
    pub(crate) fn boot_limit(&self, configured: Duration) -> Duration {
        match configured == Config::default().boot_timeout {
            true => configured.max(self.boot),
            false => configured,
        }
    }
}

/// What a kernel needs. What cannot be read is no reason not to try.
pub(crate) fn needs(kernel: &Path) -> Needs {
    entry(kernel).map(needs_of).unwrap_or_default()
}

/// What the kernel in this directory needs.
fn needs_of(entry: &Path) -> Needs {
    #[derive(Default, serde::Deserialize)]
    struct Metadata {
        least_mem_mib: Option<u64>,
        boot_ms: Option<u64>,
    }
    const PATIENCE: u32 = 10;
    let text = std::fs::read_to_string(entry.join("kernel.toml")).unwrap_or_default();
    let metadata: Metadata = toml::from_str(&text).unwrap_or_default();
    Needs {
        mem: metadata.least_mem_mib.unwrap_or(0).saturating_mul(1 << 20),
        boot: Duration::from_millis(metadata.boot_ms.unwrap_or(0)).saturating_mul(PATIENCE),
    }
}

/// Notes that a kernel is in use. One that cannot be noted runs as well.
pub(crate) fn touch(kernel: &Path) {
    let Some(mark) = entry(kernel).map(|entry| entry.join("last-used")) else { return };
    let now = &TimeSpec::UTIME_NOW;
    if let Err(Errno::ENOENT) = utimensat(AT_FDCWD, &mark, now, now, UtimensatFlags::FollowSymlink)
    {
        let _ = File::create(&mark);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_kernel_needs_is_in_its_metadata() {
        let entry = tempfile::tempdir().unwrap();
        let metadata = entry.path().join("kernel.toml");
        let nothing = needs_of(entry.path());
        fs::write(&metadata, "boot_ms = 3000\nleast_mem_mib = 256\nx = 1\n").unwrap();
        let found = needs_of(entry.path());
        fs::write(&metadata, "damaged").unwrap();
        let damaged = needs_of(entry.path());
        assert_eq!((nothing, damaged), (Needs::default(), Needs::default()));
        assert_eq!(found, Needs { mem: 256 << 20, boot: Duration::from_secs(30) });
    }

    #[test]
    fn a_slow_kernel_has_its_time_unless_somebody_chose_a_limit() {
        let slow = Needs { boot: Duration::from_secs(30), ..Needs::default() };
        let (usual, chosen) = (Config::default().boot_timeout, Duration::from_secs(1));
        assert_eq!(slow.boot_limit(usual), slow.boot);
        assert_eq!(slow.boot_limit(chosen), chosen);
        assert_eq!(Needs::default().boot_limit(usual), usual);
    }

    #[test]
    fn a_kernel_outside_the_cache_needs_nothing_special() {
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("kernel.toml"), "least_mem_mib = 256\n").unwrap();
        assert_eq!(needs(&elsewhere.path().join("linux")), Needs::default());
    }

    #[test]
    fn names_and_ids_lead_to_a_kernels_own_place() {
        let cache = std::env::temp_dir().join(format!("uml-test-names-{}", std::process::id()));
        fs::create_dir_all(cache.join("names")).unwrap();
        fs::create_dir_all(cache.join("kernels/6.1.0-0b")).unwrap();
        for (name, target) in [
            ("7.2", "../kernels/7.2.12-0a"),
            ("6.1:debug+smp", "../kernels/6.1.0-0b"),
            ("default", "../kernels/7.2.12-0a"),
            ("odd", "/elsewhere"),
        ] {
            symlink(target, cache.join("names").join(name)).unwrap();
        }
        let found = |name: &str| {
            let linux = named(&cache, name)?;
            Some(linux.strip_prefix(&cache).unwrap().to_str().unwrap().to_owned())
        };
        let (seven, six) = ("kernels/7.2.12-0a/linux", "kernels/6.1.0-0b/linux");
        for (name, place) in [
            ("7.2", Some(seven)),
            ("default", Some(seven)),
            ("7.2/base", Some(seven)),
            ("6.1/debug+smp", Some(six)),
            ("6.1/smp+debug", Some(six)),
            ("6.1.0-0b", Some(six)),
            ("odd", Some("names/odd/linux")),
            ("6.1", None),
            ("7.2.12-0a", None),
        ] {
            assert_eq!(found(name).as_deref(), place, "{name}");
        }
        let all = names(&cache);
        fs::remove_dir_all(&cache).unwrap();
        assert_eq!(all, ["6.1/debug+smp", "7.2", "odd"]);
    }
}
