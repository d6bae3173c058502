//! What a test sees of its process is the same under plain cargo and under `cargo uml`.

use std::collections::BTreeSet;
use std::process::Command;

use crate::package::{Package, has_nextest, output, text};

/// Shows what a process is told when it is started.
const SHOWS: &str = r#"
#[test]
fn shows() {
    let arguments: Vec<_> = std::env::args_os().collect();
    println!("\nexecutable {:?}", std::env::current_exe().unwrap());
    println!("first argument {:?}", arguments[0]);
    println!("others {:?}", &arguments[1..]);
    println!("directory {:?}", std::env::current_dir().unwrap());
    let variables: std::collections::BTreeMap<_, _> = std::env::vars_os().collect();
    for (name, value) in variables {
        println!("variable {name:?} = {value:?}");
    }
    assert!(std::path::Path::new(&arguments[0]).is_absolute());
}
"#;

/// The lines of [`SHOWS`].
fn shown(command: &mut Command) -> BTreeSet<String> {
    command.env("ODD", "\u{1}\n=\"' ").env("EMPTY", "");
    // An ordinary user's lacks the directories of root's programs, which guests add.
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    let said = output(command);
    assert!(said.status.success(), "{}", text(&said));
    let stdout = String::from_utf8(said.stdout).unwrap();
    let kinds = ["executable ", "first argument ", "others ", "directory ", "variable "];
    // A run of nextest's has a number.
    let numbers = ["NEXTEST_RUN_ID", "NEXTEST_ATTEMPT_ID"];
    let is_shown = |line: &&str| {
        kinds.iter().any(|kind| line.starts_with(kind))
            && !numbers.iter().any(|number| line.contains(number))
    };
    stdout.lines().filter(is_shown).map(str::to_owned).collect()
}

#[test]
fn executable_arguments_directory_and_environment() {
    let package = Package::new();
    package.write("tests/shows.rs", SHOWS);
    let test = ["test", "--test", "shows", "--", "--nocapture", "--exact", "shows"];
    compare(&package, &test);
    if has_nextest() {
        compare(&package, &["nextest", "run", "--test", "shows", "--no-capture"]);
    }
}

fn compare(package: &Package, arguments: &[&str]) {
    // As `Package::uml` has it, but for the program.
    let mut guests = package.uml(arguments);
    // The one that `cargo uml` calls, not a proxy in front of it.
    let mut hosts = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    hosts.args(arguments).current_dir(package.path());
    for (name, value) in guests.get_envs() {
        match value {
            Some(value) => hosts.env(name, value),
            None => hosts.env_remove(name),
        };
    }
    let (hosts, guests) = (shown(&mut hosts), shown(&mut guests));
    assert!(hosts.len() > 10, "{hosts:?}");
    let differing: Vec<_> = hosts.symmetric_difference(&guests).collect();
    assert_eq!(differing, [""; 0], "{arguments:?}");
}
