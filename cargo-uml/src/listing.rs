//! How kernels are shown: as a table, in full, and as JSON.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

use crate::cli::Format;
use crate::kernel::cache::Cache;
use crate::kernel::entry::Kernel;
use crate::kernel::metadata::Provenance;

/// A kernel as `--format json` has it. Fields stay as they are; new ones may come.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    /// The directory's name in the cache.
    id: String,
    /// All its names, sorted; there may be none.
    names: Vec<String>,
    /// Whether it is booted where no kernel is named.
    default: bool,
    /// As `linux --version` prints it.
    version: String,
    /// Without `base`.
    flavours: Vec<String>,
    /// The user's fragments, as they were named.
    fragments: Vec<String>,
    /// `package`, `release`, `tarball`, `tree`, `distribution` or `adopted`.
    provenance: Provenance,
    /// Which source exactly.
    source: String,
    compiler: String,
    /// Of `path`'s file.
    sha256: String,
    /// The executable.
    path: PathBuf,
    /// The resolved `.config`, or null.
    config: Option<PathBuf>,
    /// What the guest sees as /lib/modules, or null.
    modules: Option<PathBuf>,
    /// Bytes of all that belongs to it.
    size: u64,
    /// Seconds since 1970.
    installed: u64,
    /// Seconds since 1970, or null.
    last_used: Option<u64>,
    /// Milliseconds until a guest is set up, or null.
    boot_ms: Option<u64>,
    /// MiB of guest memory that it needs, or null where the default is enough.
    least_mem_mib: Option<u64>,
    /// Seconds that the build took; 0 if it was not built here.
    build_seconds: u64,
    /// Requested options that the version does not have.
    dropped_options: Vec<String>,
}

pub(crate) fn describe(cache: &Cache, kernel: &Kernel) -> Listed {
    let seconds =
        |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let metadata = kernel.metadata.clone();
    Listed {
        id: kernel.id(),
        names: cache.names_of(&kernel.id()),
        default: cache.is_default(kernel),
        version: metadata.version,
        flavours: metadata.flavours,
        fragments: metadata.fragments,
        provenance: metadata.provenance,
        source: metadata.source,
        compiler: metadata.compiler,
        sha256: metadata.sha256,
        path: kernel.linux(),
        config: kernel.config(),
        modules: Some(kernel.directory().join("modules")).filter(|path| path.is_dir()),
        size: kernel.size(),
        installed: seconds(kernel.installed),
        last_used: kernel.last_used().map(seconds),
        boot_ms: metadata.boot_ms,
        least_mem_mib: metadata.least_mem_mib,
        build_seconds: metadata.build_seconds,
        dropped_options: metadata.dropped_options,
    }
}

/// All kernels, sorted by name; nameless ones last.
pub(crate) fn all(cache: &Cache) -> Vec<Listed> {
    let mut all: Vec<Listed> = cache.list().iter().map(|kernel| describe(cache, kernel)).collect();
    all.sort_by(|a, b| {
        (a.names.is_empty(), &a.names, &a.id).cmp(&(b.names.is_empty(), &b.names, &b.id))
    });
    all
}

pub(crate) fn list(kernels: &[Listed], format: Format) -> anyhow::Result<String> {
    match format {
        Format::Json => json(&kernels),
        Format::Text => Ok(table(kernels)),
    }
}

pub(crate) fn show(kernel: &Listed, format: Format) -> anyhow::Result<String> {
    match format {
        Format::Json => json(kernel),
        Format::Text => Ok(text(kernel)),
    }
}

fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn table(kernels: &[Listed]) -> String {
    let header = ["NAME", "VERSION", "FLAVOUR", "SIZE", "LAST USED", "BOOT", "DEFAULT"];
    let mut rows = vec![header.map(str::to_owned)];
    for kernel in kernels {
        rows.push([
            name(kernel),
            kernel.version.clone(),
            flavour(kernel),
            HumanBytes(kernel.size).to_string(),
            kernel.last_used.map_or_else(|| "never".to_owned(), ago),
            kernel.boot_ms.map_or_else(|| "?".to_owned(), |time| format!("{time} ms")),
            if kernel.default { "default" } else { "" }.to_owned(),
        ]);
    }
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    rows.iter().fold(String::new(), |mut table, row| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(table, "{}", cells.join("  ").trim_end());
        table
    })
}

fn text(kernel: &Listed) -> String {
    let mut lines = vec![
        ("name", name(kernel)),
        ("id", kernel.id.clone()),
        ("default", if kernel.default { "yes" } else { "no" }.to_owned()),
        ("version", kernel.version.clone()),
        ("flavour", flavour(kernel)),
        ("provenance", kernel.provenance.to_string()),
        ("source", kernel.source.clone()),
        ("compiler", kernel.compiler.clone()),
        ("sha256", kernel.sha256.clone()),
        ("path", kernel.path.display().to_string()),
    ];
    let path = |path: &Option<PathBuf>| {
        path.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    };
    lines.push(("config", path(&kernel.config)));
    lines.push(("modules", path(&kernel.modules)));
    lines.push(("size", HumanBytes(kernel.size).to_string()));
    lines.push(("installed", ago(kernel.installed)));
    lines.push(("last used", kernel.last_used.map_or_else(|| "never".to_owned(), ago)));
    if let Some(time) = kernel.boot_ms {
        lines.push(("boots in", format!("{time} ms")));
    }
    if let Some(mib) = kernel.least_mem_mib {
        lines.push(("needs", format!("{mib} MiB of guest memory")));
    }
    if kernel.build_seconds > 0 {
        lines.push(("built in", format!("{} s", kernel.build_seconds)));
    }
    if !kernel.dropped_options.is_empty() {
        lines.push(("lacks", kernel.dropped_options.join(" ")));
    }
    lines.into_iter().fold(String::new(), |mut text, (label, value)| {
        let _ = writeln!(text, "{label:10}  {value}");
        text
    })
}

fn name(kernel: &Listed) -> String {
    if kernel.names.is_empty() { format!("({})", kernel.id) } else { kernel.names.join(", ") }
}

fn flavour(kernel: &Listed) -> String {
    let own = matches!(kernel.provenance, Provenance::Distribution | Provenance::Adopted);
    let mut parts = kernel.flavours.clone();
    if !parts.iter().any(|part| part == "tiny") && !own {
        parts.insert(0, "base".to_owned());
    }
    parts.extend(kernel.fragments.iter().cloned());
    if parts.is_empty() { "-".to_owned() } else { parts.join("+") }
}

fn ago(seconds: u64) -> String {
    let then = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let age = SystemTime::now().duration_since(then).unwrap_or_default();
    format!("{} ago", HumanDuration(age))
}
