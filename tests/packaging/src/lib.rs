//! See `tests/packaging.rs`.
