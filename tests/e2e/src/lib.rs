//! Nothing: the checks are a test target.
