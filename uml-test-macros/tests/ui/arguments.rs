use uml_test::uml_test;

#[uml_test(timeuot = "30s")]
fn unknown() {}

#[uml_test("30s")]
fn without_a_name() {}

#[uml_test(timeout)]
fn without_a_value() {}

#[uml_test(timeout = 30)]
fn number() {}

#[uml_test(mem("256M"))]
fn list() {}

#[uml_test(mem = b"256M")]
fn bytes() {}

#[uml_test(cmdline = concat!("a", "b"))]
fn expression() {}

#[uml_test(env = "A=b")]
fn env_as_text() {}

#[uml_test(env())]
fn env_of_nothing() {}

#[uml_test(env(A = 1))]
fn env_number() {}

#[uml_test(timeout = "30s", mem = "1G", timeout = "1m")]
fn twice() {}

#[uml_test(env(A = "1", A = "2"))]
fn variable_twice() {}

#[uml_test(rw_dir = "x", rw_dir = "x")]
fn directory_twice() {}

#[uml_test(kernel = 6.7)]
fn version_as_a_number() {}

#[uml_test(kernel(">=6.7"))]
fn version_in_parentheses() {}

#[uml_test(kernel = ">=6.7", kernel = "<6.9")]
fn version_twice() {}

#[uml_test(config = "CONFIG_BTRFS_FS")]
fn option_without_a_list() {}

#[uml_test(config = [])]
fn no_option() {}

#[uml_test(config = [CONFIG_BTRFS_FS])]
fn option_without_quotes() {}

#[uml_test(config = ["CONFIG_A", "CONFIG_A"])]
fn option_twice() {}

#[uml_test(timeout = "30s" mem = "1G")]
fn no_comma() {}

fn main() {}
