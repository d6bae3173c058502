//! What a kernel's executable says of itself: its release, and the configuration that it carries
//! (`CONFIG_IKCONFIG`) or that the cache has of it. Decides by it whether a test's gates hold, before
//! anything boots.
#![expect(unsafe_code, reason = "searches memory with the C library, fast in debug builds too")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::cache;
use crate::gates::{Gates, unmet_option, unmet_version};
use crate::remedy::ANOTHER_KERNEL;

/// Why a gate cannot be decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("read the kernel {} to decide a test's gates", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the gate `kernel = \"…\"` cannot be decided: {} has no `Linux version` in it; \
         {}", path.display(), ANOTHER_KERNEL
    )]
    NoVersion { path: PathBuf },
    #[error(
        "the gate `config = […]` cannot be decided: the kernel {} does not carry its \
         configuration; build it with CONFIG_IKCONFIG=y, as `cargo uml kernel build` (from the \
         cargo-uml package) does, or `cargo uml kernel adopt` it, which asks it", path.display()
    )]
    NoConfig { path: PathBuf },
    #[error(
        "the gate `config = […]` cannot be decided: the configuration in the kernel {} is damaged: \
         {reason}; {}", path.display(), ANOTHER_KERNEL
    )]
    DamagedConfig { path: PathBuf, reason: String },
}

/// Why a kernel does not fit a test, on one line; `None` where it does.
///
/// # Errors
/// Where the kernel does not say: nothing is guessed.
pub(crate) fn unmet(gates: &Gates, kernel: &Path) -> Result<Option<String>, ImageError> {
    if gates.is_none() {
        return Ok(None);
    }
    image(kernel)?.unmet(gates, kernel)
}

/// As [`unmet`], for the kernel that this process runs on.
///
/// # Errors
/// Where the kernel does not say.
pub(crate) fn unmet_here(gates: &Gates) -> Result<Option<String>, ImageError> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    let config = Path::new("/proc/config.gz");
    let image = KernelImage {
        release: release.ok().map(|release| release.trim().to_owned()),
        carried: std::fs::read(config).ok(),
        config: OnceLock::new(),
    };
    let image = match (&image.carried, &image.release) {
        (None, Some(release)) => {
            let module = format!("/lib/modules/{release}/kernel/kernel/configs.ko");
            let carried =
                KernelImage::read(Path::new(&module)).ok().and_then(|found| found.carried);
            KernelImage { carried, ..image }
        }
        _ => image,
    };
    image.unmet(gates, config)
}

impl KernelImage {
    /// Why this kernel, of which errors speak as `kernel`, does not fit.
    fn unmet(&self, gates: &Gates, kernel: &Path) -> Result<Option<String>, ImageError> {
        let mut reasons = Vec::new();
        if let Some(requirement) = gates.kernel {
            let path = || kernel.to_owned();
            let release = self.release.as_deref();
            let release = release.ok_or_else(|| ImageError::NoVersion { path: path() })?;
            reasons.extend(unmet_version(requirement, release));
        }
        if !gates.config.is_empty() {
            let config = self.config(kernel)?;
            reasons.extend(gates.config.iter().filter_map(|option| unmet_option(option, config)));
        }
        Ok((!reasons.is_empty()).then(|| reasons.join("; ")))
    }
}

/// What was found in a kernel.
#[derive(Default)]
struct KernelImage {
    release: Option<String>,
    /// As it lies there, compressed.
    carried: Option<Vec<u8>>,
    /// The configuration: inflated when it is first asked for, or the one in the cache.
    config: OnceLock<Result<String, String>>,
}

/// Reads each kernel once per process.
fn image(kernel: &Path) -> Result<Arc<KernelImage>, ImageError> {
    static READ: Mutex<BTreeMap<PathBuf, Arc<KernelImage>>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(image) = read.get(kernel) {
        return Ok(Arc::clone(image));
    }
    let image = KernelImage::find(kernel, cache::config(kernel).as_deref());
    let image = image.map_err(|source| ImageError::Read { path: kernel.to_owned(), source })?;
    let image = Arc::new(image);
    read.insert(kernel.to_owned(), Arc::clone(&image));
    Ok(image)
}

/// With `CONFIG_IKCONFIG=m`, as Debian's kernel has it, a module carries the configuration.
fn config_module(kernel: &Path, release: Option<&str>) -> Option<PathBuf> {
    let modules = kernel.parent()?.join("modules").join(release?);
    Some(modules.join("kernel/kernel/configs.ko")).filter(|module| module.exists())
}

