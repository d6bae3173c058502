//! Every accepted form, in both attribute orders where there are two.
//!
//! None of the bodies is run by this package: it is about which tests are listed.

mod plain;
mod with_rstest;
mod with_tokio;

/// A function at the root of the cases, reached through `super`.
fn seven() -> u32 {
    7
}
