//! Whether the host's Landlock can keep guests from writing the host's files.
#![expect(unsafe_code, reason = "nothing safe gives Landlock's version and error")]

use std::ptr;

use nix::errno::Errno;
use uml_test::Sandbox;

use super::finding::Finding;

const CHECK: &str = "Landlock";

/// The version that `UML_TEST_SANDBOX=require` asks for.
const REQUIRED: i64 = 3;

/// What older versions leave open to code that has taken over a kernel process: up to which version, and what.
const GAPS: [(i64, &str); 2] = [
    (5, "signalling other processes of this user (closed by version 6, Linux 6.12)"),
    (8, "sending datagrams to sockets that have a path (closed by version 9, Linux 7.1)"),
];

pub(crate) fn check(wanted: Sandbox) -> Finding {
    const CREATE_RULESET_VERSION: u32 = 1;
    let nothing: *const libc::c_void = ptr::null();
    // SAFETY: with this flag the call reads no memory.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, CREATE_RULESET_VERSION)
    };
    finding(if version < 0 { Err(Errno::last()) } else { Ok(version) }, wanted)
}

fn finding(version: Result<i64, Errno>, wanted: Sandbox) -> Finding {
    let version = match version {
        Ok(version) => version,
        Err(errno) => {
            let remedy = match errno {
                Errno::EOPNOTSUPP => {
                    "switch it on: add `landlock` to the list in the host's boot argument `lsm=`"
                }
                Errno::ENOSYS => "use a host kernel from 5.13 on, with CONFIG_SECURITY_LANDLOCK",
                _ => "let the container or sandbox allow landlock_create_ruleset(2)",
            };
            let found =
                format!("none ({}): guest root can write what this user can write", errno.desc());
            return weigh(Finding::failed(CHECK, found, remedy), wanted);
        }
    };
    let gaps: Vec<&str> =
        GAPS.iter().filter(|(last, _)| version <= *last).map(|(_, gap)| *gap).collect();
    if version < REQUIRED {
        let found = format!(
            "version {version}: guests' writes are kept from the host's files, truncating by a seccomp filter only; \
             UML_TEST_SANDBOX=require wants version {REQUIRED}"
        );
        return weigh(Finding::failed(CHECK, found, "use a host kernel from 6.2 on"), wanted);
    }
    if gaps.is_empty() {
        return Finding::ok(
            CHECK,
            format!("version {version}: guests write nothing of the host's"),
        );
    }
    // Open only to code that breaks out of its guest's kernel, so no reason to warn.
    Finding::ok(
        CHECK,
        format!(
            "version {version}: guests write nothing of the host's; to code that breaks out of a guest it leaves open:\n{}",
            gaps.join("\n")
        ),
    )
}

/// Without a sandbox guests run all the same, unless it is required.
fn weigh(finding: Finding, wanted: Sandbox) -> Finding {
    match wanted {
        Sandbox::Require => finding,
        _ => finding.tolerated(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_judged() {
        let text = |version, wanted| serde_json::to_string(&finding(version, wanted)).unwrap();
        let state = |version, wanted, state: &str| {
            let text = text(version, wanted);
            assert!(text.contains(&format!(r#""state":"{state}""#)), "{text}");
            text
        };
        assert!(state(Err(Errno::ENOSYS), Sandbox::Auto, "warning").contains("5.13"));
        assert!(state(Err(Errno::EOPNOTSUPP), Sandbox::Require, "failed").contains("lsm="));
        state(Ok(2), Sandbox::Require, "failed");
        state(Ok(2), Sandbox::Auto, "warning");
        let three = state(Ok(3), Sandbox::Require, "ok");
        assert!(three.contains("signalling") && three.contains("datagrams"), "{three}");
        let eight = state(Ok(8), Sandbox::Auto, "ok");
        assert!(!eight.contains("signalling") && eight.contains("datagrams"), "{eight}");
        assert!(!state(Ok(9), Sandbox::Auto, "ok").contains("open"));
    }
}
