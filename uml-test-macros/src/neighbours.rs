//! The attributes written around `#[uml_test]`, read from the source file.
//!
//! The compiler runs attribute macros from the top down and takes each one off the item. So a
//! `#[test]` above `#[uml_test]` has already registered the function when this macro is called and
//! nothing in the item tells: same tokens, same spans, and its harness entry has a hygiene of its
//! own that no emitted item can collide with (rustc 1.95). Adding `#[test]` would list the test
//! twice, leaving it out would lose a test without one. And `#[rstest]` takes what stands before a
//! `#[case]` as that case's own attribute, so a `#[uml_test]` there leaves the other cases on the
//! host.
//!
//! Hence the look at the source. There is none for code that comes from a string or inside
//! rust-analyzer, and an attribute that a `macro_rules` macro inserts from its arguments doesn't
//! show; those go unnoticed.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::{Meta, Path, Token};

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

/// The paths of the attributes that stand together with `#[uml_test]`.
#[derive(Default)]
pub(crate) struct Neighbours {
    /// Before it, from the top down.
    pub(crate) above: Vec<Path>,
    /// After it.
    pub(crate) below: Vec<Path>,
}

/// The neighbours of the attribute at `place`. None when no test attribute is above, when the text
/// can't be read as Rust, or when `place` lies outside it.
pub(crate) fn neighbours(text: &str, place: Place) -> Neighbours {
    // The compiler doesn't count a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Some(at) = offset(text, place) else { return Neighbours::default() };
    // Splitting a large file into tokens takes milliseconds, and most tests have nothing above.
    let mut nearby = at.saturating_sub(NEARBY);
    while !text.is_char_boundary(nearby) {
        nearby -= 1;
    }
    if !names_a_test_attribute(&text[nearby..at]) {
        return Neighbours::default();
    }
    let (before, after) = text.split_at(at);
    let before = match before.strip_prefix("#!") {
        // A shebang line is no token; `#![` opens an inner attribute.
        Some(rest) if !rest.trim_start().starts_with('[') => {
            rest.split_once('\n').map_or("", |(_, rest)| rest)
        }
        _ => before,
    };
    format!("{before} {MARK} {after}").parse().ok().and_then(find).unwrap_or_default()
}

fn offset(text: &str, Place { line, column }: Place) -> Option<usize> {
    let above: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let at = above + column.checked_sub(1)?;
    text.is_char_boundary(at).then_some(at)
}

/// Whether an attribute that ends in `test` (`#[test]`, `#[tokio::test(…)]`, `#[rstest]`), or one
/// of the other frameworks' may be in this text.
fn names_a_test_attribute(text: &str) -> bool {
    let path = |attribute: &str| {
        let path = attribute.split([']', '(', ')', '=']).next().unwrap_or_default();
        syn::parse_str::<Path>(&path.replace(char::is_whitespace, "")).ok()
    };
    let is_test = |path: Path| {
        matches!(role(&path), Role::Test | Role::TokioTest | Role::Rstest | Role::ForeignTest)
    };
    text.match_indices("#[").any(|(start, _)| {
        let attribute = &text[start + 2..];
        path(attribute).is_some_and(|outer| match outer.is_ident("cfg_attr") {
            true => {
                let inner = attribute.split(']').next().unwrap_or_default();
                inner.split(',').skip(1).filter_map(path).any(is_test)
            }
            false => is_test(outer),
        })
    })
}

/// The attributes around the mark, wherever in the tree it is.
fn find(tokens: TokenStream) -> Option<Neighbours> {
    let mut above = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let attribute = match token {
            TokenTree::Ident(ident) if ident == MARK => {
                attribute(&mut tokens);
                let below = std::iter::from_fn(|| attribute(&mut tokens));
                return Some(Neighbours { above: paths(above), below: paths(below) });
            }
            TokenTree::Punct(punct) if punct.as_char() == '#' => bracketed(&mut tokens),
            TokenTree::Group(group) => {
                let found = find(group.stream());
                if found.is_some() {
                    return found;
                }
                None
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => None,
        };
        match attribute {
            // `#[cfg_attr(…, uml_test)]`: the mark is inside the attribute.
            Some(attribute) if contains_mark(attribute.clone()) => {
                let below = std::iter::from_fn(|| self::attribute(&mut tokens));
                return Some(Neighbours { above: paths(above), below: paths(below) });
            }
            Some(attribute) => above.push(attribute),
            None => above.clear(),
        }
    }
    None
}

