//! Decides whether a function and its attributes are in an accepted form, and which one.
//!
//! Every refusal states the form that is accepted.

use proc_macro2::Span;
use quote::ToTokens as _;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, Lit, LitStr, Meta, Path, Result, ReturnType, Signature,
    Type,
};

use crate::args::Args;
use crate::function::{Role, TestFn, display, role};
use crate::neighbours::Neighbours;

/// The whole list, for refusals of foreign attributes.
const ACCEPTED: &str = "`#[uml_test]` stands alone or with `#[tokio::test]` (async) or `#[rstest]` \
                        (cases, fixtures) above or below it, and with `#[ignore]` and \
                        `#[should_panic]`";

/// What to generate.
pub(crate) enum Plan {
    /// `#[rstest]` or `#[tokio::test]` is still below: put `#[uml_test]` beneath it, so that it
    /// runs first and both orders end in the same expansion.
    MoveBelow(Box<TestFn>),
    /// A plain test function.
    Case(Box<Case>),
}

/// A function without parameters, its attributes sorted by use.
pub(crate) struct Case {
    pub(crate) function: TestFn,
    /// For everything that is generated.
    pub(crate) everywhere: Vec<Attribute>,
    /// For the body.
    pub(crate) body: Vec<Attribute>,
    pub(crate) ignore: Option<Ignore>,
    pub(crate) should_panic: Option<ShouldPanic>,
}

/// `#[ignore]` or `#[ignore = "why"]`.
pub(crate) struct Ignore {
    pub(crate) attribute: Attribute,
    pub(crate) why: Option<LitStr>,
}

/// `#[should_panic]` or `#[should_panic(expected = "…")]`.
pub(crate) struct ShouldPanic {
    pub(crate) attribute: Attribute,
    pub(crate) expected: Option<LitStr>,
}

/// Judges `function`; `around` are the attributes around `#[uml_test]` in the source, of which the
/// compiler has taken those above off the function already, `place` is the attribute itself.
pub(crate) fn validate(
    args: &Args,
    mut function: TestFn,
    around: &Neighbours,
    place: Span,
) -> Result<Plan> {
    refuse_above(&around.above, place)?;
    refuse_between_cases(around, place)?;
    refuse_foreign(&function.attrs)?;
    refuse_qualifiers(&function.sig)?;

    let is = |wanted| move |attr: &Attribute| role(attr.path()) == wanted;
    let has_test = function.attrs.iter().any(is(Role::Test));
    let runs_first = |role| matches!(role, Role::Rstest | Role::TokioTest);
    if function.attrs.iter().any(|attr| runs_first(role(attr.path()))) {
        // Both add a `#[test]` of their own.
        function.attrs.retain(|attr| role(attr.path()) != Role::Test);
        return Ok(Plan::MoveBelow(Box::new(function)));
    }
    if !has_test && (args.moved || around.above.iter().any(|path| runs_first(role(path)))) {
        return Err(Error::new(
            place,
            "the `#[rstest]` or `#[tokio::test]` beside `#[uml_test]` has registered this function \
             before `#[uml_test]` could, so it would be listed twice; rstest 0.25, tokio 1.38 and \
             newer versions are accepted",
        ));
    }
    refuse_signature(&function.sig)?;
    sort(function).map(|case| Plan::Case(Box::new(case)))
}

fn refuse_above(above: &[Path], place: Span) -> Result<()> {
    for path in above {
        match role(path) {
            Role::Test => {
                return Err(Error::new(
                    place,
                    "the `#[test]` above `#[uml_test]` would list this function a second time; \
                     remove it: `#[uml_test]` registers the test itself",
                ));
            }
            Role::ForeignTest => return Err(Error::new(place, foreign(path))),
            Role::TokioTest
            | Role::Rstest
            | Role::Ignore
            | Role::ShouldPanic
            | Role::UmlTest
            | Role::Everywhere
            | Role::Body => {}
        }
    }
    Ok(())
}

/// `#[rstest]` gives what stands before a `#[case]` to that case alone.
fn refuse_between_cases(around: &Neighbours, place: Span) -> Result<()> {
    let is_rstest = |path: &Path| role(path) == Role::Rstest;
    let is_case = |path: &Path| path.segments.first().is_some_and(|first| first.ident == "case");
    if around.above.iter().any(is_rstest) && around.below.iter().any(is_case) {
        return Err(Error::new(
            place,
            "`#[uml_test]` before a `#[case]` belongs to that case alone and the others would run \
             on the host; put it below the last: \
             `#[rstest] #[case(1)] #[case(2)] #[uml_test] fn name(#[case] input: u32) { … }`",
        ));
    }
    Ok(())
}

fn refuse_foreign(attrs: &[Attribute]) -> Result<()> {
    for attr in attrs {
        match role(attr.path()) {
            Role::ForeignTest => {
                return Err(Error::new_spanned(attr, foreign(attr.path())));
            }
            Role::UmlTest => {
                return Err(Error::new_spanned(
                    attr,
                    "`#[uml_test]` is given twice; put all arguments into one: \
                     `#[uml_test(timeout = \"30s\", mem = \"256M\")]`",
                ));
            }
            Role::Test
            | Role::TokioTest
            | Role::Rstest
            | Role::Ignore
            | Role::ShouldPanic
            | Role::Everywhere
            | Role::Body => {}
        }
    }
    Ok(())
}

