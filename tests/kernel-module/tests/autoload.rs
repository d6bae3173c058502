//! What is a module in a kernel is loaded by its use: no test calls modprobe, the guest's kernel does.
//!
//! For a kernel with modules, such as the distribution's, on a host with kmod; README.md says how to run them.

use std::fs::{self, File};

use nix::mount::{MsFlags, mount};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use uml_test::uml_test;

fn is_loaded(module: &str) -> bool {
    let modules = fs::read_to_string("/proc/modules").unwrap();
    modules.lines().any(|line| line.split(' ').next() == Some(module))
}

/// Does what needs `module`, which is not there yet.
#[track_caller]
fn assert_loads<T, E: std::fmt::Display>(module: &str, using: impl FnOnce() -> Result<T, E>) {
    assert!(!is_loaded(module), "{module} is loaded already");
    let used = using();
    assert!(
        is_loaded(module),
        "{module} was not loaded (is /sbin/modprobe there, and {module} a module of this kernel?): {:?}",
        used.err().map(|error| error.to_string())
    );
    if let Err(error) = used {
        panic!("{module} is loaded, but its use failed: {error}");
    }
}

#[uml_test]
#[ignore = "needs a kernel with modules, and kmod on the host: see README.md"]
fn a_filesystem() {
    assert_loads("sunrpc", || {
        mount(Some("none"), "/mnt", Some("rpc_pipefs"), MsFlags::empty(), None::<&str>)
    });
}

#[uml_test]
#[ignore = "needs a kernel with modules, and kmod on the host: see README.md"]
fn a_socket() {
    assert_loads("can_raw", || {
        socket(AddressFamily::Can, SockType::Raw, SockFlag::empty(), SockProtocol::CanRaw)
    });
}

#[uml_test]
#[ignore = "needs a kernel with modules, and kmod on the host: see README.md"]
fn a_device() {
    assert_loads("loop", || File::open("/dev/loop-control"));
}
