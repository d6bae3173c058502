//! Targets: those whose programs guests run, and the one that cargo builds for.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use toml::{Table, Value};

use super::command_line::values_of;

/// What guests run, and hosts are.
const TARGETS: [&str; 3] =
    ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl", "x86_64-alpine-linux-musl"];

/// What a toolchain on such a host may be for besides. Its programs go to a guest as well, which refuses those that it
/// can't run: none shall run on the host without a word.
const RELATED: [&str; 7] = [
    "x86_64-unknown-linux-gnuasan",
    "x86_64-unknown-linux-gnux32",
    "x86_64-chimera-linux-musl",
    "i586-unknown-linux-gnu",
    "i586-unknown-linux-musl",
    "i686-unknown-linux-gnu",
    "i686-unknown-linux-musl",
];

const CONFIG: &str = "--config";

/// cargo's word for the host's own.
const HOST_TUPLE: &str = "host-tuple";

/// The variables that tell cargo what it starts programs with.
pub(super) fn runner_variables() -> impl Iterator<Item = String> {
    let of =
        |target: &str| format!("CARGO_TARGET_{}_RUNNER", target.to_uppercase().replace('-', "_"));
    TARGETS.into_iter().chain(RELATED).map(of)
}

/// Refuses what would have cargo start programs on the host, past the runner: another target, and a runner on its command
/// line, where a variable does not replace it.
pub(crate) fn check(own: &[OsString]) -> anyhow::Result<()> {
    for option in values_of(own, CONFIG) {
        ensure!(
            of_option(option, |configuration| sets_runner(configuration).then_some(())).is_none(),
            "{CONFIG} {} has a runner, which cargo takes instead of guests: expected none; one in a \
             .cargo/config.toml may stay, as it is replaced",
            option.display()
        );
    }
    let directory = std::env::current_dir().context("no working directory")?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    let (place, targets) = told(own, &directory, home.as_deref());
    for target in targets {
        ensure!(
            TARGETS.contains(&&*target) || target == HOST_TUPLE,
            "guests run {}, not {target} ({place}); its programs would run on this host instead",
            TARGETS.join(", ")
        );
    }
    Ok(())
}

/// The targets that cargo is told to build for, and where: what it takes first, as no stable cargo tells that itself.
fn told(own: &[OsString], directory: &Path, home: Option<&Path>) -> (String, Vec<String>) {
    const OPTION: &str = "--target";
    const VARIABLE: &str = "CARGO_BUILD_TARGET";
    let given = values_of(own, OPTION);
    if !given.is_empty() {
        return (OPTION.to_owned(), given.into_iter().map(lossy).collect());
    }
    let mut options = values_of(own, CONFIG).into_iter().rev();
    if let Some(found) = options.find_map(|option| of_option(option, build_target)) {
        return (CONFIG.to_owned(), found);
    }
    if let Some(target) = std::env::var_os(VARIABLE).filter(|target| !target.is_empty()) {
        return (VARIABLE.to_owned(), vec![lossy(&target)]);
    }
    let homes = home.map(Path::to_owned);
    let mut directories = directory.ancestors().map(|above| above.join(".cargo")).chain(homes);
    let in_file = |file: PathBuf| {
        Some((format!("build.target in {}", file.display()), of_file(&file, build_target)?))
    };
    // Without an ending is an older name, which cargo prefers.
    let in_directory = |directory: PathBuf| {
        in_file(directory.join("config")).or_else(|| in_file(directory.join("config.toml")))
    };
    directories.find_map(in_directory).unwrap_or_default()
}

/// `--config` takes a file, or a line of one.
fn of_option<T>(value: &OsStr, wanted: impl Fn(&Table) -> Option<T>) -> Option<T> {
    of_file(Path::new(value), &wanted).or_else(|| of_text(value.to_str()?, &wanted))
}

fn of_file<T>(path: &Path, wanted: impl Fn(&Table) -> Option<T>) -> Option<T> {
    of_text(&std::fs::read_to_string(path).ok()?, wanted)
}

/// What cargo can't read it complains of itself.
fn of_text<T>(text: &str, wanted: impl Fn(&Table) -> Option<T>) -> Option<T> {
    wanted(&text.parse().ok()?)
}

fn build_target(configuration: &Table) -> Option<Vec<String>> {
    match configuration.get("build")?.get("target")? {
        Value::String(target) => Some(vec![target.clone()]),
        Value::Array(targets) => {
            Some(targets.iter().filter_map(|target| Some(target.as_str()?.to_owned())).collect())
        }
        _ => None,
    }
}

fn sets_runner(configuration: &Table) -> bool {
    let targets = configuration.get("target").and_then(Value::as_table);
    targets.is_some_and(|targets| targets.values().any(|target| target.get("runner").is_some()))
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::command_line::cargos_own;
    use super::*;

    #[test]
    fn only_cargos_own_target_counts() {
        let check = |subcommand: &str, line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            check(cargos_own(subcommand, &arguments)).is_ok()
        };
        assert!(!check("test", "name --target aarch64-unknown-linux-gnu"));
        assert!(!check("run", "--bin x --target=wasm32-wasip1 y"));
        assert!(!check("test", "--config build.target=\"wasm32-wasip1\""));
        assert!(!check("test", "--config target.x86_64-unknown-linux-gnu.runner=\"env\""));
        assert!(!check("test", "--config target.'cfg(unix)'.runner=[\"env\"]"));
        assert!(check("test", "--config target.x86_64-unknown-linux-gnu.linker=\"ld\""));
        assert!(check("test", "--target x86_64-unknown-linux-musl"));
        assert!(check("test", "--target host-tuple"));
        assert!(check("test", "-- --target prod"));
        assert!(check("run", "--bin x deploy --target prod"));
    }

    #[test]
    fn the_nearest_configuration_holds() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let write = |name: &str, target: &str| {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), format!("[build]\ntarget = {target}\n")).unwrap();
        };
        let told = |own: &[&str]| {
            let own: Vec<OsString> = own.iter().map(OsString::from).collect();
            told(&own, &at("a/b"), Some(&at("home"))).1
        };
        assert_eq!(told(&[]), [] as [&str; 0]);
        write("home/config.toml", "\"home\"");
        assert_eq!(told(&[]), ["home"]);
        write("a/.cargo/config.toml", "[\"above\", \"too\"]");
        assert_eq!(told(&[]), ["above", "too"]);
        write("a/b/.cargo/config.toml", "\"here\"");
        assert_eq!(told(&[]), ["here"]);
        write("a/b/.cargo/config", "\"older\"");
        assert_eq!(told(&[]), ["older"]);
        write("file", "\"file\"");
        let file = at("file").into_os_string().into_string().unwrap();
        assert_eq!(told(&["--config", &file]), ["file"]);
        assert_eq!(told(&["--config", &file, "--config=build.target='line'"]), ["line"]);
        assert_eq!(told(&["--config=build.target='line'", "--target=option"]), ["option"]);
    }
}