impl KernelImage {
    /// What a kernel says, or else what is known of it: `cached` is the configuration that it printed
    /// (`--showconfig`) when it was put into the cache.
    fn find(kernel: &Path, cached: Option<&Path>) -> io::Result<Self> {
        let mut image = Self::read(kernel)?;
        if image.carried.is_none()
            && let Some(module) = config_module(kernel, image.release.as_deref())
        {
            image.carried = Self::read(&module)?.carried;
        }
        if image.carried.is_none()
            && let Some(cached) = cached
        {
            image.config = OnceLock::from(Ok(std::fs::read_to_string(cached)?));
        }
        Ok(image)
    }

    fn read(path: &Path) -> io::Result<Self> {
        const BANNER: &[u8] = b"Linux version ";
        // Around the compressed configuration: kernel/configs.c.
        const BEGIN: &[u8] = b"IKCFG_ST";
        const END: &[u8] = b"IKCFG_ED";
        let file = File::open(path)?;
        let mut image = Self::default();
        for place in data_sections(&file)? {
            let mut data = vec![0; place.end.saturating_sub(place.start) as usize];
            file.read_exact_at(&mut data, place.start)?;
            let mut at = 0;
            while image.release.is_none()
                && let Some(found) = find(&data[at..], BANNER)
            {
                at += found + BANNER.len();
                image.release = release(&data[at..]);
            }
            if image.carried.is_none()
                && let Some(begin) = find(&data, BEGIN).map(|begin| begin + BEGIN.len())
                && let Some(length) = find(&data[begin..], END)
            {
                image.carried = Some(data[begin..begin + length].to_vec());
            }
            if image.release.is_some() && image.carried.is_some() {
                break;
            }
        }
        Ok(image)
    }

    fn config(&self, kernel: &Path) -> Result<&str, ImageError> {
        let path = || kernel.to_owned();
        let config = match (self.config.get(), &self.carried) {
            (Some(config), _) => config,
            (None, Some(carried)) => self.config.get_or_init(|| inflated(carried)),
            (None, None) => return Err(ImageError::NoConfig { path: path() }),
        };
        match config {
            Ok(config) => Ok(config),
            Err(reason) => Err(ImageError::DamagedConfig { path: path(), reason: reason.clone() }),
        }
    }
}

fn inflated(carried: &[u8]) -> Result<String, String> {
    let mut config = String::new();
    match flate2::read::GzDecoder::new(carried).read_to_string(&mut config) {
        Ok(_) => Ok(config),
        Err(error) => Err(error.to_string()),
    }
}

/// The release that a banner goes on with; `None` for a format string.
fn release(rest: &[u8]) -> Option<String> {
    let word = rest.split(|byte| byte.is_ascii_whitespace() || *byte == 0).next()?;
    let word = std::str::from_utf8(word).ok()?;
    word.starts_with(|first: char| first.is_ascii_digit()).then(|| word.to_owned())
}

/// Where in an ELF file its data lies: what is loaded and not executed, a quarter of a kernel. The
/// whole file where it has no such sections.
fn data_sections(file: &File) -> io::Result<Vec<Range<u64>>> {
    const ENTRY: usize = 64;
    const PROGBITS: u64 = 1;
    const ALLOC: u64 = 2;
    const EXECINSTR: u64 = 4;
    let length = file.metadata()?.len();
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    let field = |bytes: &[u8], at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (offset, size, count) =
        (field(&header, 0x28, 8), field(&header, 0x3a, 2), field(&header, 0x3c, 2));
    let mut sections = Vec::new();
    let mut table = vec![0; count as usize * ENTRY];
    if size == ENTRY as u64 && file.read_exact_at(&mut table, offset).is_ok() {
        for entry in table.chunks_exact(ENTRY) {
            let (kind, flags) = (field(entry, 4, 4), field(entry, 8, 8));
            let (start, size) = (field(entry, 24, 8), field(entry, 32, 8));
            let end = start.saturating_add(size);
            if kind == PROGBITS && flags & (ALLOC | EXECINSTR) == ALLOC && end <= length {
                sections.push(start..end);
            }
        }
    }
    if sections.is_empty() {
        sections.push(0..length);
    }
    Ok(sections)
}

