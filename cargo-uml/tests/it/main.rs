//! End-to-end tests of the `cargo uml` command. They need the tools of a kernel build and a kernel to boot, but build
//! none.

mod broken_output;
mod cargo;
mod completions;
mod config;
mod damaged;
mod doctor;
mod evidence;
mod fixture;
mod foreign;
mod isolate;
mod kernels;
mod killed;
mod matrix;
mod merged_doctests;
mod mirror;
mod names;
mod nonblocking;
mod package;
mod places;
mod progress;
mod release;
mod run;
mod setup;
mod shell;
mod trees;
