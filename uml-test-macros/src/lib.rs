//! `#[uml_test]`: parse (`args`, `function`, `neighbours`), `validate`, `codegen`. No logic of its own
//! beyond that: how a test runs is the `uml-test` crate's business, through which this macro is
//! used.

mod args;
mod codegen;
mod dropped;
mod function;
mod neighbours;
mod validate;

use proc_macro::TokenStream;

/// Runs a test function as root in a Linux kernel of its own.
///
/// ```
/// use uml_test::uml_test;
///
/// #[uml_test]
/// fn mounts() {
///     assert!(std::fs::read_to_string("/proc/mounts").unwrap().contains(" / "));
/// }
///
/// #[uml_test(kernel = ">=6.7", config = ["CONFIG_BTRFS_FS"])]
/// fn needs_a_kernel_with_btrfs() {}
///
/// #[uml_test(timeout = "30s", mem = "256M", env(LOG = "debug"))]
/// fn hostname() -> Result<(), std::io::Error> {
///     std::fs::write("/proc/sys/kernel/hostname", "guest")
/// }
/// ```
///
/// The function returns `()` or `Result<(), E>` with `E: Debug`; an error fails the test. The same
/// source works in a library's unit tests and in `tests/` with Rust's default harness, with
/// `harness = false` and `uml_test::main!()`, and with cargo nextest over either. A build without
/// `cfg(test)` keeps nothing of it.
///
/// # Arguments
///
/// All are optional, and all values are string literals, or a list of them.
///
/// | argument | meaning |
/// |---|---|
/// | `timeout = "30s"` | time limit of the body: a whole number with `ms`, `s`, `m` or `h` |
/// | `mem = "256M"` | the guest's memory: a whole number with `K`, `M` or `G`, at least `32M` |
/// | `cmdline = "quiet loglevel=7"` | kernel arguments, after the configured ones |
/// | `env(NAME = "value", OTHER = "x")` | environment variables of the test |
/// | `rw_dir = "path"` | an existing host directory that the guest may write, relative to the package; not `/` or `/dev`, nor in `/proc` or `/sys`; may be repeated |
/// | `kernel = ">=6.7"` | versions of the kernel that the test is for: `>=`, `>`, `<`, `<=` or `=` and two or three numbers; `">=6.1, <6.13"` has to be both. Only the numbers given are compared: 6.12.9 is `=6.12` and not `>6.12` |
/// | `config = ["CONFIG_BTRFS_FS", "CONFIG_HZ=100"]` | options that the kernel has to be built with: `CONFIG_X` (built in or a module), or with the value that a `.config` has, `=n` for one that is not set |
///
/// `kernel` and `config` are *gates*: on a kernel that does not fit, the test is ignored with the
/// reason, as far as the harness can show that, and nothing boots. What a kernel is, its own file
/// says: one that does not carry its configuration (`CONFIG_IKCONFIG`), and is not in `cargo uml`'s cache with it, fails tests with `config`.
/// `UML_TEST_GATES=require` makes an unmet gate a failure.
///
/// An unknown argument, a repetition or a value in another form is a compile error.
///
/// # Other test attributes
///
/// | together with | places of `#[uml_test]` |
/// |---|---|
/// | `#[ignore]`, `#[ignore = "why"]` | above or below |
/// | `#[should_panic]`, `#[should_panic(expected = "text")]` | above or below; the function returns `()` |
/// | `#[test]` | above only, and `#[test]` isn't needed |
/// | `#[tokio::test]`, with any arguments | above or below |
/// | `#[rstest]` with `#[case]`, `#[values]`, fixtures | above `#[rstest]`, or below it and the last `#[case]` |
/// | `#[rstest]` above `#[tokio::test]` | above, between (below the last `#[case]`) or below |
///
/// ```ignore (needs rstest and tokio)
/// #[uml_test]
/// #[ignore = "needs a kernel with CONFIG_X"]
/// fn later() {}
///
/// #[uml_test]
/// #[tokio::test]
/// async fn in_a_runtime() {
///     tokio::task::yield_now().await;
/// }
///
/// #[rstest]
/// #[case::small(1)]
/// #[case::large(1024)]
/// #[uml_test(mem = "512M")]
/// fn sizes(#[case] mebibytes: usize) {}
/// ```
///
/// Any other attribute, such as `#[allow]` or `#[track_caller]`, goes to the body; `#[cfg]` and
/// lint levels to everything generated. An attribute of another test framework
/// (`#[async_std::test]`, `#[test_case]`, `#[wasm_bindgen_test]`, `#[bench]`, …) is a compile
/// error. So are parameters without `#[rstest]`, `async` without `#[tokio::test]`, generics,
/// `const`, `unsafe`, `extern` and methods. The oldest versions are tokio 1.38 and rstest 0.25.
///
/// # Limits
///
/// - A `#[test]` above `#[uml_test]` has registered the function before this macro is called, so
///   the macro finds it in the source file and refuses it. It can't where a `macro_rules` macro
///   inserts the `#[test]` from an argument: such a test is listed twice. The same goes for a
///   `#[uml_test]` between `#[rstest]` and a `#[case]`, where rstest gives it to that case alone.
/// - With `harness = false` rustc drops a function with `#[test]` above before this macro is
///   called. `uml_test::main!()` looks for such functions in its own file and in the files of its
///   modules, `macro_rules` arguments aside. Versions of tokio and rstest older than those above
///   put a `#[test]` there too: refused with the default harness, not noticed without.
/// - `#[test]` is taken for Rust's own: under `use test_log::test;` that one's doings are lost.
/// - The crate has to be known as `uml_test`: a renamed dependency isn't supported.
#[proc_macro_attribute]
pub fn uml_test(args: TokenStream, item: TokenStream) -> TokenStream {
    expand(args.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// The main function of a test target with `harness = false`: lists and runs its `#[uml_test]`s.
///
/// ```toml
/// [[test]]
/// name = "guest"
/// harness = false
/// ```
///
/// A `#[test]` above a `#[uml_test]`, in this file or those of its modules, is a compile error:
/// with `harness = false` rustc drops such a function without a word.
#[proc_macro]
pub fn main(input: TokenStream) -> TokenStream {
    let dropped = proc_macro::Span::call_site()
        .local_file()
        .map(|root| dropped::dropped(&root))
        .unwrap_or_default();
    codegen::main(input.into(), &dropped).into()
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