/// Tokens of which the next can be looked at.
pub(crate) type Tokens = std::iter::Peekable<proc_macro2::token_stream::IntoIter>;

/// Takes an attribute if one comes next; what its brackets hold.
fn attribute(tokens: &mut Tokens) -> Option<TokenStream> {
    tokens.next_if(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == '#'))?;
    bracketed(tokens)
}

/// What the brackets hold, if brackets come next.
pub(crate) fn bracketed(tokens: &mut Tokens) -> Option<TokenStream> {
    let is_bracketed = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Bracket,
        TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    };
    match tokens.next_if(is_bracketed) {
        Some(TokenTree::Group(group)) => Some(group.stream()),
        _ => None,
    }
}

fn paths(attributes: impl IntoIterator<Item = TokenStream>) -> Vec<Path> {
    let metas = attributes.into_iter().filter_map(|tokens| syn::parse2(tokens).ok());
    metas.flat_map(applied).map(|meta| meta.path().clone()).collect()
}

/// The attributes that `#[cfg_attr]` applies where its condition holds, which nothing here can tell;
/// any other attribute itself.
pub(crate) fn applied(meta: Meta) -> Vec<Meta> {
    let Meta::List(list) = &meta else { return vec![meta] };
    if !list.path.is_ident("cfg_attr") {
        return vec![meta];
    }
    let inner = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    inner.into_iter().flatten().skip(1).flat_map(applied).collect()
}

fn contains_mark(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == MARK,
        TokenTree::Group(group) => contains_mark(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::display;

    /// The attributes around the first `#[uml_test` in the text.
    fn around(text: &str) -> (Vec<String>, Vec<String>) {
        let at = text.find("#[uml_test").unwrap();
        let line = text[..at].matches('\n').count() + 1;
        let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
        let Neighbours { above, below } = neighbours(text, Place { line, column });
        (above.iter().map(display).collect(), below.iter().map(display).collect())
    }

    fn above(text: &str) -> Vec<String> {
        around(text).0
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
    fn finds_what_stands_below() {
        let cases = "#[rstest]\n#[a]\n#[uml_test]\n#[case(1)]\n#[case::two(2)]\nfn f() {}";
        assert_eq!(around(cases).1, ["case", "case::two"]);
        let none = "#[rstest]\n#[case(1)]\n#[uml_test]\nfn f() {}\n#[test]\nfn g() {}";
        assert_eq!(around(none), (vec!["rstest".to_owned(), "case".to_owned()], vec![]));
    }

    #[test]
    fn finds_itself_in_a_conditional_attribute() {
        let text = "#[test]\n#[cfg_attr(all(), uml_test)]\n#[below]\nfn f() {}";
        let Neighbours { above, below } = neighbours(text, Place { line: 2, column: 19 });
        assert_eq!(above.iter().map(display).collect::<Vec<_>>(), ["test"]);
        assert_eq!(below.iter().map(display).collect::<Vec<_>>(), ["below"]);
    }

    #[test]
    fn looks_into_conditional_attributes() {
        assert_eq!(above("#[cfg_attr(all(), test)]\n#[uml_test]\nfn f() {}"), ["test"]);
        let text =
            "#[cfg_attr(all(a, b), allow(x), cfg_attr(c, tokio::test(d)))]\n#[uml_test]\nfn f() {}";
        assert_eq!(above(text), ["allow", "tokio::test"]);
        assert_eq!(above("#[cfg_attr(test, allow(x))]\n#[uml_test]\nfn f() {}"), [""; 0]);
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
            assert!(neighbours("#[ü]", place).above.is_empty());
        }
    }
}
