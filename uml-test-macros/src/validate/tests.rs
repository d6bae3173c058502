//! Plans and refusals, on token streams.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::*;

fn plan(item: TokenStream, args: TokenStream, above: &[&str], below: &[&str]) -> Result<Plan> {
    let paths = |texts: &[&str]| texts.iter().map(|text| syn::parse_str(text).unwrap()).collect();
    let around = Neighbours { above: paths(above), below: paths(below) };
    validate(&syn::parse2(args)?, syn::parse2(item)?, &around, Span::call_site())
}

fn case(item: TokenStream) -> Case {
    match plan(item, quote!(), &[], &[]).unwrap() {
        Plan::Case(case) => *case,
        Plan::MoveBelow(_) => panic!("not a case"),
    }
}

#[track_caller]
fn refused(item: TokenStream, above: &[&str], below: &[&str], start: &str) {
    let message = plan(item, quote!(), above, below).err().expect("must be refused").to_string();
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn attributes_are_sorted() {
    let case = case(quote! {
        /// Doc.
        #[test]
        #[allow(unused)]
        #[ignore = "why"]
        #[track_caller]
        #[should_panic(expected = "text",)]
        fn f() {}
    });
    let names = |attrs: &[Attribute]| {
        attrs.iter().map(|attr| display(attr.path())).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&case.everywhere), "allow");
    assert_eq!(names(&case.body), "doc track_caller");
    assert_eq!(names(&case.function.attrs), "");
    assert_eq!(case.ignore.unwrap().why.unwrap().value(), "why");
    assert_eq!(case.should_panic.unwrap().expected.unwrap().value(), "text");
}

#[test]
fn should_panic_has_three_forms() {
    let expected = |item| case(item).should_panic.unwrap().expected.map(|text| text.value());
    assert_eq!(
        expected(quote!(
            #[should_panic]
            fn f() {}
        )),
        None
    );
    assert_eq!(
        expected(quote!(
            #[should_panic = "x"]
            fn f() -> () {}
        )),
        Some("x".to_owned())
    );
    assert_eq!(
        expected(quote!(
            #[should_panic(expected = "x")]
            fn f() {}
        )),
        Some("x".to_owned())
    );
}

#[test]
fn other_test_macros_run_first() {
    for item in [
        quote!(
            #[rstest]
            #[case(1)]
            #[test]
            fn f(#[case] x: u8) {}
        ),
        quote!(
            #[tokio::test]
            #[test]
            async fn f() {}
        ),
        quote!(
            #[rstest::rstest]
            #[tokio::test(flavor = "x")]
            async fn f(x: impl Fn()) {}
        ),
    ] {
        match plan(item, quote!(), &[], &[]).unwrap() {
            Plan::MoveBelow(function) => {
                assert!(function.attrs.iter().all(|attr| role(attr.path()) != Role::Test));
            }
            Plan::Case(_) => panic!("should be moved"),
        }
    }
}

#[test]
fn a_test_attribute_above_is_refused() {
    refused(
        quote!(
            fn f() {}
        ),
        &["test"],
        &[],
        "the `#[test]` above",
    );
    refused(
        quote!(
            fn f() {}
        ),
        &["ignore", "test"],
        &[],
        "the `#[test]` above",
    );
    refused(
        quote!(
            #[test]
            fn f() {}
        ),
        &["rstest", "test"],
        &[],
        "the `#[test]` above",
    );
    refused(
        quote!(
            fn f() {}
        ),
        &["async_std::test"],
        &[],
        "`#[async_std::test]` can't be",
    );
}

#[test]
fn a_macro_that_ran_first_has_to_leave_its_test_attribute() {
    let registered = "the `#[rstest]` or `#[tokio::test]` beside";
    for above in ["rstest", "tokio::test"] {
        refused(
            quote!(
                fn f() {}
            ),
            &[above],
            &[],
            registered,
        );
        assert!(
            plan(
                quote!(
                    #[test]
                    fn f() {}
                ),
                quote!(),
                &[above],
                &[]
            )
            .is_ok()
        );
    }
    let moved: Ident = syn::parse_str(crate::args::MOVED).unwrap();
    assert!(
        plan(
            quote!(
                fn f() {}
            ),
            quote!(#moved),
            &[],
            &[]
        )
        .is_err()
    );
    let left = quote!(
        #[::core::prelude::v1::test]
        fn f() {}
    );
    assert!(plan(left, quote!(#moved), &[], &[]).is_ok());
}

#[test]
fn a_place_between_cases_is_refused() {
    let item = || {
        quote!(
            #[test]
            fn case_1() {}
        )
    };
    refused(item(), &["rstest"], &["case"], "`#[uml_test]` before a `#[case]`");
    refused(item(), &["rstest", "case"], &["case::named"], "`#[uml_test]` before a `#[case]`");
    assert!(plan(item(), quote!(), &["rstest", "case"], &["ignore"]).is_ok());
}

#[test]
fn signatures_are_plain() {
    refused(
        quote!(
            const fn f() {}
        ),
        &[],
        &[],
        "a `#[uml_test]` function is not `const`",
    );
    refused(
        quote!(
            unsafe fn f() {}
        ),
        &[],
        &[],
        "a `#[uml_test]` function is not `unsafe`",
    );
    refused(
        quote!(
            extern "C" fn f() {}
        ),
        &[],
        &[],
        "a `#[uml_test]` function is not `extern`",
    );
    refused(
        quote!(
            fn f(&self) {}
        ),
        &[],
        &[],
        "a `#[uml_test]` function is not a method",
    );
    refused(
        quote!(
            async fn f() {}
        ),
        &[],
        &[],
        "an async `#[uml_test]` function needs a runtime",
    );
    refused(
        quote!(
            fn f(x: u8) {}
        ),
        &[],
        &[],
        "a `#[uml_test]` function has parameters only with",
    );
    refused(
        quote!(
            fn f<T>() {}
        ),
        &[],
        &[],
        "a `#[uml_test]` function is not generic",
    );
}
