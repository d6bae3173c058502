//! `/proc`, with a `cpuinfo` that `ps` can read.
//!
//! Up to procps 4.0.2, `ps -f`, `ps aux`, `vmstat` and `top` want a line `core id` of each processor. User Mode Linux
//! writes none.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::mount::MsFlags;
use uml_test_protocol::Failure;

use super::mounts::{NO_EXTRAS, STAGE, failed, mount, mount_made};

/// Mounts it below `root`.
pub(super) fn set_up(root: &Path) -> Result<(), Failure> {
    let proc = root.join("proc");
    // A user namespace gets a `/proc` of its own only where there is one with nothing mounted over its files. This one
    // is such, and out of reach: the next lies over it.
    mount_made("proc", &proc.join("tty"), NO_EXTRAS, None)?;
    mount_made("proc", &proc, NO_EXTRAS, None)?;
    let place = proc.join("cpuinfo");
    let text = read(&place)?;
    let file = Path::new(STAGE).join("cpuinfo");
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o444);
    options
        .open(&file)
        .and_then(|mut file| file.write_all(with_cores(&text).as_bytes()))
        .map_err(|error| failed("write", &file, &error))?;
    mount(file.as_os_str(), &place, "", MsFlags::MS_BIND, None)
}

/// The whole file. `fs::read_to_string` would ask for its size first, which no file in `/proc` has.
fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::with_capacity(16 << 10);
    File::open(path)
        .and_then(|file| file.take(u64::MAX).read_to_string(&mut text))
        .map_err(|error| failed("read", path, &error))?;
    Ok(text)
}

/// Each processor with a core of its own.
fn with_cores(cpuinfo: &str) -> String {
    let lines = cpuinfo.split_inclusive('\n');
    lines
        .map(|line| match line.strip_prefix("processor") {
            Some(number) => format!("{line}core id\t{number}"),
            None => line.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::with_cores;

    #[test]
    fn each_processor_is_a_core() {
        let text = "processor\t: 0\nmodel name\t: UML\nprocessor\t: 1\nbogomips\t: 1.00\n";
        let cores = "processor\t: 0\ncore id\t\t: 0\nmodel name\t: UML\n\
                     processor\t: 1\ncore id\t\t: 1\nbogomips\t: 1.00\n";
        assert_eq!(with_cores(text), cores);
    }
}
