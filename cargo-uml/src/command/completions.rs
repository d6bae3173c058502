//! `cargo uml completions`: scripts that complete both `cargo-uml …` and `cargo uml …`.

use clap::ValueEnum;
use clap_complete::{Shell, generate};

use crate::cli;

const PROGRAM: &str = "cargo-uml";

/// clap completes `cargo-uml`. Shells complete `cargo uml` by cargo's own completion: zsh's calls `_cargo-uml`, which
/// is the name of clap's function; for bash and fish a few lines hand over.
const BASH: &str = r#"
# cargo uml: hands over to the above, and everything else to what completed cargo before.
_cargo_with_uml() {
    # A toolchain may come first, as in `cargo +nightly uml`.
    local at=1
    [[ ${COMP_WORDS[1]} == +* ]] && at=2
    if [[ ${COMP_CWORD} -gt at && ${COMP_WORDS[at]} == uml ]]; then
        COMP_WORDS=(cargo-uml "${COMP_WORDS[@]:at + 1}")
        COMP_CWORD=$((COMP_CWORD - at))
        _cargo_uml cargo-uml "$2" "$3"
        return
    fi
    if [[ -z ${_cargo_without_uml-} ]] && declare -F _completion_loader >/dev/null; then
        # bash-completion loads cargo's completion when it is first needed.
        complete -r cargo
        _completion_loader cargo
        _cargo_without_uml=$(complete -p cargo 2>/dev/null | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
        complete -F _cargo_with_uml -o bashdefault -o default cargo
    fi
    if [[ -n ${_cargo_without_uml-} && ${_cargo_without_uml} != _cargo_with_uml ]]; then
        "${_cargo_without_uml}" "$@"
    fi
}
_cargo_without_uml=$(complete -p cargo 2>/dev/null | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
[[ ${_cargo_without_uml} == _cargo_with_uml ]] && _cargo_without_uml=
complete -F _cargo_with_uml -o bashdefault -o default cargo
"#;

const FISH: &str = r#"
# cargo uml: completed as cargo-uml. A toolchain may come first, as in `cargo +nightly uml`.
function __cargo_uml_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l uml (contains -i -- uml $words)
    complete -C (string join ' ' -- cargo-uml $words[(math $uml + 1)..-1])
end
complete -c cargo -n '__fish_seen_subcommand_from uml' -f -a '(__cargo_uml_complete)'
"#;

/// In fish clap completes options and subcommands only.
fn shells_in_fish() -> String {
    let shells: Vec<String> = Shell::value_variants().iter().map(Shell::to_string).collect();
    format!(
        "complete -c {PROGRAM} -n '__fish_cargo_uml_using_subcommand completions' -f -a '{}'\n",
        shells.join(" ")
    )
}

/// clap_complete 4.6 takes a hyphen in a program's name for the border of a subcommand in one half of bash's script and
/// not in the other. So there it is another name until the script's last line, which registers it.
const IN_BASH: &str = "cargo_uml";

pub(crate) fn script(shell: Shell) -> String {
    let name = if shell == Shell::Bash { IN_BASH } else { PROGRAM };
    let mut script = Vec::new();
    generate(shell, &mut cli::definition().name(name).bin_name(name), name, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => {
            script = script.replace(&format!(" {IN_BASH}\n"), &format!(" {PROGRAM}\n"));
            script.push_str(BASH);
        }
        Shell::Fish => {
            script.push_str(&shells_in_fish());
            script.push_str(FISH);
        }
        _ => {}
    }
    script
}
