//! cargo uml
fn main() {}
