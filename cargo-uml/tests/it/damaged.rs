//! Kernels in the cache that are damaged: they are told, removed by name, and never replaced by others.

use std::fs;
use std::path::PathBuf;

use crate::fixture::{Fixture, run};

#[test]
fn a_damaged_kernel_is_removed_as_any_other() {
    let fixture = Fixture::new();
    let linux = fixture.build(&["--flavour", "smp"]);
    fixture.build(&["--flavour", "smp", "--name", "other"]);
    let id = linux.parent().unwrap().file_name().unwrap().to_str().unwrap();
    fs::remove_file(linux.with_file_name("kernel.toml")).unwrap();
    let remove = format!("`cargo uml kernel remove {id}` removes it");
    run(&mut fixture.uml(&["kernel", "path", id])).fails(
        1,
        &["the kernel 7.2/smp is damaged", &remove, "`cargo uml kernel build 7.2 --flavour smp`"],
    );
    run(&mut fixture.uml(&["kernel", "remove", "other", "7.2/smp"])).succeeds();
    assert_eq!(fixture.kernels(), [] as [PathBuf; 0]);
    assert_eq!(fs::read_dir(fixture.cache().join("names")).unwrap().count(), 0);
}
