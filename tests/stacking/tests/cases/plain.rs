//! Without another test macro.

use std::fmt;

use uml_test::uml_test;

#[derive(Debug)]
struct Failed;

type Outcome<T = ()> = Result<T, Failed>;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

#[uml_test]
fn alone() {}

#[uml_test]
#[test]
fn test_below() {}

#[uml_test]
fn returns_a_result() -> Result<(), String> {
    "7".parse::<u32>().map(drop).map_err(|error| error.to_string())
}

#[uml_test]
fn returns_an_alias() -> Outcome {
    Ok(())
}

#[uml_test]
#[allow(clippy::unused_unit, reason = "it is what this case is about")]
fn returns_unit() -> () {}

#[uml_test]
fn paths_mean_the_same_as_outside() {
    use super::seven;
    assert_eq!(seven(), self::super::seven());
    assert_eq!(seven(), crate::cases::seven());
}

#[uml_test(
    timeout = "30s",
    mem = "256M",
    cmdline = "quiet loglevel=7",
    env(NAME = "value", OTHER = "x"),
    rw_dir = "tests/cases",
    rw_dir = "tests/refused"
)]
fn with_arguments() {
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert_eq!(std::env::var("NAME").as_deref(), Ok("value"));
    assert_eq!(std::env::var("OTHER").as_deref(), Ok("x"));
    let total = read("/proc/meminfo").split_whitespace().nth(1).unwrap().parse::<u32>().unwrap();
    assert!((200 << 10..256 << 10).contains(&total), "{total} KiB");
    assert!(read("/proc/cmdline").contains(" quiet loglevel=7"), "{}", read("/proc/cmdline"));
    for directory in ["tests/cases", "tests/refused"] {
        let mounted = format!("{}/{directory} hostfs rw", env!("CARGO_MANIFEST_DIR"));
        assert!(read("/proc/mounts").contains(&mounted), "{}", read("/proc/mounts"));
    }
}

// Without a reason, which is a form of its own.
#[uml_test]
#[ignore]
fn ignore_below() {}

#[ignore]
#[uml_test]
fn ignore_above() {}

#[uml_test]
#[ignore = "why"]
fn reason_below() {}

#[ignore = "why"]
#[uml_test]
fn reason_above() {}

#[uml_test]
#[should_panic]
fn should_panic_below() {
    panic!("as it should")
}

#[should_panic]
#[uml_test]
fn should_panic_above() {
    panic!("as it should")
}

#[uml_test]
#[should_panic(expected = "should")]
fn expected_below() {
    panic!("as it should")
}

#[should_panic(expected = "should")]
#[uml_test]
fn expected_above() {
    panic!("as it should")
}

#[ignore = "why"]
#[uml_test(mem = "64M")]
#[should_panic(expected = "should")]
fn around() {
    panic!("as it should")
}

#[uml_test]
#[cfg(any())]
fn configured_out_below() {}

#[cfg(any())]
#[uml_test]
fn configured_out_above() {}

#[cfg_attr(all(), uml_test)]
#[cfg_attr(all(), ignore = "configured")]
fn configured_in() {}

#[uml_test]
fn r#type() {}

#[uml_test]
fn r#unneeded_prefix() {}

#[uml_test]
#[expect(non_snake_case, reason = "the lint has to reach every item that is generated")]
fn CamelCase() {}

#[uml_test]
#[expect(unused_variables, reason = "met in the body, not in the test item")]
fn lints_of_the_body() {
    let unused = 1;
}

/// Documented.
#[uml_test]
#[track_caller]
pub(crate) fn other_attributes_and_visibility() {}

macro_rules! made_by_a_macro {
    ($name:ident) => {
        #[uml_test]
        fn $name() {}
    };
}

made_by_a_macro!(from_a_macro);
made_by_a_macro!(from_a_macro_again);

mod nested {
    mod twice {
        #[uml_test::uml_test]
        fn in_modules() -> Result<(), super::super::Failed> {
            Ok(())
        }
    }
}
