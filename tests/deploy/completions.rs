//! The completions, in the shells that they are for.

use std::process::Command;

use crate::repository;
use crate::run::run;

/// Completes `echoline --pack` and `echoline ping --half`, as bash does on Tab.
const BASH: &str = r#"
source "$1/echoline.bash"
complete -p echoline
for words in "echoline --pack" "echoline ping --half"; do
    COMP_WORDS=($words)
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _echoline echoline "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "${COMPREPLY[@]}"
done
"#;

/// Types the same in an interactive zsh, and waits until its terminal shows the rest.
const ZSH: &str = r#"
zmodload zsh/zpty
wait_for() {
    until [[ $shown == *$1* ]]; do
        zpty -r -t shell piece && shown+=$piece || sleep 0.02
    done
}
zpty -b shell zsh -f -i
zpty -w shell "PS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -D -u; print loa''ded"
wait_for loaded
for typed rest in "echoline --pack" --packet-per-line "echoline ping --half" --half-close; do
    zpty -w -n shell $typed$'\t'
    wait_for $rest
    zpty -w -n shell $'\025' # Ctrl-U
    print -r -- $rest
done
zpty -d shell
"#;

const FISH: &str = r#"
source $argv[1]/echoline.fish
complete -C "echoline --pack"
complete -C "echoline ping --half"
"#;

/// Runs `script` in `shell`, with the directory of the completions as its argument.
#[track_caller]
fn assert_completes(shell: &mut Command, script: &[&str]) {
    let dir = repository("deploy/completions");
    let output = run(shell.arg("-c").args(script).arg(dir));
    assert!(output.contains("--packet-per-line"), "{output}");
    assert!(output.contains("--half-close"), "{output}");
}

#[test]
#[ignore = "needs bash"]
fn bash_completes_options_of_the_server_and_of_ping() {
    assert_completes(
        Command::new("bash").args(["--norc", "-eu"]),
        &[BASH, "bash"],
    );
}

#[test]
#[ignore = "needs zsh"]
fn zsh_completes_options_of_the_server_and_of_ping() {
    assert_completes(
        Command::new("timeout").args(["60", "zsh", "-f"]),
        &[ZSH, "zsh"],
    );
}

#[test]
#[ignore = "needs fish"]
fn fish_completes_options_of_the_server_and_of_ping() {
    assert_completes(Command::new("fish").arg("--no-config"), &[FISH]);
}
