//! How kernels are shown: as a table, in full, and as JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;
use uml_test::gates::has_seccomp_mode;

use crate::cli::Format;
use crate::error::Error;
use crate::kernel::cache::Cache;
use crate::kernel::entry::{self, Kernel};
use crate::kernel::metadata::Provenance;

/// A kernel as `--format json` has it. Fields stay as they are; new ones may come. What kernel.toml says is null or
/// empty where that can't be read.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    /// The directory's name in the cache.
    id: String,
    /// All its names, sorted; there may be none.
    names: Vec<String>,
    /// Whether it is booted where no kernel is named.
    default: bool,
    /// What is wrong with it, or null.
    damaged: Option<String>,
    /// The command that makes it again; for people who see that it is damaged.
    #[serde(skip)]
    again: String,
    /// As `linux --version` prints it.
    version: Option<String>,
    /// How it can intercept system calls, `seccomp` and `ptrace`, the preferred one first.
    traps: &'static [&'static str],
    /// Without `base`.
    flavours: Vec<String>,
    /// Where the user's fragments were.
    fragments: Vec<String>,
    /// `package`, `release`, `tarball`, `tree`, `distribution` or `adopted`.
    provenance: Option<Provenance>,
    /// Which source exactly.
    source: Option<String>,
    /// Where the user had the tree, tarball or adopted kernel, or null.
    source_path: Option<String>,
    compiler: Option<String>,
    /// Of `path`'s file.
    sha256: Option<String>,
    /// The executable.
    path: PathBuf,
    /// The resolved `.config`, or null.
    config: Option<PathBuf>,
    /// What the guest sees as /lib/modules, or null.
    modules: Option<PathBuf>,
    /// Bytes of all that belongs to it.
    size: u64,
    /// Seconds since 1970.
    installed: Option<u64>,
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

/// The kernel that a name, or an id, stands for, damaged or not; with its checksum compared.
pub(crate) fn one(cache: &Cache, name: &str) -> Result<Listed, Error> {
    let (_, id) = cache.entry(name)?;
    let directory = cache.kernels().join(id);
    Ok(describe(cache, &directory, entry::damage(&directory)))
}

/// All kernels, sorted by name; nameless ones last. Their checksums are not compared.
pub(crate) fn all(cache: &Cache) -> Vec<Listed> {
    let entries = cache.entries();
    let mut all: Vec<Listed> = entries
        .iter()
        .map(|directory| describe(cache, directory, entry::obvious_damage(directory)))
        .collect();
    all.sort_by(|a, b| {
        (a.names.is_empty(), &a.names, &a.id).cmp(&(b.names.is_empty(), &b.names, &b.id))
    });
    all
}

fn describe(cache: &Cache, directory: &Path, damaged: Option<String>) -> Listed {
    let seconds =
        |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let there = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
    let id = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let listed = Listed {
        names: cache.names_of(&id),
        default: cache.default_id().is_some_and(|default| default == id),
        damaged,
        again: cache.how_to_make(&id),
        id,
        version: None,
        traps: &[],
        flavours: Vec::new(),
        fragments: Vec::new(),
        provenance: None,
        source: None,
        source_path: None,
        compiler: None,
        sha256: None,
        path: directory.join("linux"),
        config: there("config"),
        modules: there("modules"),
        size: entry::size(directory),
        installed: None,
        last_used: entry::last_used(directory).map(seconds),
        boot_ms: None,
        least_mem_mib: None,
        build_seconds: 0,
        dropped_options: Vec::new(),
    };
    let Some(Kernel { metadata, installed, .. }) = Kernel::read(directory) else { return listed };
    Listed {
        traps: traps(&metadata.version),
        source_path: metadata.path_of_source().map(str::to_owned),
        version: Some(metadata.version),
        flavours: metadata.flavours,
        fragments: metadata.fragments,
        provenance: Some(metadata.provenance),
        source: Some(metadata.source),
        compiler: Some(metadata.compiler),
        sha256: Some(metadata.sha256),
        installed: Some(seconds(installed)),
        boot_ms: metadata.boot_ms,
        least_mem_mib: metadata.least_mem_mib,
        build_seconds: metadata.build_seconds,
        dropped_options: metadata.dropped_options,
        ..listed
    }
}

fn traps(version: &str) -> &'static [&'static str] {
    if has_seccomp_mode(version) { &["seccomp", "ptrace"] } else { &["ptrace"] }
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
            kernel.version.clone().unwrap_or_else(|| "?".to_owned()),
            flavour(kernel),
            HumanBytes(kernel.size).to_string(),
            kernel.last_used.map_or_else(|| "never".to_owned(), ago),
            match (&kernel.damaged, kernel.boot_ms) {
                (Some(_), _) => "damaged".to_owned(),
                (None, Some(time)) => format!("{time} ms"),
                (None, None) => "?".to_owned(),
            },
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
    ];
    if let Some(reason) = &kernel.damaged {
        lines.push(("damaged", format!("{reason}; `{}` makes it again", kernel.again)));
    }
    let mut add = |label, value: &Option<String>| {
        lines.extend(value.clone().map(|value| (label, value)));
    };
    add("version", &kernel.version);
    add("flavour", &kernel.provenance.map(|_| flavour(kernel)));
    add("fragments", &joined(&kernel.fragments));
    add("traps", &joined(kernel.traps));
    add("provenance", &kernel.provenance.map(|provenance| provenance.to_string()));
    add("source", &kernel.source);
    add("from", &kernel.source_path);
    add("compiler", &kernel.compiler);
    add("sha256", &kernel.sha256);
    lines.push(("path", kernel.path.display().to_string()));
    let path = |path: &Option<PathBuf>| {
        path.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    };
    lines.push(("config", path(&kernel.config)));
    lines.push(("modules", path(&kernel.modules)));
    lines.push(("size", HumanBytes(kernel.size).to_string()));
    lines.extend(kernel.installed.map(|time| ("installed", ago(time))));
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

/// All of them; `None` if there are none.
fn joined(texts: &[impl AsRef<str>]) -> Option<String> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn name(kernel: &Listed) -> String {
    if kernel.names.is_empty() { format!("({})", kernel.id) } else { kernel.names.join(", ") }
}

fn flavour(kernel: &Listed) -> String {
    let own =
        matches!(kernel.provenance, None | Some(Provenance::Distribution | Provenance::Adopted));
    let mut parts = kernel.flavours.clone();
    if !parts.iter().any(|part| part == "tiny") && !own {
        parts.insert(0, "base".to_owned());
    }
    parts.extend(kernel.fragments.iter().map(|fragment| {
        Path::new(fragment).file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }));
    if parts.is_empty() { "-".to_owned() } else { parts.join("+") }
}

fn ago(seconds: u64) -> String {
    let then = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let age = SystemTime::now().duration_since(then).unwrap_or_default();
    format!("{} ago", HumanDuration(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_6_16_have_ptrace_only() {
        assert_eq!(traps("6.15.9-um"), ["ptrace"]);
        assert_eq!(traps("6.16.0-rc1"), ["seccomp", "ptrace"]);
        assert_eq!(traps("7.2.12"), ["seccomp", "ptrace"]);
    }
}
