//! The cases under libtest, Rust's default harness.

#![forbid(unsafe_code)]

mod cases;
