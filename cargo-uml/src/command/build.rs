//! `cargo uml kernel build` and `config`.

use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli::{BuildArguments, ConfigArguments, WhatArguments};
use crate::error::Error;
use crate::kernel::cache::Cache;
use crate::kernel::fragment;
use crate::kernel::kconfig::Kconfig;
use crate::kernel::metadata::Provenance;
use crate::kernel::order::Order;
use crate::kernel::source::Choice;
use crate::report::Reporter;

fn order(what: &WhatArguments, name: Option<&str>) -> Result<Order, Error> {
    let choice = Choice::parse(what.source.as_deref(), what.sha256.as_deref())?;
    Order::new(choice, &what.flavour, &what.fragment, name)
}

pub(crate) fn build(
    cache: &Cache,
    arguments: &BuildArguments,
    reporter: &Reporter,
) -> Result<PathBuf, Error> {
    let order = order(&arguments.what, arguments.name.as_deref())?;
    let kernel = order.provide(cache, reporter)?;
    if kernel.metadata.provenance == Provenance::Tree {
        note_nameless(cache, reporter);
    }
    Ok(kernel.linux())
}

/// How many kernels without a name are not worth a word: they take 1 GB.
const FEW_NAMELESS: usize = 5;

/// Each state of a tree that is built is a kernel, and the last has the name.
fn note_nameless(cache: &Cache, reporter: &Reporter) {
    let nameless = cache.list().iter().filter(|kernel| cache.is_nameless(kernel)).count();
    if nameless > FEW_NAMELESS {
        reporter.note(format_args!(
            "{nameless} kernels in the cache, of earlier builds, have no name: `cargo uml kernel prune` removes them"
        ));
    }
}

/// Merges the fragments, lets the user change the result in the kernel's menus, and writes what changed.
pub(crate) fn config(
    cache: &Cache,
    arguments: &ConfigArguments,
    reporter: &Reporter,
) -> Result<(), Error> {
    let ConfigArguments { what, output } = arguments;
    // Now, not after all the work in the menus.
    let output = Output::check(output, &what.fragment)?;
    // A name is not needed, but whatever the fragments are called they must not be refused for lack of one.
    order(what, Some("config"))?.edit(cache, reporter, |tree, before, after| {
        let (modules, changes): (Vec<Change>, Vec<Change>) =
            difference(before, after, &Kconfig::read(tree))
                .into_iter()
                .partition(|change| change.value == "m");
        for Change { option, .. } in modules {
            reporter.note(format_args!(
                "{option}=m is left out: modules are not built, only the kernel itself; choose y"
            ));
        }
        if changes.is_empty() {
            reporter.note("Nothing was changed that a fragment can have, so none is written");
            return Ok(());
        }
        output.write(&changes).inspect_err(|_| {
            // The work in the menus is not lost.
            reporter.note(format_args!("The changes are:\n{}", lines(&changes)));
        })?;
        reporter.note(format_args!(
            "{} options changed; build with them by `cargo uml kernel build … --fragment {}`",
            changes.len(),
            output.path.display()
        ));
        Ok(())
    })
}

/// The fragment that is written.
#[derive(Debug)]
struct Output<'a> {
    path: &'a Path,
    /// What it says before the menus, where it is one of the fragments that they begin with.
    old: String,
}

