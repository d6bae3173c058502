//! End-to-end tests of the `cargo uml` command. They need the tools of a kernel build and a kernel to boot, but build
//! none.

mod completions;
mod doctor;
mod fixture;
mod foreign;
mod kernels;
mod matrix;
mod mirror;
mod release;
mod run;
mod setup;
mod trees;
