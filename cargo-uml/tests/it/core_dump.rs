//! The README's way to a core file of a program that crashed in a guest.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::package::{output, text, uml};

const README: &str = include_str!("../../README.md");

/// The commands that the README shows in a block of its own.
fn recipe() -> &'static str {
    let mut blocks = README.split("```console\n").skip(1).map(|rest| rest.split("```").next());
    blocks.find_map(|block| block.filter(|block| block.contains("core_pipe_limit"))).unwrap()
}

#[test]
fn a_program_that_cores_are_piped_to_writes_them() {
    const TOUCHED: usize = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let source = format!(
        "#include <stdlib.h>\n#include <string.h>\n\
         int main(void) {{ memset(malloc({TOUCHED}), '#', {TOUCHED}); abort(); }}\n"
    );
    fs::create_dir_all(dir.path().join("target/debug")).unwrap();
    fs::create_dir(dir.path().join("cores")).unwrap();
    fs::write(dir.path().join("crashes.c"), source).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-O0", "-o", "target/debug/crashes", "crashes.c"]).current_dir(dir.path());
    let built = output(&mut gcc);
    assert!(built.status.success(), "{}", text(&built));

    let said = output(recipes_shell(dir.path()).args(["-c", recipe()]));
    assert!(!said.status.success(), "{}", text(&said));
    let cores = fs::read_dir(dir.path().join("cores")).unwrap();
    let cores: Vec<_> = cores.map(|entry| entry.unwrap().path()).collect();
    let [core] = &cores[..] else { panic!("{cores:?}: {}", text(&said)) };
    let core = fs::read(core).unwrap();
    assert_eq!(end_of_segments(&core), core.len());
    let longest = core.split(|byte| *byte != b'#').map(<[u8]>::len).max();
    assert!(longest >= Some(TOUCHED), "{longest:?} of {TOUCHED} bytes");
}

/// A shell, on whose path this command is.
fn recipes_shell(directory: &Path) -> Command {
    let mut shell = Command::new("bash");
    // The kernel and what it is not to inherit.
    for (name, value) in uml(&[]).get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let ours = Path::new(env!("CARGO_BIN_EXE_cargo-uml")).parent().unwrap();
    let path = format!("{}:{}", ours.display(), std::env::var("PATH").unwrap());
    shell.env("PATH", path).current_dir(directory);
    shell
}

/// Where a core file ends by what its program headers say.
fn end_of_segments(core: &[u8]) -> usize {
    const ET_CORE: usize = 4;
    let number = |at: usize, size: usize| {
        core[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!((&core[..4], number(16, 2)), (&b"\x7fELF"[..], ET_CORE));
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let segments = (0..count).map(|index| headers + index * size);
    segments.map(|at| number(at + 8, 8) + number(at + 32, 8)).max().unwrap()
}