fn foreign(path: &Path) -> String {
    let name = display(path);
    format!("`#[{name}]` can't be combined with `#[uml_test]`: {ACCEPTED}")
}

/// What no accepted form has.
fn refuse_qualifiers(sig: &Signature) -> Result<()> {
    let refuse = |what: &dyn quote::ToTokens, name: &str| {
        let message = format!("a `#[uml_test]` function is not `{name}`: `fn name() {{ … }}`");
        Err(Error::new_spanned(what.to_token_stream(), message))
    };
    if let Some(constness) = &sig.constness {
        return refuse(constness, "const");
    }
    // syn 3 has `safe` here too, which functions with a body can't be.
    if !sig.safety.to_token_stream().is_empty() {
        return refuse(&sig.safety, "unsafe");
    }
    if let Some(abi) = &sig.abi {
        return refuse(abi, "extern");
    }
    if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
        return Err(Error::new_spanned(
            receiver,
            "a `#[uml_test]` function is not a method: put `fn name() { … }` into a module",
        ));
    }
    Ok(())
}

/// What only `#[rstest]` and `#[tokio::test]` can take off a signature.
fn refuse_signature(sig: &Signature) -> Result<()> {
    if let Some(asyncness) = &sig.asyncness {
        return Err(Error::new_spanned(
            asyncness,
            "an async `#[uml_test]` function needs a runtime: \
             `#[uml_test] #[tokio::test] async fn name() { … }`",
        ));
    }
    if !sig.inputs.is_empty() || sig.variadic.is_some() {
        return Err(Error::new_spanned(
            &sig.inputs,
            "a `#[uml_test]` function has parameters only with rstest: \
             `#[uml_test] #[rstest] #[case(1)] fn name(#[case] input: u32) { … }`",
        ));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &sig.generics,
            "a `#[uml_test]` function is not generic: `fn name() { … }`",
        ));
    }
    if let Some(clause) = &sig.generics.where_clause {
        return Err(Error::new_spanned(
            clause,
            "a `#[uml_test]` function has no where clause: `fn name() { … }`",
        ));
    }
    if let ReturnType::Type(_, output) = &sig.output
        && matches!(**output, Type::ImplTrait(_) | Type::Never(_))
    {
        return Err(Error::new_spanned(
            output,
            "a `#[uml_test]` function returns `()` or `Result<(), E>`",
        ));
    }
    Ok(())
}

/// Sorts the attributes of a function in its final form.
fn sort(mut function: TestFn) -> Result<Case> {
    let (mut everywhere, mut body) = (Vec::new(), Vec::new());
    let (mut ignore, mut should_panic) = (None, None);
    for attribute in std::mem::take(&mut function.attrs) {
        match role(attribute.path()) {
            // One is added in any case.
            Role::Test => {}
            Role::Ignore => {
                let why = text(&attribute, None, "`#[ignore]` or `#[ignore = \"why\"]`")?;
                once(&mut ignore, Ignore { attribute: attribute.clone(), why }, &attribute)?;
            }
            Role::ShouldPanic => {
                let forms =
                    "`#[should_panic]` or `#[should_panic(expected = \"part of the message\")]`";
                let expected = text(&attribute, Some("expected"), forms)?;
                let found = ShouldPanic { attribute: attribute.clone(), expected };
                once(&mut should_panic, found, &attribute)?;
            }
            Role::Everywhere => everywhere.push(attribute),
            Role::Body | Role::TokioTest | Role::Rstest | Role::UmlTest | Role::ForeignTest => {
                body.push(attribute)
            }
        }
    }
    if should_panic.is_some()
        && let ReturnType::Type(_, output) = &function.sig.output
        && !matches!(&**output, Type::Tuple(tuple) if tuple.elems.is_empty())
    {
        return Err(Error::new_spanned(
            output,
            "a `#[should_panic]` function returns nothing: `#[should_panic] fn name() { … }`",
        ));
    }
    Ok(Case { function, everywhere, body, ignore, should_panic })
}

fn once<T>(place: &mut Option<T>, value: T, attribute: &Attribute) -> Result<()> {
    if place.replace(value).is_some() {
        let name = display(attribute.path());
        return Err(Error::new_spanned(attribute, format!("`#[{name}]` is given twice")));
    }
    Ok(())
}

/// The text in `#[name = "text"]` or `#[name(key = "text")]`, none in `#[name]`.
fn text(attribute: &Attribute, key: Option<&str>, forms: &str) -> Result<Option<LitStr>> {
    let wrong = || {
        let name = display(attribute.path());
        Error::new_spanned(attribute, format!("`#[{name}]` is written {forms}"))
    };
    let value = match (&attribute.meta, key) {
        (Meta::Path(_), _) => return Ok(None),
        (Meta::NameValue(pair), _) => pair.value.clone(),
        (Meta::List(list), Some(key)) => {
            // With the trailing comma that rustfmt adds to long ones.
            let pairs = list
                .parse_args_with(
                    syn::punctuated::Punctuated::<syn::MetaNameValue, syn::Token![,]>::parse_terminated,
                )
                .map_err(|_| wrong())?;
            match pairs.into_iter().collect::<Vec<_>>().as_slice() {
                [pair] if pair.path.is_ident(key) => pair.value.clone(),
                _ => return Err(wrong()),
            }
        }
        (Meta::List(_), None) => return Err(wrong()),
    };
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(Some(text)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests;
