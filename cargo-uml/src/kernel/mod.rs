//! Kernels: where their source comes from, how they are built, where they are kept.

pub(crate) mod apt;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod identity;
pub(crate) mod metadata;
pub(crate) mod progress;
pub(crate) mod source;
pub(crate) mod tools;
pub(crate) mod unpack;
pub(crate) mod version;
