use uml_test::uml_test;

#[uml_test]
struct NotAFunction;

#[uml_test]
mod not_a_function {}

trait Trait {
    #[uml_test]
    fn without_a_body();
}

struct Type;

impl Type {
    #[uml_test]
    fn method(&self) {}
}

fn main() {}
