//! The kernel's argument vector: a pure function of what is to be booted.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use uml_test_protocol::supervision::{AGENT, CONSOLE_FD, CONTROL_FD, ROOT_DIR};

use crate::config::{Config, Traps};

/// Loops per jiffy. Any plausible number serves; without one the kernel measures for 50 to 100 ms.
const LOOPS_PER_JIFFY: &str = "lpj=7000000";

/// Devices that built-in drivers would make at boot, nbd's alone in 147 ms. Network devices are made on
/// demand, ram disks by their nodes, null_blk's by configfs, zram's by `/sys/class/zram-control/hot_add`, nbd's by
/// netlink; or as many as these say if the user's arguments say otherwise. A fresh guest has `lo` alone, and the name
/// `dummy0` is free.
const NO_IDLE_DEVICES: [&str; 8] = [
    "nbd.nbds_max=0",
    "brd.rd_nr=0",
    "null_blk.nr_devices=0",
    "zram.num_devices=0",
    "dummy.numdummies=0",
    "bonding.max_bonds=0",
    "ifb.numifbs=0",
    "fb_tunnels=none", // gre0, sit0, tunl0 and so on, again in each network namespace
];

/// Name of the guest's directory for the kernel's management socket, below the run directory.
pub(super) const UMID: &str = "u";

/// Arguments for booting `kernel` in `run_dir`. Later ones win in the kernel, so the user's come
/// last.
pub(super) fn build(kernel: &Path, run_dir: &Path, config: &Config) -> Vec<OsString> {
    let text = |text: String| OsString::from(text);
    let mut argv = vec![kernel.as_os_str().to_owned()];
    argv.extend(["root=/dev/root", "rootfstype=hostfs", "ro"].map(OsString::from));
    // A path with a space needs quotes, which the kernel takes off.
    argv.push(joined(&[
        OsStr::new("rootflags=\""),
        run_dir.join(ROOT_DIR).as_os_str(),
        OsStr::new("\""),
    ]));
    argv.push(joined(&[OsStr::new("uml_dir="), run_dir.as_os_str()]));
    argv.push(text(format!("umid={UMID}")));
    argv.push(text(format!("init=/{AGENT}")));
    argv.push(text(format!("mem={}K", config.mem >> 10)));
    // All consoles and lines are nothing, but the console's output and the control channel.
    argv.push("con=null".into());
    argv.push(text(format!("con0=null,fd:{CONSOLE_FD}")));
    argv.push("ssl=null".into());
    argv.push(text(format!("ssl0=fd:{CONTROL_FD},fd:{CONTROL_FD}")));
    argv.extend(["quiet", LOOPS_PER_JIFFY].map(OsString::from));
    // A panic ends the process; a reboot ends it too, instead of starting the kernel again in it.
    argv.extend(["panic=-1", "noreboot"].map(OsString::from));
    argv.push(
        match config.traps {
            Traps::Auto => "seccomp=auto",
            Traps::Seccomp => "seccomp=on",
            Traps::Ptrace => "seccomp=off",
        }
        .into(),
    );
    argv.extend(NO_IDLE_DEVICES.map(OsString::from));
    argv.extend(config.cmdline.iter().map(OsString::from));
    argv
}

fn joined(parts: &[&OsStr]) -> OsString {
    parts.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(config: &Config) -> Vec<String> {
        build(Path::new("/k/linux"), Path::new("/dev/shm/r 1"), config)
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_default_line_has_what_uml_needs() {
        let line = line(&Config::default());
        assert_eq!(line[0], "/k/linux");
        for wanted in [
            "rootflags=\"/dev/shm/r 1/root\"",
            "uml_dir=/dev/shm/r 1",
            "init=/init",
            "mem=131072K",
            "con0=null,fd:4",
            "ssl0=fd:3,fd:3",
            "lpj=7000000",
            "seccomp=auto",
            "panic=-1",
            "noreboot",
        ] {
            assert!(line.iter().any(|argument| argument == wanted), "{wanted} not in {line:?}");
        }
    }

    #[test]
    fn settings_change_their_arguments_and_the_users_come_last() {
        let config = Config {
            mem: 1 << 30,
            traps: Traps::Ptrace,
            cmdline: vec!["loglevel=7".to_owned(), "foo".to_owned()],
            ..Config::default()
        };
        let line = line(&config);
        assert!(line.contains(&"mem=1048576K".to_owned()));
        assert!(line.contains(&"seccomp=off".to_owned()));
        assert_eq!(line[line.len() - 2..], ["loglevel=7", "foo"]);
    }
}
