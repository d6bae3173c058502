//! Refused by the type checker. `//~^` gives part of the error on the line
//! above.

use uml_test::uml_test;

#[uml_test]
fn returns_a_number() -> u32 {
    //~^ `#[uml_test]` functions return
    1
}

struct NoDebug;

#[uml_test]
fn error_without_debug() -> Result<(), NoDebug> {
    //~^ `NoDebug` doesn't implement `Debug`
    Ok(())
}
