//! `cargo uml completions`, in a real shell where there is one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rexpect::session::spawn_command;

use crate::fixture::{Fixture, Run, forgo, run, skip};

/// In milliseconds: a busy machine is slow, and a wait that is met ends at once.
const PATIENCE: u64 = 60_000;

/// What bash offers for a command line that ends in a space or a part of a word.
fn bash(fixture: &Fixture, words: &[&str]) -> Vec<String> {
    let script = run(&mut fixture.uml(&["completions", "bash"])).succeeds().stdout.clone();
    let path = fixture.path().join("completion.bash");
    fs::write(&path, script).unwrap();
    let list: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let call = format!(
        "_cargo() {{ COMPREPLY=(from-cargo); }}; complete -F _cargo cargo; source {}; \
         COMP_WORDS=({}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         function=$(complete -p ${{COMP_WORDS[0]}} | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p'); \
         $function \"${{COMP_WORDS[0]}}\" \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$((COMP_CWORD - 1))]}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        path.display(),
        list.join(" ")
    );
    let said: Run = run(Command::new("bash").args(["--norc", "-c", &call]));
    said.succeeds().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_both_forms_and_leaves_cargos_own_alone() {
    let fixture = Fixture::new();
    for words in [&["cargo-uml", "kernel", "pr"][..], &["cargo", "uml", "kernel", "pr"]] {
        assert_eq!(bash(&fixture, words), ["prune"], "{words:?}");
    }
    let flavours = bash(&fixture, &["cargo", "uml", "kernel", "build", "--flavour", ""]);
    assert_eq!(flavours, ["base", "tiny", "smp", "debug", "coverage"]);
    assert_eq!(bash(&fixture, &["cargo", "bui"]), ["from-cargo"]);
    assert_eq!(bash(&fixture, &["cargo", "+nightly", "uml", "kernel", "pr"]), ["prune"]);
    assert_eq!(bash(&fixture, &["cargo", "+nightly", "bui"]), ["from-cargo"]);
}

/// Writes the script of `shell` to a file of that name.
fn write_script(fixture: &Fixture, shell: &str, name: &str) -> PathBuf {
    let path = fixture.path().join(name);
    let said = run(&mut fixture.uml(&["completions", shell]));
    fs::write(&path, &said.succeeds().stdout).unwrap();
    path
}

fn is_there(shell: &str) -> bool {
    let there = Command::new(shell).arg("--version").output().is_ok();
    if !there {
        skip(shell);
    }
    there
}

#[test]
fn fish_completes_both_forms() {
    if !is_there("fish") {
        return;
    }
    let fixture = Fixture::new();
    let script = write_script(&fixture, "fish", "completion.fish");
    let offered = |line: &str| -> Vec<String> {
        let call = format!("source {}; complete -C '{line}'", script.display());
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", &call]).env("HOME", fixture.path());
        let said = run(&mut fish);
        let words = said.succeeds().stdout.lines();
        words.map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    for form in ["cargo-uml", "cargo uml", "cargo +nightly uml"] {
        assert_eq!(offered(&format!("{form} kernel pr")), ["prune"], "{form}");
        let flavours = offered(&format!("{form} kernel build --flavour "));
        assert_eq!(flavours, ["base", "coverage", "debug", "smp", "tiny"], "{form}");
        let shells = offered(&format!("{form} completions "));
        assert_eq!(shells, ["bash", "elvish", "fish", "powershell", "zsh"], "{form}");
    }
}

/// What zsh runs of a line after the tab key, with its functions in these directories.
fn zsh(directories: &[&Path], line: &str) -> String {
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-i"]).env("HOME", directories[0]).env("TERM", "dumb").env("PS1", "> ");
    let mut session = spawn_command(zsh, Some(PATIENCE)).unwrap();
    let places: Vec<String> = directories.iter().map(|path| path.display().to_string()).collect();
    let say = "{ echo \"r\"an: $* . }";
    // What is typed is echoed: what is looked for is not in it.
    session
        .send_line(&format!(
            "fpath=({} $fpath); autoload -Uz compinit; compinit -u -D; cargo() {say}; cargo-uml() {say}; echo rea\"dy\"",
            places.join(" ")
        ))
        .unwrap();
    session.exp_string("ready").unwrap();
    session.send_line(&format!("{line}\t")).unwrap();
    session.exp_string("ran: ").unwrap();
    let ran = session.exp_string(" .").unwrap();
    // It would not heed the signal that ends a session.
    session.send_line("exit").unwrap();
    ran
}

#[test]
fn zsh_completes_both_forms() {
    if !is_there("zsh") {
        return;
    }
    let fixture = Fixture::new();
    write_script(&fixture, "zsh", "_cargo-uml");
    assert_eq!(zsh(&[fixture.path()], "cargo-uml kernel pru"), "kernel prune");
    assert_eq!(zsh(&[fixture.path()], "cargo-uml completions zs"), "completions zsh");
    // cargo's own hands over; rustup has it in the toolchain.
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"])).stdout;
    let cargos = Path::new(sysroot.trim()).join("share/zsh/site-functions");
    if !cargos.join("_cargo").exists() {
        return forgo("cargo's completion for zsh");
    }
    assert_eq!(zsh(&[fixture.path(), &cargos], "cargo uml kernel pru"), "uml kernel prune");
}

#[test]
fn other_shells_have_none() {
    let fixture = Fixture::new();
    run(&mut fixture.uml(&["completions", "tcsh"]))
        .fails(2, &["invalid value 'tcsh'", "bash, elvish, fish"]);
}
