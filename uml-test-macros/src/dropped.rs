//! Finds the functions that vanish under `harness = false`.
//!
//! There rustc drops every `#[test]` function before any macro below the `#[test]` is called, so
//! the one that could complain about its place is never asked. `uml_test::main!()` is, and reads
//! the file that it stands in, with the files of that file's modules.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Expr, ExprLit, Lit, Meta};

use crate::function::{Role, display, role};
use crate::neighbours::{applied, bracketed};

/// A function with a test attribute above its `#[uml_test]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) file: PathBuf,
    /// The attribute above, without its arguments.
    pub(crate) attribute: String,
    pub(crate) function: String,
}

/// All such functions in `root`, the file of a crate's root, and below. Files that can't be read
/// are left to the compiler, which knows whether they matter.
pub(crate) fn dropped(root: &Path) -> Vec<Dropped> {
    let mut found = Vec::new();
    let directory = root.parent().unwrap_or(Path::new("")).to_owned();
    let mut files = vec![(root.to_owned(), directory)];
    while let Some((file, directory)) = files.pop() {
        let Some(tokens) = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()) else {
            continue;
        };
        let mut search = Search { file: &file, found: &mut found, files: &mut files };
        search.items(tokens, &directory, false);
    }
    found.sort_by(|a, b| (&a.file, &a.function).cmp(&(&b.file, &b.function)));
    found
}

/// The search of one file.
struct Search<'a> {
    file: &'a Path,
    found: &'a mut Vec<Dropped>,
    /// Files still to read, each with the directory of its modules.
    files: &'a mut Vec<(PathBuf, PathBuf)>,
}

impl Search<'_> {
    /// Looks at items whose modules are in `directory`; `inline` when inside `mod name { … }`.
    fn items(&mut self, tokens: TokenStream, directory: &Path, inline: bool) {
        let mut attributes: Vec<Meta> = Vec::new();
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let attribute = bracketed(&mut tokens).and_then(|a| syn::parse2(a).ok());
                    attributes.extend(attribute.into_iter().flat_map(applied));
                }
                TokenTree::Ident(keyword) if keyword == "fn" => {
                    if let Some(TokenTree::Ident(name)) = tokens.peek() {
                        self.function(&attributes, name.to_string());
                    }
                    attributes.clear();
                }
                TokenTree::Ident(keyword) if keyword == "mod" => {
                    let Some(TokenTree::Ident(name)) = tokens.next() else { continue };
                    let name = name.to_string();
                    let name = name.trim_start_matches("r#");
                    match tokens.next() {
                        Some(TokenTree::Group(items)) => {
                            self.items(items.stream(), &directory.join(name), true);
                        }
                        _ => self.module(&attributes, name, directory, inline),
                    }
                    attributes.clear();
                }
                TokenTree::Group(group) => {
                    // `pub(super)` and `extern "C"` are between attributes and item; blocks and
                    // macro calls may hold items.
                    self.items(group.stream(), directory, inline);
                    // The end of an item.
                    if group.delimiter() == Delimiter::Brace {
                        attributes.clear();
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => attributes.clear(),
                TokenTree::Punct(_) | TokenTree::Ident(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    fn function(&mut self, attributes: &[Meta], function: String) {
        let is_uml_test = |meta: &Meta| role(meta.path()) == Role::UmlTest;
        let Some(below) = attributes.iter().position(is_uml_test) else { return };
        let above = attributes[..below].iter().map(Meta::path);
        for path in above.filter(|path| matches!(role(path), Role::Test | Role::ForeignTest)) {
            self.found.push(Dropped {
                file: self.file.to_owned(),
                attribute: display(path),
                function: function.clone(),
            });
        }
    }

    /// Queues the file of `mod name;`.
    fn module(&mut self, attributes: &[Meta], name: &str, directory: &Path, inline: bool) {
        let file = attributes.iter().find_map(|attribute| match attribute {
            Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                Expr::Lit(ExprLit { lit: Lit::Str(file), .. }) => Some(file.value()),
                _ => None,
            },
            Meta::Path(_) | Meta::List(_) | Meta::NameValue(_) => None,
        });
        if let Some(file) = file {
            // Beside this file, except from inside an inline module.
            let beside = self.file.parent().unwrap_or(Path::new(""));
            let file = if inline { directory } else { beside }.join(file);
            let modules = file.parent().unwrap_or(Path::new("")).to_owned();
            self.files.push((file, modules));
        } else {
            let modules = directory.join(name);
            self.files.push((directory.join(format!("{name}.rs")), modules.clone()));
            self.files.push((modules.join("mod.rs"), modules));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of files that is removed at the end.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let directory =
                std::env::temp_dir().join(format!("uml-test-macros-{}-{name}", std::process::id()));
            for (file, text) in files {
                let file = directory.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Self(directory)
        }

        /// `file: attribute function` of everything found from `root.rs`.
        fn found(&self) -> Vec<String> {
            dropped(&self.0.join("root.rs"))
                .iter()
                .map(|Dropped { file, attribute, function }| {
                    let file = file.strip_prefix(&self.0).unwrap().display();
                    format!("{file}: {attribute} {function}")
                })
                .collect()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn finds_a_conditional_attribute() {
        let text = "#[cfg_attr(all(), test)]\n#[cfg_attr(all(), uml_test)]\nfn f() {}\n\
                    #[cfg_attr(test, allow(x))]\n#[uml_test]\nfn g() {}";
        assert_eq!(Files::new("conditional", &[("root.rs", text)]).found(), ["root.rs: test f"]);
    }

    #[test]
    fn only_test_attributes_above_count() {
        let text = "
            #[test] #[uml_test] fn above() {}
            #[async_std::test] #[allow(x)] #[uml_test::uml_test] pub(crate) async fn other() {}
            #[uml_test] #[test] fn below() {}
            #[tokio::test] #[uml_test] async fn tokio() {}
            #[rstest] #[case(1)] #[uml_test] fn cases(#[case] x: u8) {}
            #[test] fn ordinary() {} #[uml_test] fn alone() {}
            #[test] const X: u8 = 1; #[uml_test] fn after_a_constant() {}
            mod inline { #[test] #[uml_test] fn inside() {} }
            #[derive(X)] #[template(path = \"x\")] struct S { x: u8 } #[uml_test] fn after_a_struct() {}
        ";
        let files = Files::new("attributes", &[("root.rs", text)]);
        assert_eq!(
            files.found(),
            ["root.rs: test above", "root.rs: test inside", "root.rs: async_std::test other",]
        );
    }

    #[test]
    fn modules_are_followed() {
        let test = |name: &str| format!("#[test]\n#[uml_test]\nfn {name}() {{}}");
        let files = Files::new(
            "modules",
            &[
                ("root.rs", "mod a; mod b; #[path = \"far/c.rs\"] mod c; mod i { mod d; } mod no;"),
                ("a.rs", "mod deep;"),
                ("a/deep.rs", &test("in_deep")),
                ("b/mod.rs", "mod more;"),
                ("b/more.rs", &test("in_more")),
                ("far/c.rs", "mod e;"),
                ("far/e.rs", &test("in_e")),
                ("i/d.rs", &test("in_d")),
                ("not_a_module.rs", &test("elsewhere")),
            ],
        );
        assert_eq!(
            files.found(),
            [
                "a/deep.rs: test in_deep",
                "b/more.rs: test in_more",
                "far/e.rs: test in_e",
                "i/d.rs: test in_d",
            ]
        );
    }
}