impl<'a> Output<'a> {
    /// Whether `path` can be written, and loses nothing by it.
    fn check(path: &'a Path, fragments: &[PathBuf]) -> Result<Self, Error> {
        let same = |other: &PathBuf| {
            path.canonicalize().is_ok_and(|path| other.canonicalize().is_ok_and(|it| it == path))
        };
        let old = match (fragments.iter().rposition(same), path.exists()) {
            (Some(at), _) if at + 1 < fragments.len() => {
                return Err(Error::OutputOverridden { path: path.to_path_buf() });
            }
            (Some(_), _) => {
                OpenOptions::new().append(true).open(path).map_err(Error::io("write", path))?;
                fs::read_to_string(path).map_err(Error::io("read", path))?
            }
            // An empty file, such as mktemp makes, or a terminal loses nothing.
            (None, true)
                if path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0) =>
            {
                return Err(Error::OutputExists { path: path.to_path_buf() });
            }
            (None, true) => {
                OpenOptions::new().append(true).open(path).map_err(Error::io("write", path))?;
                String::new()
            }
            (None, false) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                tempfile::tempfile_in(parent.unwrap_or(Path::new(".")))
                    .map_err(Error::io("create", path))?;
                String::new()
            }
        };
        Ok(Output { path, old })
    }

    /// Writes the changes behind what there was, but for what they replace.
    fn write(&self, changes: &[Change]) -> Result<(), Error> {
        let is_kept = |line: &&str| {
            fragment::option(line)
                .is_none_or(|option| changes.iter().all(|change| change.option != option))
        };
        let kept: String =
            self.old.lines().filter(is_kept).map(|line| line.to_owned() + "\n").collect();
        let text = kept + &lines(changes);
        match self.path.metadata() {
            // A terminal, say.
            Ok(found) if !found.is_file() => {
                fs::write(self.path, text).map_err(Error::io("write", self.path))
            }
            found => self.replace(&text, found.ok()),
        }
    }

    /// Replaces the file, at once and only if it is as it was before the menus, which may have been open for hours.
    fn replace(&self, text: &str, found: Option<Metadata>) -> Result<(), Error> {
        let now = match &found {
            Some(_) => fs::read_to_string(self.path).map_err(Error::io("read", self.path))?,
            None => String::new(),
        };
        if now != self.old {
            return Err(Error::OutputChanged { path: self.path.to_path_buf() });
        }
        // A link stays one.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.to_path_buf());
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new("."));
        let written = tempfile::Builder::new()
            // What the umask leaves of it, as of any new file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                if let Some(found) = found {
                    file.as_file().set_permissions(found.permissions())?;
                }
                Ok(file)
            })
            .map_err(Error::io("create a file in", directory))?;
        written.persist(&path).map(drop).map_err(|error| Error::io("write", self.path)(error.error))
    }
}

/// The lines of a fragment that ask for this.
fn lines(changes: &[Change]) -> String {
    changes.iter().map(|Change { option, value }| format!("{option}={value}\n")).collect()
}

/// An option, and what it is to be now.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    option: String,
    value: String,
}

/// The options that differ and can be requested. Others follow from these.
fn difference(before: &str, after: &str, kconfig: &Kconfig) -> Vec<Change> {
    let (before, after) = (fragment::assignments(before), fragment::assignments(after));
    let mut changed: Vec<Change> = after
        .iter()
        .filter(|(option, value)| before.get(*option) != Some(value))
        .map(|(option, value)| (*option, *value))
        .chain(
            before
                .keys()
                .filter(|option| !after.contains_key(*option))
                .map(|option| (*option, "n")),
        )
        .filter(|(option, _)| kconfig.has_prompt(option.trim_start_matches("CONFIG_")))
        .map(|(option, value)| Change { option: option.to_owned(), value: value.to_owned() })
        .collect();
    changed.sort_unstable();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_what_can_be_requested() {
        let tree = tempfile::tempdir().unwrap();
        let text = "config A\n\tbool \"a\"\nconfig B\n\tbool \"b\"\nconfig C\n\tint \"c\"\nconfig D\n\tbool\n";
        fs::write(tree.path().join("Kconfig"), text).unwrap();
        let difference = difference(
            "CONFIG_A=y\nCONFIG_C=1\n# CONFIG_B is not set\n",
            "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=2\nCONFIG_D=y\n",
            &Kconfig::read(tree.path()),
        );
        let difference: Vec<_> =
            difference.iter().map(|change| (&*change.option, &*change.value)).collect();
        assert_eq!(difference, [("CONFIG_A", "n"), ("CONFIG_B", "y"), ("CONFIG_C", "2")]);
    }
}
