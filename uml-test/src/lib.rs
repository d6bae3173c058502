//! Runs tests in User Mode Linux.
pub mod case;

pub use uml_test_macros::uml_test;
