//! `cargo uml completions`, in a real shell where there is one.

use std::fs;
use std::process::Command;

use crate::fixture::{Fixture, Run, run, skip};

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
}

#[test]
fn every_shell_has_a_script() {
    let fixture = Fixture::new();
    for (shell, has) in [
        ("zsh", "#compdef cargo-uml"),
        ("fish", "__fish_seen_subcommand_from uml"),
        ("bash", "_cargo_with_uml"),
    ] {
        let said = run(&mut fixture.uml(&["completions", shell]));
        assert!(said.succeeds().stdout.contains(has), "{shell}");
        // Whole where the shell is there to say so.
        let path = fixture.path().join(shell);
        fs::write(&path, &said.stdout).unwrap();
        match Command::new(shell).arg("-n").arg(&path).output() {
            Ok(checked) => assert!(checked.status.success(), "{checked:?}"),
            Err(_) => skip(shell),
        }
    }
    run(&mut fixture.uml(&["completions", "tcsh"])).fails(2, &["invalid value 'tcsh'"]);
}
