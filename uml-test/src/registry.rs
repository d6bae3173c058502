//! All `#[uml_test]` functions of a binary.

use linkme::distributed_slice;

use crate::case::TestCase;

/// Filled by the macro's output at link time.
#[distributed_slice]
pub static CASES: [TestCase];

/// The cases by name.
///
/// # Errors
/// A name that two cases have: then neither can be asked for by name.
pub(crate) fn cases() -> Result<Vec<(String, &'static TestCase)>, DuplicateName> {
    by_name(&CASES)
}

fn by_name(cases: &'static [TestCase]) -> Result<Vec<(String, &'static TestCase)>, DuplicateName> {
    let mut named: Vec<_> = cases.iter().map(|case| (case.name(), case)).collect();
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    match named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(DuplicateName {
            name: pair[0].0.clone(),
            first: place(pair[0].1),
            second: place(pair[1].1),
        }),
        None => Ok(named),
    }
}

fn place(case: &TestCase) -> String {
    format!("{}:{}", case.file, case.line)
}

/// Two tests of one name.
#[derive(Debug, thiserror::Error)]
#[error("two tests are named `{name}`, at {first} and {second}: each needs a name of its own")]
pub(crate) struct DuplicateName {
    name: String,
    first: String,
    second: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Result<(), String> {
        Ok(())
    }

    const fn case(function: &'static str, line: u32) -> TestCase {
        TestCase::new("krate::module", function, "src/module.rs", line, "/", nothing)
    }

    #[test]
    fn cases_come_sorted_by_name() {
        static CASES: [TestCase; 2] = [case("b", 1), case("a", 2)];
        let names: Vec<_> = by_name(&CASES).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["module::a", "module::b"]);
    }

    #[test]
    fn a_name_that_occurs_twice_is_an_error_with_both_places() {
        static CASES: [TestCase; 2] = [case("a", 1), case("a", 2)];
        let message = by_name(&CASES).unwrap_err().to_string();
        assert!(
            message.contains("`module::a`, at src/module.rs:1 and src/module.rs:2"),
            "{message}"
        );
    }
}
