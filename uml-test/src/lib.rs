//! Tests as root, each in a Linux kernel of its own: without root on the host, without KVM,
//! without a container. The kernel is [User Mode Linux][uml], an ordinary process that boots in
//! less than 20 ms.
//!
//! ```
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
//! `cargo uml setup` (package `cargo-uml`) provides the kernel once, then `cargo test` is all.
//! The same source works with Rust's default harness (unit tests in a library, no change of
//! Cargo.toml), with `harness = false` and [`main!`], and with cargo nextest over either.
//! [`uml_test`](macro@uml_test) has the attribute's arguments and what it can be stacked with;
//! [`Vm`] is the same machinery for tests that drive a guest themselves.
//!
//! [uml]: https://docs.kernel.org/virt/uml/user_mode_linux_howto_v2.html
//!
//! # What the test sees
//!
//! The body runs in a process of its own, the same executable, in a fresh guest:
//!
//! - It is root with all capabilities, in a session of its own, with the host's environment (and
//!   the sbin directories on `PATH`) and working directory. Its standard input is empty. Its umask and its
//!   limits of open files (1,048,576 at most), of the stack, of core files and of CPU time are those of the process
//!   on the host; its other limits are the guest's own.
//! - `/` is the host's filesystem: tools, libraries, fixtures and sources are where they are on
//!   the host, as far as the host's user may read them. **What the test writes goes to memory and
//!   is gone with the guest.** Only the directories given as `rw_dir` are the host's own, without
//!   changes of mode, owner, times or extended attributes, which the sandbox refuses (but for setting a
//!   file's times to the present, as `touch` does: that succeeds and changes nothing).
//! - A process that crashes leaves a core file in its working directory, if its limit allows one. In an
//!   `rw_dir` it is empty unless the host's user is root, as a core file has to be its process's own.
//! - Files belong to their owners on the host, and root is not one of them: git calls an ordinary user's
//!   repository one of "dubious ownership", unless it is told whose it may be (`SUDO_UID`).
//! - Memory is reserved without looking at how much there is (`vm.overcommit_memory` is 1). What uses more
//!   than the guest has is killed, and the failure says so.
//! - `/tmp`, `/run` and `/dev/shm` are fresh tmpfs; what cargo needs below them (the executable,
//!   the working, package, workspace and target directories, links by way of which they are named) is still there, and
//!   so are the directories of `PATH` (of `X/bin` all of `X`) and what `HOME`, `TMPDIR`, `XDG_RUNTIME_DIR` and
//!   `/etc/resolv.conf` lead to. /proc, /sys, /dev, cgroup2, securityfs, debugfs, configfs, mqueue, bpf
//!   and, where the kernel has it, tracefs are the guest's own.
//! - `/` is an overlayfs, which cannot be the upper layer of another one: a test of overlayfs puts
//!   its upper directory on a tmpfs of its own.
//! - A cached kernel with a `modules` directory beside it has that as `/lib/modules`: `modprobe`
//!   works, and so does the kernel's own loading of modules, if the host has `/sbin/modprobe`
//!   (package kmod).
//! - `lo` is up and the only interface: no internet, nothing of the host's `localhost`. The hostname is
//!   `uml-test`, and the clock starts as the host's (a kernel of your own with `CONFIG_RTC_HCTOSYS` and a
//!   clock device sets it by that instead). As an init system does, every controller of cgroup2 is
//!   enabled below the root group, ping sockets (`net.ipv4.ping_group_range`) and /dev/fuse,
//!   /dev/net/tun and /dev/vsock are everybody's.
//!
//! # Verdicts
//!
//! A test passes when its process says so over a channel that the host checks, and then exits
//! well; silence is never success. [`Outcome`] lists all that can become of a test. A failure's text
//! has the reason first, then the test's output (of more than 16 MiB the beginning and the end; under
//! libtest all of it comes before the reason, as libtest shows it), the last lines of the kernel's
//! console, and a directory (`target/uml-test/…`) where all of it is kept.
//!
//! # Gates
//!
//! `#[uml_test(kernel = ">=6.7", config = ["CONFIG_BTRFS_FS"])]` is for kernels of these versions
//! with this option; on others the test is ignored with the reason, and nothing boots. The version
//! and the configuration are those that the kernel's own file states. `UML_TEST_GATES=require`, in
//! a CI that provides the kernel, makes an unmet gate a failure.
//!
//! # What each way of running shows
//!
#![doc = include_str!("../docs/ways.md")]
//!
//! # Settings
//!
//! In `[workspace.metadata.uml-test]`, in `[package.metadata.uml-test]`, in the attribute, and in
//! variables; the later wins (kernel arguments, `env` and `rw_dir`s add up).
//!
#![doc = include_str!("../docs/settings.md")]
//!
//! A [`VmBuilder`] starts from the same: 128 MiB of memory, 8 s until the guest is set up, no kernel
//! arguments, no `rw_dir`, [`Traps::Auto`], [`Sandbox::Auto`], where nothing else is configured; a
//! cached kernel that needs more of the first two gets it. It has no limit of the guest's life but
//! the one that [`VmBuilder::timeout`] sets: the setting `timeout` is for the body of a `#[uml_test]`.
//!
//! # Several kernels
//!
//! `cargo uml matrix --kernel 6.1 --kernel 7.2/debug -- --package my-crate` runs `cargo test` (with
//! `--nextest`, `cargo nextest run`) once for each kernel and ends with one table: tests by kernels,
//! with the reasons of what failed or was ignored. It exits with 0 only if every test left a record
//! with every kernel and none failed. `--format json` has the same for programs.
//!
//! # The host
//!
//! `cargo uml doctor` checks a host for Landlock, seccomp and what else guests need, boots a guest,
//! and says what to do about what is amiss.
//!
//! The kernel process runs under [Landlock] and a seccomp filter: it can write its run directory
//! and the `rw_dir`s, and nothing else; it can connect to nothing and open no network socket, nor
//! signal other processes. So whatever root in the guest does, the host's files are as before. *Reading* is
//! not restricted: a test can read what the host's user can. On a host without Landlock guests run
//! all the same, and a line says so; `UML_TEST_SANDBOX=require` makes it an error. With `UML_TEST_TRAPS=ptrace` guest user
//! space is kept from the guest's kernel memory too, at half the speed.
//!
//! Some things are open on older hosts, to code that has taken over the kernel process itself:
//!
//! - before Landlock's ABI 6 (Linux 6.12), signalling other processes of the same user, and sending
//!   a datagram to an abstract socket;
//! - before ABI 9 (Linux 7.1), sending a datagram to a socket that has a path;
//! - where no file in memory can be made executable (before Linux 6.3, or with the sysctl
//!   `vm.memfd_noexec` at 2), giving the user's files the mode 0500, and no other.
//!
//! On every host such code can open devices and named pipes for reading, as far as the host's user
//! may (where that user is root, this alone starts a watchdog, `/dev/watchdog`; what it reads from a
//! pipe, the tokens of make's jobserver for one, nobody else gets), bind abstract names of sockets,
//! and use up what the user's limits allow.
//!
//! `UML_TEST_SANDBOX=require` is content with ABI 3 (Linux 6.2) and newer. Before that, truncating
//! is up to the seccomp filter, which refuses it by path in the `rw_dir`s too.
//!
//! When the test runner ends, even by SIGKILL, its guests end and their run directories go.
//!
//! # Limits
//!
//! - x86-64 Linux hosts. Elsewhere tests compile and are ignored.
//! - User space in a guest is slower: 8 to 14 µs a system call, about 20 µs a page fault.
//!   Computation runs at full speed.
//! - No kprobes, uprobes, perf events, BPF JIT, huge pages, NUMA, no hardware.
//! - One of the host's CPUs per guest; the processors of a kernel with `smp` share it.
//! - A child that a test leaves behind may lose output that it writes after the test's end.
//!
//! [Landlock]: https://docs.kernel.org/userspace-api/landlock.html

