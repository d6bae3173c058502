//! The cases under `uml_test::main!()`.

#![forbid(unsafe_code)]

mod cases;

uml_test::main!();
