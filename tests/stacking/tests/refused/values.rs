//! Refused by the `const` constructor of a case. `//~` gives part of the error on its line.

use uml_test::uml_test;

#[uml_test(timeout = "30")] //~ `timeout` wants a whole number above zero with a unit
fn timeout_without_a_unit() {}

#[uml_test(mem = "lots")] //~ `mem` wants a whole number with a unit
fn mem_without_a_number() {}

#[uml_test(kernel = "6.7")] //~ `kernel` wants >=, >, <, <= or = and a version of two or three numbers
fn kernel_without_a_relation() {}

#[uml_test(kernel = ">=6")] //~ several separated by commas: ">=6.7", ">=6.1, <6.13"
fn kernel_with_one_number() {}

#[uml_test(kernel = ">=6.1 <6.13")] //~ `kernel` wants >=, >, <, <= or =
fn kernel_without_a_comma() {}

#[uml_test(config = ["BTRFS_FS"])] //~ `config` wants options as a kernel's .config has them: "CONFIG_BTRFS_FS"
fn option_without_its_prefix() {}

#[uml_test(config = ["CONFIG_BTRFS_FS", "CONFIG_HZ = 100"])] //~ `config` wants options
fn option_with_spaces() {}
