//! `#[uml_test]`: parse, validate, generate.
use proc_macro::TokenStream;

/// Runs a test function in a Linux kernel of its own.
#[proc_macro_attribute]
pub fn uml_test(_args: TokenStream, item: TokenStream) -> TokenStream {
    item
}
