//! A library with a `#[uml_test]` among its unit tests.

// The macro's output has to be acceptable here too.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests {
    use uml_test::uml_test;

    #[uml_test]
    fn in_a_library() {}

    #[test]
    fn an_ordinary_test() {}
}
