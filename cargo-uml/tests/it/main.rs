//! End-to-end tests of the `cargo uml` command. They need the tools of a kernel build, but build none.

mod doctor;
mod fixture;
mod matrix;
mod mirror;
mod setup;
