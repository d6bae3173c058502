//! Attempts on the rest of the host by guest root, through a hostfs of `/`: other guests, the
//! host's /proc, its devices. Without a sandbox they harm nothing that the test did not make for them.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use uml_test::Sandbox;

use crate::attempt::Effect::{Everywhere, ForRoot, HostDependent, KernelOnly};
use crate::attempt::{Attempt, Place};
use crate::host::Host;

/// What is attacked, and where the guest has the host's `/`.
pub(crate) struct Through {
    pub(crate) root: PathBuf,
    pub(crate) host: Host,
}

const RUN_DIR: &str = "change a sibling guest's run directory";
const MCONSOLE: &str = "take a sibling guest's mconsole away";
const OOM_SCORE: &str = "oom_score_adj of the host's process";
const DEVICE: &str = "chmod of the host's device";
const TERMINAL: &str = "write to the host's terminal";

/// The table. A guest's memory file is missing: it has no name, and of a link such as /proc/PID/fd/3
/// hostfs passes on no more than the text.
pub(crate) const ATTEMPTS: &[Attempt<Through>] = &[
    Attempt {
        name: RUN_DIR,
        effect: Everywhere,
        run: |on| fs::write(on.path(&on.host.sibling_dir.join("new")), "x"),
    },
    Attempt {
        name: MCONSOLE,
        effect: Everywhere,
        run: |on| {
            let socket = on.path(&on.host.sibling_dir.join("u/mconsole"));
            fs::rename(&socket, socket.with_file_name("taken"))
        },
    },
    Attempt {
        name: "open a sibling guest's memory through /proc",
        effect: HostDependent,
        run: |on| on.open(&on.proc_of(on.host.sibling).join("mem")).map(drop),
    },
    Attempt {
        name: OOM_SCORE,
        effect: Everywhere,
        run: |on| on.open(&on.proc_of(on.host.victim).join("oom_score_adj"))?.write_all(b"500"),
    },
    Attempt {
        name: "open a sysctl of the host's",
        effect: ForRoot,
        run: |on| on.open("/proc/sys/kernel/hostname".as_ref()).map(drop),
    },
    Attempt {
        name: DEVICE,
        effect: ForRoot,
        run: |on| {
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(on.path(&on.host.device()), mode)
        },
    },
    // A node means the guest's own device of these numbers.
    Attempt {
        name: TERMINAL,
        effect: KernelOnly,
        run: |on| on.open(&on.host.terminal)?.write_all(b"x"),
    },
];

impl Through {
    /// The host's path as the guest has it.
    fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn proc_of(&self, pid: nix::unistd::Pid) -> PathBuf {
        PathBuf::from(format!("/proc/{pid}"))
    }

    /// For writing, and nothing else: it is neither made nor emptied.
    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.path(path))
    }
}

/// Adds to `wrong` every attempt that did not end as it must, by what it said and what the host saw.
pub(crate) fn judge(
    host: &Host,
    written_to_terminal: bool,
    results: &[(&str, &str)],
    sandbox: Sandbox,
    root: bool,
    wrong: &mut String,
) {
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", host.victim));
    let mode = host.device().metadata().map(|device| device.permissions().mode() & 0o777);
    let seen = [
        (RUN_DIR, host.sibling_dir.join("new").exists()),
        (MCONSOLE, !host.sibling_dir.join("u/mconsole").exists()),
        (OOM_SCORE, score.is_ok_and(|score| score == "500\n")),
        (DEVICE, mode.is_ok_and(|mode| mode == 0o777)),
        (TERMINAL, written_to_terminal),
    ];
    for one in ATTEMPTS {
        let Some((_, result)) = results.iter().find(|(name, _)| *name == one.name) else {
            let _ = writeln!(wrong, "{}: was not made", one.name);
            continue;
        };
        let real = one.effect.without_sandbox(Place::GuestRoot, root);
        let succeeds = match sandbox {
            Sandbox::Off => real,
            // What is not passed on to the host may well succeed in the guest.
            _ if real == Some(false) => None,
            _ => Some(false),
        };
        if succeeds.is_some_and(|succeeds| succeeds != (*result == "ok")) {
            let _ = writeln!(wrong, "{}: said {result} with {sandbox:?}", one.name);
        }
        let seen = seen.iter().find(|(name, _)| *name == one.name).map(|(_, seen)| *seen);
        let wanted = sandbox == Sandbox::Off && real == Some(true);
        if seen.is_some_and(|seen| seen != wanted) {
            let _ = writeln!(wrong, "{}: seen {seen:?} with {sandbox:?}, said {result}", one.name);
        }
    }
}
