//! The function under `#[uml_test]`, and what each of its attributes is for.
//!
//! Decides nothing: what is accepted is `validate`'s business.

use proc_macro2::{Group, TokenStream};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Path, Result, Signature, Visibility};

/// A function whose body stays a heap of tokens: nothing here looks inside it.
pub(crate) struct TestFn {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl Parse for TestFn {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let place = input.span();
        let not_a_function = |_| {
            Error::new(
                place,
                "`#[uml_test]` goes on a function with a body: `#[uml_test] fn name() { … }`",
            )
        };
        let vis = input.parse().map_err(not_a_function)?;
        let sig = input.parse().map_err(not_a_function)?;
        let body = input.parse().map_err(not_a_function)?;
        if !input.is_empty() {
            return Err(not_a_function(input.error("")));
        }
        Ok(Self { attrs, vis, sig, body })
    }
}

impl ToTokens for TestFn {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, vis, sig, body } = self;
        tokens.extend(quote::quote!(#(#attrs)* #vis #sig #body));
    }
}

/// What an attribute means to this macro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The builtin `#[test]`, or the path under which other macros emit it.
    Test,
    /// `#[tokio::test]`.
    TokioTest,
    /// `#[rstest]`.
    Rstest,
    /// `#[ignore]`.
    Ignore,
    /// `#[should_panic]`.
    ShouldPanic,
    /// `#[uml_test]` itself.
    UmlTest,
    /// An attribute of another test framework, which would register the function elsewhere.
    ForeignTest,
    /// `#[cfg]` and lint levels: belongs on everything that the macro emits.
    Everywhere,
    /// Anything else: belongs to the body.
    Body,
}

/// Attributes that register a test or call the function with arguments of their own.
const FOREIGN: [&str; 17] = [
    "apply",
    "bench",
    "dir_test",
    "fixture",
    "gtest",
    "kunit_tests",
    "parameterized",
    "property_test",
    "proptest",
    "quickcheck",
    "template",
    "test_case",
    "test_case_impl",
    "test_each",
    "test_matrix",
    "test_resources",
    "wasm_bindgen_test",
];

/// What an attribute with this path is for.
pub(crate) fn role(path: &Path) -> Role {
    let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["test"] | ["core" | "std", "prelude", _, "test"] => Role::Test,
        ["ignore"] => Role::Ignore,
        ["should_panic"] => Role::ShouldPanic,
        ["cfg" | "allow" | "warn" | "deny" | "forbid" | "expect"] => Role::Everywhere,
        [.., "tokio", "test"] => Role::TokioTest,
        [.., "rstest"] => Role::Rstest,
        [.., "uml_test"] => Role::UmlTest,
        [.., "test"] => Role::ForeignTest,
        [.., last] if FOREIGN.contains(last) => Role::ForeignTest,
        _ => Role::Body,
    }
}

/// A path as users write it, for messages.
pub(crate) fn display(path: &Path) -> String {
    path.to_token_stream().to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    #[test]
    fn roles_follow_the_path() {
        for (path, expected) in [
            (quote!(test), Role::Test),
            (quote!(::core::prelude::v1::test), Role::Test),
            (quote!(std::prelude::v1::test), Role::Test),
            (quote!(tokio::test), Role::TokioTest),
            (quote!(::tokio::test), Role::TokioTest),
            (quote!(rstest), Role::Rstest),
            (quote!(rstest::rstest), Role::Rstest),
            (quote!(uml_test::uml_test), Role::UmlTest),
            (quote!(async_std::test), Role::ForeignTest),
            (quote!(test_log::test), Role::ForeignTest),
            (quote!(wasm_bindgen_test), Role::ForeignTest),
            (quote!(test_case::test_case), Role::ForeignTest),
            (quote!(bench), Role::ForeignTest),
            (quote!(allow), Role::Everywhere),
            (quote!(track_caller), Role::Body),
            (quote!(tracing_test::traced_test), Role::Body),
        ] {
            assert_eq!(role(&syn::parse2(path.clone()).unwrap()), expected, "{path}");
        }
    }

    #[test]
    fn only_functions_with_a_body_are_parsed() {
        assert!(
            syn::parse2::<TestFn>(quote!(
                #[a]
                pub(crate) async fn f(x: u8) -> A<B> {}
            ))
            .is_ok()
        );
        for item in [
            quote!(
                struct S;
            ),
            quote!(
                fn f();
            ),
            quote!(
                mod m {}
            ),
            quote!(),
            quote!(
                fn f() {}
                fn g() {}
            ),
        ] {
            let message = syn::parse2::<TestFn>(item).err().unwrap().to_string();
            assert!(message.starts_with("`#[uml_test]` goes on a function"), "{message}");
        }
    }
}