#![cfg_attr(
    not(supported_host),
    allow(dead_code, reason = "what only running tests need is not worth a cfg each")
)]

mod builder;
// Hidden: for the macros' output and for cargo-uml, which are pinned to this very version.
#[doc(hidden)]
pub mod case;
#[doc(hidden)]
pub mod config;
mod error;
#[doc(hidden)]
pub mod gates;
#[doc(hidden)]
pub mod kernel_name;
mod note;
// What of it users meet is exported below.
#[doc(hidden)]
pub mod outcome;
mod record;
mod registry;
#[doc(hidden)]
pub mod remedy;
mod stream;
mod usage;

#[cfg(supported_host)]
mod artifacts;
#[cfg(supported_host)]
mod cache;
#[cfg(supported_host)]
mod guest;
#[cfg(supported_host)]
mod harness;
#[cfg(supported_host)]
mod kernel_image;
#[cfg(supported_host)]
mod output;
#[cfg(supported_host)]
mod report;
#[cfg(supported_host)]
mod results;
#[cfg(supported_host)]
mod runner;
#[cfg(supported_host)]
mod vm;
#[cfg(not(supported_host))]
#[path = "unsupported.rs"]
mod vm;

pub use builder::VmBuilder;
pub use config::{Sandbox, Traps};
pub use error::{ConfigError, Error, GuestEnd, KernelError};
pub use outcome::{ChannelEnd, Infrastructure, KernelExit, Outcome, Phase, TestFailure};
#[doc(hidden)]
pub use record::Record;
pub use stream::OutputStream;
pub use uml_test_macros::{main, uml_test};
pub use uml_test_protocol::{Exit, Failure, OomKill, TerminalSettings, TerminalSize};
pub use usage::{ProgramEnd, Usage};
pub use vm::{Child, Command, Vm};
#[doc(hidden)]
pub use vm::{Host, Place};

/// Ends a `#[uml_test]` as skipped, with a reason in [`format!`]'s manner.
///
/// ```
/// use uml_test::{skip, uml_test};
///
/// fn mkfs() -> &'static str {
///     const MKFS: &str = "/usr/sbin/mkfs.ext4";
///     if !std::path::Path::new(MKFS).exists() {
///         skip!("this host has no {MKFS}");
///     }
///     MKFS
/// }
///
/// #[uml_test]
/// fn makes_a_filesystem() {
///     let version = std::process::Command::new(mkfs()).arg("-V").status().unwrap();
///     assert!(version.success());
/// }
/// ```
///
/// It unwinds out of the body, so destructors run; in another thread than the body's it ends that
/// thread only.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {
        $crate::__private::skip(::std::format!($($reason)+))
    };
}

/// Compiles what the README shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

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
pub mod __private {
    pub use crate::case::{ShouldPanic, TestCase, TestReturn};
    #[cfg(supported_host)]
    pub use crate::guest::skip;
    #[cfg(supported_host)]
    pub use crate::harness::{main, run_under_libtest};
    pub use crate::registry::CASES;
    #[cfg(not(supported_host))]
    pub use crate::vm::{main, run_under_libtest, skip};
    pub use linkme;
}
