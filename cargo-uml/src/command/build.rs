//! `cargo uml kernel build` and `config`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::{BuildArguments, ConfigArguments, WhatArguments};
use crate::error::Error;
use crate::kernel::cache::Cache;
use crate::kernel::fragment;
use crate::kernel::kconfig::Kconfig;
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
    Ok(order.provide(cache, reporter)?.linux())
}

/// Merges the fragments, lets the user change the result in the kernel's menus, and writes what changed.
pub(crate) fn config(
    cache: &Cache,
    arguments: &ConfigArguments,
    reporter: &Reporter,
) -> Result<(), Error> {
    let ConfigArguments { what, output } = arguments;
    // A name is not needed, but whatever the fragments are called they must not be refused for lack of one.
    order(what, Some("config"))?.edit(cache, reporter, |tree, before, after| {
        let changes = difference(before, after, &Kconfig::read(tree));
        if changes.is_empty() {
            reporter.note("Nothing was changed, so there is no fragment to write");
            return Ok(());
        }
        write(output, &changes)?;
        reporter.note(format_args!(
            "{} options changed; build with them by `cargo uml kernel build … --fragment {}`",
            changes.lines().count(),
            output.display()
        ));
        Ok(())
    })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io("write", path))
}

/// The options that differ and can be requested, as a fragment. Others follow from these.
fn difference(before: &str, after: &str, kconfig: &Kconfig) -> String {
    let (before, after) = (fragment::assignments(before), fragment::assignments(after));
    let mut changed: Vec<(&str, &str)> = after
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
        .collect();
    changed.sort_unstable();
    changed.into_iter().map(|(option, value)| format!("{option}={value}\n")).collect()
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
        assert_eq!(difference, "CONFIG_A=n\nCONFIG_B=y\nCONFIG_C=2\n");
    }
}
