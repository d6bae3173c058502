//! `#[uml_test]`: parse (`args`, `function`, `neighbours`), `validate`, `codegen`. No logic of its own
//! beyond that: how a test runs is the `uml-test` crate's business, through which this macro is
//! used.

mod args;
mod codegen;
mod function;
mod neighbours;
mod validate;

use proc_macro::TokenStream;

/// Runs a test function as root in a Linux kernel of its own.
#[proc_macro_attribute]
pub fn uml_test(args: TokenStream, item: TokenStream) -> TokenStream {
    expand(args.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn expand(
    args: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> syn::Result<proc_macro2::TokenStream> {
    let parsed_args = syn::parse2::<args::Args>(args.clone());
    let function = syn::parse2(item)?;
    let parsed_args = parsed_args?;
    let place = proc_macro2::Span::call_site();
    let plan = validate::validate(&parsed_args, function, &neighbours(), place)?;
    Ok(codegen::generate(plan, &parsed_args, args))
}

/// The attributes around the one being expanded; none when its source file can't be read.
fn neighbours() -> neighbours::Neighbours {
    let span = proc_macro::Span::call_site();
    let Some(text) = span.local_file().and_then(|path| std::fs::read_to_string(path).ok()) else {
        return neighbours::Neighbours::default();
    };
    neighbours::neighbours(&text, neighbours::Place { line: span.line(), column: span.column() })
}
