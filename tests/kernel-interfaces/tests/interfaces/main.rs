//! One program: tests of the kernel's corners, by topic.

mod devices;
mod filesystems;
mod memory;
mod netlink;
mod network;
mod processes;
mod sys;

/// A kernel that lacks an option has the tests that are gated by it ignored; this keeps the base kernel from that.
#[test]
fn no_test_is_for_other_kernels_than_the_base_one() {
    let base = include_str!("../../../../cargo-uml/kernel/base.config");
    let sources = [
        include_str!("devices.rs"),
        include_str!("filesystems.rs"),
        include_str!("memory.rs"),
        include_str!("network.rs"),
        include_str!("processes.rs"),
    ];
    let gates: Vec<&str> = sources
        .iter()
        .flat_map(|source| source.split('"'))
        .filter(|text| text.starts_with("CONFIG_"))
        .collect();
    assert!(gates.len() > 20, "{gates:?}");
    for gate in gates {
        let is_built_in = |line: &str| line.split_whitespace().next() == Some(&format!("{gate}=y"));
        assert!(base.lines().any(is_built_in), "{gate} is not in base.config");
    }
}
