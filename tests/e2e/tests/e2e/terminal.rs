//! A test runner on a real terminal, and somebody who types Ctrl-C.

use std::time::Duration;

use rexpect::session::spawn_command;

use crate::command::others_wait;
use crate::fixtures::Fixtures;
use crate::left::Base;
use crate::ways::{Wanted, Way};

/// How long a runner may take to start the test, in milliseconds.
const START: u64 = 20_000;

/// The terminal's signal ends the runner, and with it the guest.
pub(crate) fn interrupts(fixtures: &Fixtures) {
    let _rexpect = others_wait();
    for way in [Way::Libtest, Way::Custom] {
        let base = Base::new();
        let wanted = Wanted {
            only: Some("cases::host::waits_to_be_killed"),
            uncaptured: true,
            env: &[("E2E_WAIT", "30")],
            ..Wanted::default()
        };
        let (command, _) =
            way.command(fixtures, &base, &wanted).expect("only nextest may be missing");
        let mut terminal = spawn_command(command, Some(START)).unwrap();
        terminal.exp_string("waiting to be killed").unwrap();
        terminal.send_control('c').unwrap();
        std::thread::sleep(Duration::from_secs(1));
        base.assert_empty();
        // Its types are those of rexpect's own nix.
        let status = format!("{:?}", terminal.process().status());
        assert!(status.contains("Signaled") && status.contains("SIGINT"), "{status}");
    }
}
