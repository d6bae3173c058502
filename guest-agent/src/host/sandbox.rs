//! What keeps a kernel process from changing its host: Landlock for everything that opens or
//! names, a seccomp filter for what Landlock has no rights for.
//!
//! A guest's root is the host's user: through hostfs it reaches whatever that user may write.
//! hostfs mounted read-only stops nobody, root can mount it again. So the host's kernel enforces
//! it. Reading stays allowed: libraries, tools and fixtures are the host's.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use nix::errno::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use uml_test_protocol::Failure;
use uml_test_protocol::supervision::{Boot, Protection, Sandbox};

use super::run_dir::RunDir;

/// The newest rules this file knows; older kernels get what they have.
const NEWEST: ABI = ABI::V7;

/// Before this version Landlock does not stop truncate(2), so the filter does.
const TRUNCATE_SINCE: i32 = 3;

/// System calls that change metadata, which Landlock does not cover. The last numbers are newer
/// than the libc crate's names: setxattrat, removexattrat (Linux 6.13), file_setattr (6.17).
const METADATA: &[libc::c_long] = &[
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_SETXATTRAT,
    SYS_REMOVEXATTRAT,
    SYS_FILE_SETATTR,
];
const SYS_FCHMODAT2: libc::c_long = 452;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_REMOVEXATTRAT: libc::c_long = 466;
const SYS_FILE_SETATTR: libc::c_long = 469;

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
    let filter = filter(abi).map_err(|error| {
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
    for path in granted {
        let access = if path.is_dir() { write } else { write & file };
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

fn filter(abi: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut denied: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        METADATA.iter().map(|number| (*number, Vec::new())).collect();
    if abi < TRUNCATE_SINCE {
        denied.insert(libc::SYS_truncate, Vec::new());
    }
    SeccompFilter::new(
        denied,
        SeccompAction::Allow,
        SeccompAction::Errno(Errno::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}
