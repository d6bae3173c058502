//! Refused by the type checker. `//~` gives part of the error on its line.

use uml_test::uml_test;

#[uml_test]
fn returns_a_number() -> u32 { //~ `u32`
    1
}

struct NoDebug;

#[uml_test]
fn error_without_debug() -> Result<(), NoDebug> { //~ NoDebug
    Ok(())
}
