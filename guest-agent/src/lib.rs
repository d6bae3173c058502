//! One static binary with two jobs, told apart by where it is started:
//!
//! - `guest`: PID 1 of a guest. Sets the guest up by system calls, runs processes on request,
//!   reports, powers off.
//! - `host`: supervisor of a kernel process on the host. Creates the run directory, applies
//!   limits and sandbox, boots, and cleans up whatever happens to the process that asked.
//!
//! uml-test's build script compiles this crate's source into that binary and embeds it; as a
//! library the crate exists to be found by it ([`SOURCE_DIR`]).

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod guest;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod host;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod wait;

/// Directory of this crate's manifest when it was compiled.
pub const SOURCE_DIR: &str = env!("CARGO_MANIFEST_DIR");

/// Directory of the protocol crate's manifest when it was compiled.
pub const PROTOCOL_SOURCE_DIR: &str = uml_test_protocol::SOURCE_DIR;

/// The binary's `main`.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub fn main() -> std::process::ExitCode {
    // A supervisor can be PID 1 too: the first process that a host's PID namespace gets.
    if host::is_asked_for(std::env::args_os().skip(1)) || std::process::id() != 1 {
        return host::run(std::env::args_os().skip(1));
    }
    guest::run()
}

/// The binary's `main` where there is nothing to boot.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
