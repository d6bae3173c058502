//! What keeps a kernel process from changing its host: Landlock for everything that opens or
//! names, a seccomp filter for what Landlock has no rights for.
//!
//! A guest's root is the host's user: through hostfs it reaches whatever that user may write.
//! hostfs mounted read-only stops nobody, root can mount it again. So the host's kernel enforces
//! it. Reading stays allowed: libraries, tools and fixtures are the host's.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use nix::errno::Errno;
use seccompiler::BpfProgram;
use uml_test_protocol::Failure;
use uml_test_protocol::supervision::{Boot, Protection, Sandbox};

use super::filter::{self, TRUNCATE_SINCE};
use super::run_dir::RunDir;

/// The newest rules this file knows; older kernels get what they have.
const NEWEST: ABI = ABI::V10;

/// A sandbox that is ready to be entered.
pub(super) struct Prepared {
    ruleset: Option<landlock::RulesetCreated>,
    filter: Option<BpfProgram>,
    protection: Protection,
}

/// Whether a kernel may be started, and in what.
pub(super) enum Decision {
    Go(Prepared),
    Refuse(String),
}

/// Prepares what `boot` asks for and the host has.
pub(super) fn prepare(boot: &Boot, run_dir: &RunDir) -> Result<Decision, Failure> {
    if boot.sandbox == Sandbox::Off {
        let protection = Protection::default();
        return Ok(Decision::Go(Prepared { ruleset: None, filter: None, protection }));
    }
    let abi = landlock_abi();
    if boot.sandbox == Sandbox::Require && abi < TRUNCATE_SINCE {
        return Ok(Decision::Refuse(match abi {
            0 => "the host's kernel has no Landlock, or has it switched off".to_owned(),
            abi => format!("the host's Landlock has version {abi}, wanted is 3 or newer"),
        }));
    }
    let ruleset = match abi {
        0 => None,
        _ => Some(ruleset(boot, run_dir)?),
    };
    let disks = boot.argv.iter().any(|argument| argument.starts_with(b"ubd"));
    let filter = filter::filter(abi, disks).map_err(|error| {
        Failure::new(error.to_string(), "a seccomp filter", Errno::EINVAL as i32)
    })?;
    let protection = Protection { landlock_abi: abi, seccomp: true };
    Ok(Decision::Go(Prepared { ruleset, filter: Some(filter), protection }))
}

impl Prepared {
    pub(super) fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Confines the calling process, which must have one thread, and everything it starts.
    pub(super) fn enter(self) -> Result<(), Failure> {
        if let Some(ruleset) = self.ruleset {
            ruleset.restrict_self().map_err(|error| landlock_failure(&error))?;
        }
        if let Some(filter) = self.filter {
            seccompiler::apply_filter(&filter).map_err(|error| {
                Failure::new(error.to_string(), "the seccomp filter", Errno::last() as i32)
            })?;
        }
        Ok(())
    }
}

/// The version of the host's Landlock; 0 where it has none, or has it switched off.
#[expect(unsafe_code, reason = "the landlock crate keeps this query to itself")]
fn landlock_abi() -> i32 {
    const CREATE_RULESET_VERSION: u32 = 1;
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag the call reads no memory.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, CREATE_RULESET_VERSION)
    };
    abi.max(0) as i32
}

fn ruleset(boot: &Boot, run_dir: &RunDir) -> Result<landlock::RulesetCreated, Failure> {
    let write = AccessFs::from_write(NEWEST);
    let file = AccessFs::from_file(NEWEST);
    let create = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(write)?
            // No port is allowed: the kernel process has no business on the host's network.
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()
    };
    let mut ruleset = create().map_err(|error| landlock_failure(&error))?;
    let granted = [run_dir.path()]
        .into_iter()
        .chain(boot.writable.iter().map(|path| Path::new(OsStr::from_bytes(path))))
        .chain([Path::new("/dev/null")]);
    // A device's node is a way to the device: none is made, also where files may be.
    let below = write & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    for path in granted {
        let access = if path.is_dir() { below } else { write & file };
        let fd = PathFd::new(path).map_err(|error| {
            Failure::new(error.to_string(), path.as_os_str().as_bytes(), Errno::last() as i32)
        })?;
        ruleset = ruleset
            .add_rule(PathBeneath::new(fd, access))
            .map_err(|error| landlock_failure(&error))?;
    }
    Ok(ruleset)
}

fn landlock_failure(error: &RulesetError) -> Failure {
    Failure::new(error.to_string(), "the Landlock sandbox", Errno::last() as i32)
}
