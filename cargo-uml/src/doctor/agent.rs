//! The agent: its executable comes with uml-test, but the host has to let it be executed.

use uml_test::Host;

use super::finding::Finding;

const AGENT: &str = "agent";

/// Executes it as for a guest.
pub(crate) fn check(host: &Host) -> Finding {
    match host.agent() {
        Ok(from) => Finding::ok(AGENT, format!("can be executed, from {from}")),
        Err(error) => Finding::failed(
            AGENT,
            format!("{error:?}"),
            "allow programs to be executed from files in memory (`sysctl vm.memfd_noexec`, the policy of a security \
             module), or name a directory that is writable and not mounted noexec with UML_TEST_RUN_DIR",
        ),
    }
}
