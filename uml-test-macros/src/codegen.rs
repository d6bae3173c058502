//! The code that replaces the function.
//!
//! A case becomes a registered `static` with the body inside, and a `#[test]` item that refers to
//! the static. With `harness = false` rustc drops the `#[test]` item whole, so nothing may refer
//! to that. Everything is under `#[cfg(test)]`: a build of the crate itself keeps nothing.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::{Attribute, Meta, ReturnType};

use crate::args::{Args, MOVED};
use crate::dropped::Dropped;
use crate::function::TestFn;
use crate::validate::{Case, Plan};

/// The code for `plan`; `tokens` are the attribute's arguments as written.
pub(crate) fn generate(plan: Plan, args: &Args, tokens: TokenStream) -> TokenStream {
    match plan {
        Plan::MoveBelow(function) => move_below(&function, tokens),
        Plan::Case(case) => register(&case, args),
    }
}

/// The main function of a custom harness, or what stands against it.
pub(crate) fn main(input: TokenStream, dropped: &[Dropped]) -> TokenStream {
    let errors = dropped.iter().map(|Dropped { file, attribute, function }| {
        let file = file.display();
        let message = format!(
            "{file}: the `#[{attribute}]` above `#[uml_test]` makes rustc drop `{function}` here, \
             where `harness = false`; remove it: `#[uml_test]` registers the test itself"
        );
        syn::Error::new(Span::call_site(), message).into_compile_error()
    });
    quote! {
        #(#errors)*
        ::uml_test::__main! { #input }
    }
}

fn move_below(TestFn { attrs, vis, sig, body }: &TestFn, mut args: TokenStream) -> TokenStream {
    let comma = args.clone().into_iter().last().is_some_and(|last| last.to_string() != ",");
    args.extend(comma.then(|| quote!(,)));
    let moved = format_ident!("{MOVED}");
    quote! {
        #[cfg(test)]
        #(#attrs)*
        #[::uml_test::uml_test(#args #moved)]
        #vis #sig #body
    }
}

fn register(case: &Case, args: &Args) -> TokenStream {
    let Case { function: TestFn { vis, sig, body, .. }, everywhere, body: body_attrs, .. } = case;
    let name = &sig.ident;
    let function = listed_name(name);
    let private = quote!(::uml_test::__private);
    let output = match &sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, output) => output.to_token_stream(),
    };
    let settings = settings(case, args);
    let static_name = format_ident!("__UML_TEST_CASE_{}", name.unraw().to_string());
    // At the name, so that `line!()` is the line of the name.
    let place = quote_spanned!(name.span()=> ::core::file!(), ::core::line!());
    let test_attrs = everywhere.iter().map(expectations_to_allowances);
    let ignore = match &case.ignore {
        Some(ignore) => ignore.attribute.to_token_stream(),
        None => quote! {
            #[cfg_attr(
                not(all(target_os = "linux", target_arch = "x86_64")),
                ignore = "uml-test runs on x86-64 Linux only"
            )]
        },
    };
    let should_panic = case.should_panic.as_ref().map(|should_panic| &should_panic.attribute);
    quote! {
        #[cfg(test)]
        #(#everywhere)*
        #[#private::linkme::distributed_slice(#private::CASES)]
        #[linkme(crate = #private::linkme)]
        #[allow(non_upper_case_globals)]
        static #static_name: #private::TestCase = {
            #(#body_attrs)*
            #sig #body
            #private::TestCase::new(
                ::core::module_path!(),
                #function,
                #place,
                ::core::env!("CARGO_MANIFEST_DIR"),
                || <#output as #private::TestReturn>::into_result(#name()),
            )
            #settings
        };

        #[cfg(test)]
        #[::core::prelude::v1::test]
        #(#test_attrs)*
        #ignore
        #should_panic
        #vis fn #name() -> #output {
            #private::run_under_libtest::<#output>(&#static_name)
        }
    }
}

/// Calls of the builder methods, each at the place of its value: a refusal by `TestCase` is a
/// compile error there.
fn settings(case: &Case, args: &Args) -> TokenStream {
    let mut calls = TokenStream::new();
    if let Some(ignore) = &case.ignore {
        let why = ignore.why.as_ref().map_or_else(|| quote!(""), |why| why.to_token_stream());
        calls.extend(quote!(.ignored(#why)));
    }
    if let Some(should_panic) = &case.should_panic {
        let expectation = match &should_panic.expected {
            Some(text) => quote!(Containing(#text)),
            None => quote!(Any),
        };
        calls.extend(quote!(.should_panic(::uml_test::__private::ShouldPanic::#expectation)));
    }
    if let Some(text) = &args.timeout {
        calls.extend(quote_spanned!(text.span()=> .timeout(#text)));
    }
    if let Some(text) = &args.mem {
        calls.extend(quote_spanned!(text.span()=> .mem(#text)));
    }
    if let Some(text) = &args.cmdline {
        calls.extend(quote_spanned!(text.span()=> .cmdline(#text)));
    }
    if !args.env.is_empty() {
        let variables = args.env.iter().map(|(name, value)| quote!((#name, #value)));
        calls.extend(quote!(.env(&[#(#variables),*])));
    }
    if !args.rw_dirs.is_empty() {
        let directories = &args.rw_dirs;
        calls.extend(quote!(.rw_dirs(&[#(#directories),*])));
    }
    if let Some(text) = &args.kernel {
        calls.extend(quote_spanned!(text.span()=> .kernel(#text)));
    }
    if let Some(first) = args.config.first() {
        let options = &args.config;
        calls.extend(quote_spanned!(first.span()=> .config(&[#(#options),*])));
    }
    calls
}

/// The name as libtest lists it: `r#` only where the language needs it.
fn listed_name(name: &Ident) -> String {
    let plain = name.unraw().to_string();
    if syn::parse_str::<Ident>(&plain).is_ok() { plain } else { name.to_string() }
}

/// `#[expect]` is met in the body; on the test item it would be reported as unmet.
fn expectations_to_allowances(attribute: &Attribute) -> TokenStream {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("expect") => {
            let lints = &list.tokens;
            quote!(#[allow(#lints)])
        }
        Meta::Path(_) | Meta::List(_) | Meta::NameValue(_) => attribute.to_token_stream(),
    }
}

#[cfg(test)]
mod tests;
