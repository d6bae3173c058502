//! Tests as root, each in a Linux kernel of its own: without root on the host, without KVM,
//! without a container. The kernel is [User Mode Linux][uml], an ordinary process that boots in
//! about 15 ms.
//!
//! ```
//! # #[cfg(not(test))] fn main() {} // the attribute's output is for test builds
//! use uml_test::uml_test;
//!
//! #[uml_test]
//! fn mounts_a_tmpfs() -> Result<(), Box<dyn std::error::Error>> {
//!     let status = std::process::Command::new("mount")
//!         .args(["-t", "tmpfs", "none", "/mnt"])
//!         .status()?;
//!     assert!(status.success());
//!     Ok(())
//! }
//! ```
//!
//! [uml]: https://docs.kernel.org/virt/uml/user_mode_linux_howto_v2.html
//!
//! # Settings
#![doc = include_str!("../docs/settings.md")]

pub mod case;
pub mod config;
mod error;
pub mod outcome;

#[cfg(supported_host)]
mod artifacts;
#[cfg(supported_host)]
mod guest;
#[cfg(supported_host)]
mod harness;
#[cfg(supported_host)]
mod registry;
#[cfg(supported_host)]
mod report;
#[cfg(supported_host)]
mod runner;
#[cfg(supported_host)]
mod vm;

pub use config::{Sandbox, Traps};
pub use error::{ConfigError, Error, GuestEnd, KernelError};
pub use uml_test_macros::{main, uml_test};
#[cfg(supported_host)]
pub use vm::{Child, Command, Vm, VmBuilder};

/// Ends a `#[uml_test]` as skipped, with a reason in [`format!`]'s manner.
///
/// It unwinds out of the body, so destructors run; in another thread than the body's it ends that
/// thread only.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {
        $crate::__private::skip(::std::format!($($reason)+))
    };
}

/// What [`main!`] expands to once it has looked at the tests' source.
#[doc(hidden)]
#[macro_export]
macro_rules! __main {
    ($($input:tt)*) => {
        fn main() -> ::std::process::ExitCode {
            $crate::__private::main()
        }
    };
}

/// For the output of this crate's macros; not part of the API.
#[doc(hidden)]
#[cfg(supported_host)]
pub mod __private {
    pub use crate::case::{ShouldPanic, TestCase};
    pub use crate::harness::{TestReturn, main, run_under_libtest};
    pub use crate::registry::CASES;
    pub use linkme;

    /// The function behind `skip!`.
    pub fn skip(reason: String) -> ! {
        crate::guest::skip(reason)
    }
}
