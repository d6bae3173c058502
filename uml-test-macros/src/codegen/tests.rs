//! The generated code, as text.

use super::*;
use crate::neighbours::Neighbours;
use crate::validate::validate;

fn generated(args: TokenStream, item: TokenStream) -> String {
    let parsed = syn::parse2::<Args>(args.clone()).unwrap();
    let item = syn::parse2(item).unwrap();
    let place = proc_macro2::Span::call_site();
    let plan = validate(&parsed, item, &Neighbours::default(), place).unwrap();
    generate(plan, &parsed, args).to_string()
}

fn text(tokens: TokenStream) -> String {
    tokens.to_string()
}

#[track_caller]
fn assert_contains(code: &str, tokens: TokenStream) {
    assert!(code.contains(&text(tokens.clone())), "{tokens}\nis not in\n{code}");
}

#[test]
fn a_plain_function_becomes_a_static_and_a_test_item() {
    let code = generated(
        quote!(),
        quote!(
            fn f() {
                body()
            }
        ),
    );
    let expected = quote! {
        #[cfg(test)]
        #[::uml_test::__private::linkme::distributed_slice(::uml_test::__private::CASES)]
        #[linkme(crate = ::uml_test::__private::linkme)]
        #[allow(non_upper_case_globals)]
        static __UML_TEST_CASE_f: ::uml_test::__private::TestCase = {
            fn f() { body() }
            ::uml_test::__private::TestCase::new(
                ::core::module_path!(),
                "f",
                ::core::file!(), ::core::line!(),
                ::core::env!("CARGO_MANIFEST_DIR"),
                || <() as ::uml_test::__private::TestReturn>::into_result(f()),
            )
        };

        #[cfg(test)]
        #[::core::prelude::v1::test]
        #[cfg_attr(
            not(all(target_os = "linux", target_arch = "x86_64")),
            ignore = "uml-test runs on x86-64 Linux only"
        )]
        fn f() -> () {
            ::uml_test::__private::run_under_libtest::<()>(&__UML_TEST_CASE_f)
        }
    };
    assert_eq!(code, text(expected));
}

#[test]
fn everything_asked_for_reaches_the_case() {
    let code = generated(
        quote!(
            rw_dir = "x",
            env(A = "b"),
            cmdline = "c",
            config = ["CONFIG_A", "CONFIG_B=m"],
            mem = "1G",
            timeout = "1s",
            kernel = ">=6.7",
            rw_dir = "y"
        ),
        quote!(
            #[ignore = "why"]
            #[should_panic(expected = "text")]
            fn f() {}
        ),
    );
    assert_contains(
        &code,
        quote! {
            .ignored("why")
            .should_panic(::uml_test::__private::ShouldPanic::Containing("text"))
            .timeout("1s")
            .mem("1G")
            .cmdline("c")
            .env(&[("A", "b")])
            .rw_dirs(&["x", "y"])
            .kernel(">=6.7")
            .config(&["CONFIG_A", "CONFIG_B=m"])
        },
    );
    assert_contains(
        &code,
        quote! {
            #[ignore = "why"]
            #[should_panic(expected = "text")]
            fn f()
        },
    );
    assert!(!code.contains("cfg_attr"), "one `#[ignore]` is enough: {code}");
}

#[test]
fn attributes_without_text_reach_the_case() {
    let code = generated(
        quote!(),
        quote!(
            #[ignore]
            #[should_panic]
            fn f() {}
        ),
    );
    assert_contains(
        &code,
        quote! {
            .ignored("")
            .should_panic(::uml_test::__private::ShouldPanic::Any)
        },
    );
}

#[test]
fn attributes_go_where_they_belong() {
    let code = generated(
        quote!(),
        quote! {
            #[expect(lint)]
            #[cfg(some)]
            #[track_caller]
            pub(super) fn f() -> Result<(), E> {}
        },
    );
    assert_contains(
        &code,
        quote! {
            #[cfg(test)]
            #[expect(lint)]
            #[cfg(some)]
            #[::uml_test::__private::linkme::distributed_slice(::uml_test::__private::CASES)]
        },
    );
    assert_contains(
        &code,
        quote!(
            #[track_caller]
            fn f() -> Result<(), E> {}
        ),
    );
    assert_contains(&code, quote!(#[::core::prelude::v1::test] #[allow(lint)] #[cfg(some)]));
    assert_contains(&code, quote!(pub(super) fn f() -> Result<(), E>));
}

#[test]
fn the_attribute_moves_below_other_test_macros() {
    let moved = format_ident!("{MOVED}");
    let item = quote!(
        #[rstest]
        #[case(1)]
        pub fn f(#[case] x: u8) {}
    );
    for (given, written) in [
        (quote!(), quote!(#moved)),
        (quote!(mem = "1G"), quote!(mem = "1G", #moved)),
        (quote!(mem = "1G",), quote!(mem = "1G", #moved)),
    ] {
        let expected = quote! {
            #[cfg(test)]
            #[rstest]
            #[case(1)]
            #[::uml_test::uml_test(#written)]
            pub fn f(#[case] x: u8) {}
        };
        assert_eq!(generated(given, item.clone()), text(expected));
    }
}

#[test]
fn names_are_those_that_libtest_lists() {
    for (written, listed) in [("plain", "plain"), ("r#plain", "plain"), ("r#type", "r#type")] {
        assert_eq!(listed_name(&syn::parse_str(written).unwrap()), listed);
    }
}
