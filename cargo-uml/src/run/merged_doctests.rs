//! Doctests that rustdoc has merged into one program, as it does from edition 2024 on.
//!
//! Such a program starts itself again for each doctest if a variable says where it is, and runs them all in one process
//! if not. rustdoc sets that only where it starts the program itself, without a runner: `run_test` in rustdoc's
//! `doctest.rs`, and the program's `main` in its `doctest/runner.rs`.

use std::ffi::OsStr;
use std::path::Path;

use super::{is_test, program};

const VARIABLE: &str = "RUSTDOC_DOCTEST_BIN_PATH";

/// The variable that a program needs, if it is one of those: they have its name in them. A test binary, which may be
/// large, is not looked through.
pub(super) fn variable(program: &OsStr) -> Option<(&'static str, &OsStr)> {
    let path = Path::new(program);
    (!is_test(path) && program::has_text(path, VARIABLE)).then_some((VARIABLE, program))
}