/// Where `wanted` begins.
fn find(data: &[u8], wanted: &[u8]) -> Option<usize> {
    // SAFETY: both slices are valid for reading in their whole length.
    let found = unsafe {
        libc::memmem(data.as_ptr().cast(), data.len(), wanted.as_ptr().cast(), wanted.len())
    };
    (!found.is_null()).then(|| found.addr() - data.as_ptr().addr())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    /// A file that is no ELF file and has these pieces.
    fn kernel(name: &str, pieces: &[&[u8]]) -> PathBuf {
        let name = format!("uml-test-image-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, [&[0; 64], &*pieces.concat()].concat()).unwrap();
        path
    }

    fn carried(config: &str) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(config.as_bytes()).unwrap();
        [&b"IKCFG_ST"[..], &gzip.finish().unwrap(), b"IKCFG_ED"].concat()
    }

    const BANNER: &[u8] = b"Linux version %s (\0Linux version 6.1.176-a (b@c) #1\0";
    const KERNEL: Gates = Gates { kernel: Some(">=6.7"), config: &[] };
    const OPTIONS: Gates = Gates { kernel: None, config: &["CONFIG_A", "CONFIG_B", "CONFIG_C=m"] };

    #[test]
    fn a_kernel_says_its_release_and_its_options() {
        let path = kernel("whole", &[BANNER, &carried("CONFIG_A=y\nCONFIG_C=y\n")]);
        let both = Gates { kernel: KERNEL.kernel, config: OPTIONS.config };
        let [kernel, options, both] =
            [KERNEL, OPTIONS, both].map(|gates| unmet(&gates, &path).unwrap().unwrap());
        let met = unmet(&Gates { kernel: Some("=6.1"), config: &["CONFIG_A"] }, &path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(met, None);
        assert_eq!(kernel, "needs kernel >=6.7, and this one is 6.1.176-a");
        let (b, c) = ("without CONFIG_B", "this kernel has CONFIG_C=y");
        assert!(options.contains(b) && options.contains(c), "{options}");
        assert_eq!(both, format!("{kernel}; {options}"));
    }

    #[test]
    fn what_a_kernel_does_not_say_is_an_error_and_no_guess() {
        let silent = kernel("silent", &[b"Linux version unknown\0"]);
        let damaged = kernel("damaged", &[BANNER, b"IKCFG_ST junk IKCFG_ED"]);
        let errors = [
            unmet(&KERNEL, &silent).unwrap_err().to_string(),
            unmet(&OPTIONS, &silent).unwrap_err().to_string(),
            unmet(&OPTIONS, &damaged).unwrap_err().to_string(),
        ];
        let none = unmet(&Gates::NONE, Path::new("/nonexistent"));
        fs::remove_file(silent).unwrap();
        fs::remove_file(damaged).unwrap();
        assert!(errors[0].contains("has no `Linux version`"), "{errors:?}");
        assert!(errors[1].contains("CONFIG_IKCONFIG=y"), "{errors:?}");
        assert!(errors[2].contains("is damaged"), "{errors:?}");
        assert!(errors.iter().all(|error| error.contains("cargo uml kernel build")), "{errors:?}");
        assert!(none.unwrap().is_none(), "no file is looked at without gates");
        assert!(unmet(&KERNEL, Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn what_the_cache_knows_of_a_kernel_is_taken_where_it_is_silent() {
        let silent = kernel("asked", &[BANNER]);
        let telling = kernel("telling", &[BANNER, &carried("CONFIG_B=y\n")]);
        let cached = kernel("config", &[b"\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\n"]);
        let unmet = |kernel: &Path, cached| {
            KernelImage::find(kernel, cached).unwrap().unmet(&OPTIONS, kernel)
        };
        let asked = unmet(&silent, Some(&cached)).unwrap().unwrap();
        let told = unmet(&telling, Some(&cached)).unwrap().unwrap();
        let neither = unmet(&silent, None);
        for path in [silent, telling, cached] {
            fs::remove_file(path).unwrap();
        }
        assert!(asked.contains("without CONFIG_B") && !asked.contains("CONFIG_A"), "{asked}");
        assert!(told.contains("without CONFIG_A") && !told.contains("CONFIG_B"), "{told}");
        assert!(matches!(neither, Err(ImageError::NoConfig { .. })));
    }

    #[test]
    fn the_sections_of_an_executable_are_where_its_texts_are() {
        // In this very binary's read-only data.
        let file = File::open("/proc/self/exe").unwrap();
        let length = file.metadata().unwrap().len();
        let sections = data_sections(&file).unwrap();
        assert!(sections.iter().map(|place| place.end - place.start).sum::<u64>() < length);
        let found = sections.iter().any(|place| {
            let mut data = vec![0; (place.end - place.start) as usize];
            file.read_exact_at(&mut data, place.start).unwrap();
            find(&data, b"a text of the test that looks for it").is_some()
        });
        assert!(found);
    }
}
