//! The name that every guest has.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use uml_test_protocol::Failure;

const NAME: &str = "uml-test";

/// Has the kernel know it.
pub(super) fn set() -> Result<(), Failure> {
    nix::unistd::sethostname(NAME)
        .map_err(|errno| Failure::new("set the hostname to", NAME, errno as i32))
}

/// Has it resolve: the files know the host's name only. To be called while all writes vanish.
pub(super) fn put_into_files() {
    // Where one of them is a link to nowhere, programs find no name; that is no reason to have no guest.
    let _ = write("/etc/hosts", File::options().append(true), &format!("\n127.0.1.1\t{NAME}\n"));
    let _ =
        write("/etc/hostname", File::options().write(true).truncate(true), &format!("{NAME}\n"));
}

fn write(path: &str, options: &mut std::fs::OpenOptions, text: &str) -> io::Result<()> {
    options.create(true).mode(0o644).open(path)?.write_all(text.as_bytes())
}
