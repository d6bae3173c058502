//! The corners of the kernel's interface to programs that tests of system software need. `tests/interfaces/` has a test
//! for each, which uses it and looks at what comes of that.
//!
//! A kernel that lacks a corner has its test ignored. The base configuration may lack none.
