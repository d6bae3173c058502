//! The attributes written above `#[uml_test]`, read from the source file.
//!
//! The compiler runs attribute macros from the top down and takes each one off the item, so a
//! `#[test]` above `#[uml_test]` has already registered the function when this macro is called and
//! nothing in the item tells: same tokens, same spans, and its harness entry has a hygiene of its
//! own that no emitted item can collide with (rustc 1.95). Adding `#[test]` would list the test
//! twice, leaving it out would lose a test without one. So the source is looked at. It isn't found
//! for code that comes from a string or out of rust-analyzer, and a `#[test]` that a `macro_rules`
//! macro inserts from an argument doesn't show; those go unnoticed.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Attribute, Path};

use crate::function::{Role, role};

/// Where an attribute begins: line and byte column, both from 1, as `proc_macro::Span` counts.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Stands in the token stream where the attribute begins.
const MARK: &str = "__uml_test_attribute_begins_here";

/// How much text before the attribute is searched for the word `test` before the whole file is
/// split into tokens: more than any sane list of attributes and doc comments takes.
const NEARBY: usize = 8 << 10;

/// The paths of the attributes directly above the one at `place`, from the top down. Empty as well
/// when the text can't be read as Rust or `place` lies outside it.
pub(crate) fn attributes_above(text: &str, place: Place) -> Vec<Path> {
    // The compiler doesn't count a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Some(at) = offset(text, place) else { return Vec::new() };
    // Splitting a large file into tokens takes milliseconds, and most tests have nothing above.
    let mut nearby = at.saturating_sub(NEARBY);
    while !text.is_char_boundary(nearby) {
        nearby -= 1;
    }
    if !names_a_test_attribute(&text[nearby..at]) {
        return Vec::new();
    }
    let (before, after) = text.split_at(at);
    let before = match before.strip_prefix("#!") {
        // A shebang line is no token; `#![` opens an inner attribute.
        Some(rest) if !rest.trim_start().starts_with('[') => {
            rest.split_once('\n').map_or("", |(_, rest)| rest)
        }
        _ => before,
    };
    format!("{before} {MARK} {after}")
        .parse()
        .ok()
        .and_then(find)
        .unwrap_or_default()
        .iter()
        .map(|attr| attr.path().clone())
        .collect()
}

fn offset(text: &str, Place { line, column }: Place) -> Option<usize> {
    let above: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let at = above + column.checked_sub(1)?;
    text.is_char_boundary(at).then_some(at)
}

/// Whether an attribute that ends in `test` (`#[test]`, `#[tokio::test(…)]`, `#[rstest]`), or one
/// of the other frameworks' may be in this text.
fn names_a_test_attribute(text: &str) -> bool {
    text.match_indices("#[").any(|(start, _)| {
        let attribute = &text[start + 2..];
        let path = attribute.split([']', '(', '=']).next().unwrap_or_default();
        let path = path.replace(char::is_whitespace, "");
        syn::parse_str::<Path>(&path).is_ok_and(|path| {
            matches!(role(&path), Role::Test | Role::TokioTest | Role::Rstest | Role::ForeignTest)
        })
    })
}

/// The attributes before the mark, wherever in the tree it is.
fn find(tokens: TokenStream) -> Option<Vec<Attribute>> {
    let mut above = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident) if ident == MARK => {
                return Some(parse(above));
            }
            TokenTree::Punct(punct) if punct.as_char() == '#' => match tokens.peek() {
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
                    // `#[cfg_attr(…, uml_test)]`: the mark is inside the attribute.
                    if contains_mark(group.stream()) {
                        return Some(parse(above));
                    }
                    let group = tokens.next();
                    above.extend([Some(TokenTree::Punct(punct)), group].into_iter().flatten());
                }
                _ => above = TokenStream::new(),
            },
            TokenTree::Group(group) => {
                if let Some(found) = find(group.stream()) {
                    return Some(found);
                }
                above = TokenStream::new();
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {
                above = TokenStream::new();
            }
        }
    }
    None
}

fn contains_mark(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == MARK,
        TokenTree::Group(group) => contains_mark(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

fn parse(above: TokenStream) -> Vec<Attribute> {
    syn::parse::Parser::parse2(Attribute::parse_outer, above).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::display;

    /// The attributes above the first `#[uml_test` in the text.
    fn above(text: &str) -> Vec<String> {
        let at = text.find("#[uml_test").unwrap();
        let line = text[..at].matches('\n').count() + 1;
        let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
        attributes_above(text, Place { line, column }).iter().map(display).collect()
    }

    #[test]
    fn finds_what_stands_above() {
        assert_eq!(above("#[test]\n#[uml_test]\nfn f() {}"), ["test"]);
        assert_eq!(above("mod m { #[test] #[uml_test(mem = \"1G\")] fn f() {} }"), ["test"]);
        assert_eq!(
            above("#[ignore]\n#[tokio::test(a = 1)]\n\n// why\n#[uml_test]\nfn f() {}"),
            ["ignore", "tokio::test"],
        );
        assert_eq!(above("/// Says ü.\n#[test] /* ] */ #[uml_test]\nfn f() {}"), ["doc", "test"]);
    }

    #[test]
    fn what_belongs_to_others_is_left_out() {
        for text in [
            "#[uml_test]\nfn f() {}",
            "#[test]\nfn other() {}\n#[uml_test]\nfn f() {}",
            "#[test]\nfn other();\n#[uml_test]\nfn f() {}",
            "// #[test]\n#[uml_test]\nfn f() {}",
            "/* #[test] */ #[uml_test]\nfn f() {}",
            "#[cfg(test)]\nmod m {\n#[uml_test]\nfn f() {} }",
            "const S: &str = \"#[test]\";\n#[uml_test]\nfn f() {}",
        ] {
            assert_eq!(above(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn shebang_and_inner_attributes_do_no_harm() {
        assert_eq!(above("#!/usr/bin/x it's\n#[test]\n#[uml_test]\nfn f() {}"), ["test"]);
        assert_eq!(above("#![allow(x)]\n#[test]\n#[uml_test]\nfn f() {}"), ["test"]);
    }

    #[test]
    fn unreadable_text_and_wrong_places_find_nothing() {
        assert_eq!(above("}}} #[test]\n#[uml_test]\nfn f() {}"), [""; 0]);
        let place = |line, column| Place { line, column };
        for place in [place(0, 0), place(9, 9), place(1, 0), place(1, 3)] {
            assert!(attributes_above("#[ü]", place).is_empty());
        }
    }
}
