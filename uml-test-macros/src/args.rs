//! The arguments in `#[uml_test(…)]`: their names, literal types and repetitions.
//!
//! What the texts may say (`"30s"`, `"256M"`) is not decided here: the `const` builder of
//! `uml_test::case::TestCase`, which the generated code calls, refuses wrong ones at compile time.

use proc_macro2::Span;
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, Lit, LitStr, Result, Token};

/// The accepted form of every argument, for error messages.
const FORMS: [(&str, &str); 7] = [
    ("timeout", r#"timeout = "30s""#),
    ("mem", r#"mem = "256M""#),
    ("cmdline", r#"cmdline = "quiet loglevel=7""#),
    ("env", r#"env(NAME = "value")"#),
    ("rw_dir", r#"rw_dir = "path""#),
    ("kernel", r#"kernel = ">=6.7""#),
    ("config", r#"config = ["CONFIG_BTRFS_FS"]"#),
];

/// Marks an attribute that the macro wrote itself, below `#[rstest]` or `#[tokio::test]`, and so
/// is no argument for users.
pub(crate) const MOVED: &str = "__moved_below_test_macro";

/// The arguments as given, each with the place to blame.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) timeout: Option<LitStr>,
    pub(crate) mem: Option<LitStr>,
    pub(crate) cmdline: Option<LitStr>,
    pub(crate) env: Vec<(String, LitStr)>,
    pub(crate) rw_dirs: Vec<LitStr>,
    pub(crate) kernel: Option<LitStr>,
    pub(crate) config: Vec<LitStr>,
    /// [`MOVED`] is among them.
    pub(crate) moved: bool,
}

impl Parse for Args {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut args = Self::default();
        while !input.is_empty() {
            args.parse_one(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(args)
    }
}

impl Args {
    fn parse_one(&mut self, input: ParseStream<'_>) -> Result<()> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error(format!("expected an argument's name; {}", known())));
        }
        let name = input.call(Ident::parse_any)?;
        match name.to_string().as_str() {
            "timeout" => once(&mut self.timeout, &name, input),
            "mem" => once(&mut self.mem, &name, input),
            "cmdline" => once(&mut self.cmdline, &name, input),
            "rw_dir" => {
                let directory = text(&name, input)?;
                if self.rw_dirs.iter().any(|known| known.value() == directory.value()) {
                    let message = format!("`rw_dir = {:?}` is given twice", directory.value());
                    return Err(Error::new(directory.span(), message));
                }
                self.rw_dirs.push(directory);
                Ok(())
            }
            "env" => self.parse_env(&name, input),
            "kernel" => once(&mut self.kernel, &name, input),
            "config" => self.parse_config(&name, input),
            MOVED => {
                self.moved = true;
                Ok(())
            }
            other => {
                Err(Error::new(name.span(), format!("unknown argument `{other}`; {}", known())))
            }
        }
    }

    fn parse_config(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        if !self.config.is_empty() {
            return Err(twice(name));
        }
        if !input.peek(Token![=]) {
            return Err(wrong_form(name, name.span()));
        }
        input.parse::<Token![=]>()?;
        if !input.peek(syn::token::Bracket) {
            return Err(wrong_form(name, input.span()));
        }
        let options;
        syn::bracketed!(options in input);
        if options.is_empty() {
            return Err(wrong_form(name, name.span()));
        }
        while !options.is_empty() {
            let option = string(name, &options)?;
            if self.config.iter().any(|known| known.value() == option.value()) {
                let message = format!("the option {:?} is given twice", option.value());
                return Err(Error::new(option.span(), message));
            }
            self.config.push(option);
            if !options.is_empty() {
                options.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }

    fn parse_env(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        if !input.peek(syn::token::Paren) {
            return Err(wrong_form(name, name.span()));
        }
        let variables;
        syn::parenthesized!(variables in input);
        if variables.is_empty() {
            return Err(wrong_form(name, name.span()));
        }
        while !variables.is_empty() {
            if !variables.peek(Ident::peek_any) {
                return Err(wrong_form(name, variables.span()));
            }
            let variable = variables.call(Ident::parse_any)?.unraw();
            if !variables.peek(Token![=]) {
                return Err(wrong_form(name, variable.span()));
            }
            variables.parse::<Token![=]>()?;
            let value = string(name, &variables)?;
            if self.env.iter().any(|(known, _)| variable == known) {
                let message = format!("the variable `{variable}` is set twice");
                return Err(Error::new(variable.span(), message));
            }
            self.env.push((variable.to_string(), value));
            if !variables.is_empty() {
                variables.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }
}

/// Parses `= "text"` into an argument that may be given once.
fn once(place: &mut Option<LitStr>, name: &Ident, input: ParseStream<'_>) -> Result<()> {
    let value = text(name, input)?;
    if place.is_some() {
        return Err(twice(name));
    }
    *place = Some(value);
    Ok(())
}

fn twice(name: &Ident) -> Error {
    Error::new(name.span(), format!("the argument `{name}` is given twice"))
}

fn text(name: &Ident, input: ParseStream<'_>) -> Result<LitStr> {
    if !input.peek(Token![=]) {
        return Err(wrong_form(name, name.span()));
    }
    input.parse::<Token![=]>()?;
    string(name, input)
}

/// A string literal, since every value is one.
fn string(name: &Ident, input: ParseStream<'_>) -> Result<LitStr> {
    let place = input.span();
    match input.parse() {
        Ok(Lit::Str(text)) if text.suffix().is_empty() => Ok(text),
        _ => Err(wrong_form(name, place)),
    }
}

fn wrong_form(name: &Ident, place: Span) -> Error {
    let form = FORMS.iter().find(|(known, _)| name == known).map_or("", |(_, form)| form);
    Error::new(place, format!("`{name}` is written `{form}`"))
}

fn known() -> String {
    let forms: Vec<_> = FORMS.iter().map(|(_, form)| format!("`{form}`")).collect();
    format!("`#[uml_test]` takes {}", forms.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn refusal(tokens: proc_macro2::TokenStream) -> String {
        syn::parse2::<Args>(tokens).err().expect("must be refused").to_string()
    }

    #[test]
    fn every_argument_is_understood() {
        let args: Args = syn::parse2(quote! {
            timeout = "30s", mem = "256M", cmdline = "quiet", env(A = "b", r#type = "x",),
            rw_dir = "one", rw_dir = "two", kernel = ">=6.7", config = ["CONFIG_A", "CONFIG_B=m",],
        })
        .unwrap();
        assert_eq!(args.timeout.unwrap().value(), "30s");
        assert_eq!(args.mem.unwrap().value(), "256M");
        assert_eq!(args.cmdline.unwrap().value(), "quiet");
        let env: Vec<_> = args.env.iter().map(|(n, v)| (n.as_str(), v.value())).collect();
        assert_eq!(env, [("A", "b".to_owned()), ("type", "x".to_owned())]);
        let directories: Vec<_> = args.rw_dirs.iter().map(LitStr::value).collect();
        assert_eq!(directories, ["one", "two"]);
        assert_eq!(args.kernel.unwrap().value(), ">=6.7");
        let options: Vec<_> = args.config.iter().map(LitStr::value).collect();
        assert_eq!(options, ["CONFIG_A", "CONFIG_B=m"]);
        assert!(!args.moved);
    }

    #[test]
    fn nothing_is_fine() {
        assert!(syn::parse2::<Args>(quote!()).unwrap().timeout.is_none());
    }

    #[test]
    fn unknown_names_get_the_list() {
        let message = refusal(quote!(timeuot = "30s"));
        assert!(message.starts_with("unknown argument `timeuot`"), "{message}");
        for (_, form) in FORMS {
            assert!(message.contains(form), "{message} lacks {form}");
        }
    }

    #[test]
    fn wrong_forms_are_answered_with_the_right_one() {
        for (given, wanted) in [
            (quote!(timeout), r#"`timeout` is written `timeout = "30s"`"#),
            (quote!(timeout = 30), r#"`timeout` is written `timeout = "30s"`"#),
            (quote!(mem("256M")), r#"`mem` is written `mem = "256M"`"#),
            (quote!(mem = b"256M"), r#"`mem` is written `mem = "256M"`"#),
            (quote!(env = "A=b"), r#"`env` is written `env(NAME = "value")`"#),
            (quote!(env()), r#"`env` is written `env(NAME = "value")`"#),
            (quote!(env("A" = "b")), r#"`env` is written `env(NAME = "value")`"#),
            (quote!(kernel = 6.7), r#"`kernel` is written `kernel = ">=6.7"`"#),
            (quote!(config = "CONFIG_A"), r#"`config` is written `config = ["CONFIG_BTRFS_FS"]`"#),
            (quote!(config = []), r#"`config` is written `config = ["CONFIG_BTRFS_FS"]`"#),
            (quote!(config = [CONFIG_A]), r#"`config` is written `config = ["CONFIG_BTRFS_FS"]`"#),
            (quote!(config("A")), r#"`config` is written `config = ["CONFIG_BTRFS_FS"]`"#),
            (quote!(env(A = 1)), r#"`env` is written `env(NAME = "value")`"#),
        ] {
            assert_eq!(refusal(given), wanted);
        }
    }

    #[test]
    fn repetitions_are_refused() {
        assert_eq!(refusal(quote!(mem = "1G", mem = "1G")), "the argument `mem` is given twice");
        assert_eq!(refusal(quote!(config = ["A", "A"])), "the option \"A\" is given twice");
        let message = "the argument `config` is given twice";
        assert_eq!(refusal(quote!(config = ["A"], config = ["B"])), message);
        assert_eq!(refusal(quote!(env(A = "1", A = "2"))), "the variable `A` is set twice");
        assert_eq!(refusal(quote!(env(A = "1"), env(A = "1"))), "the variable `A` is set twice");
        assert_eq!(refusal(quote!(rw_dir = "x", rw_dir = "x")), "`rw_dir = \"x\"` is given twice");
    }
}
