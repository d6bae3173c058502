//! End-to-end tests of the `cargo uml` command. They need the tools of a kernel build, but build none.

mod fixture;
mod mirror;
mod setup;
