//! A test as `#[uml_test]` describes it: names, expectations, and what it asks of its guest.
//!
//! Plain data with a `const` constructor, so that a case is a `static` in the registry. No I/O;
//! settings from manifests and the environment are merged in `config`.

use std::time::Duration;

use crate::gates::{Gates, is_option, is_requirement};

/// What `#[should_panic]` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShouldPanic {
    /// No such attribute.
    No,
    /// `#[should_panic]`: any panic of the body.
    Any,
    /// `#[should_panic(expected = "…")]`: a panic whose message contains the text.
    Containing(&'static str),
}

/// A test's body with its return value already turned into "passed" or the error's `Debug` text.
pub type Body = fn() -> Result<(), String>;

/// What a test function may return.
#[diagnostic::on_unimplemented(
    message = "`#[uml_test]` functions return `()` or `Result<(), E>` with `E: Debug`, not `{Self}`",
    label = "this return type has no verdict"
)]
pub trait TestReturn {
    /// Whether it is a failure, and its text.
    fn into_result(self) -> Result<(), String>;
    /// What a passed test returns.
    fn passed() -> Self;
}

impl TestReturn for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }

    fn passed() -> Self {}
}

impl<E: std::fmt::Debug> TestReturn for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| format!("{error:?}"))
    }

    fn passed() -> Self {
        Ok(())
    }
}

/// One `#[uml_test]` function.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TestCase {
    /// `module_path!()` of the function, crate name first.
    pub module_path: &'static str,
    /// The function's name.
    pub function: &'static str,
    /// Source file, as `file!()` gives it.
    pub file: &'static str,
    /// Line of the function's name.
    pub line: u32,
    /// `CARGO_MANIFEST_DIR` of the crate that holds the test.
    pub manifest_dir: &'static str,
    /// The reason given to `#[ignore = "…"]`; empty when there is none.
    pub ignored: Option<&'static str>,
    /// The expectation on panics.
    pub should_panic: ShouldPanic,
    /// What the attribute's arguments ask for.
    pub overrides: Overrides,
    /// What the attribute's arguments ask of the kernel.
    pub gates: Gates,
    /// The body.
    pub body: Body,
}

/// The arguments of `#[uml_test(…)]`; `None` and empty leave the configured value.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Overrides {
    /// `timeout = "30s"`.
    pub timeout: Option<Duration>,
    /// `mem = "256M"`, in bytes.
    pub mem: Option<u64>,
    /// `cmdline = "…"`: extra kernel arguments, after the configured ones.
    pub cmdline: Option<&'static str>,
    /// `env(NAME = "value", …)`.
    pub env: &'static [(&'static str, &'static str)],
    /// `rw_dir = "path"`, as often as needed; relative to the package's directory.
    pub rw_dirs: &'static [&'static str],
}

impl Overrides {
    /// No arguments.
    pub const NONE: Self = Self { timeout: None, mem: None, cmdline: None, env: &[], rw_dirs: &[] };
}

impl TestCase {
    /// A case with nothing but its place and its body.
    pub const fn new(
        module_path: &'static str,
        function: &'static str,
        file: &'static str,
        line: u32,
        manifest_dir: &'static str,
        body: Body,
    ) -> Self {
        Self {
            module_path,
            function,
            file,
            line,
            manifest_dir,
            ignored: None,
            should_panic: ShouldPanic::No,
            overrides: Overrides::NONE,
            gates: Gates::NONE,
            body,
        }
    }

    /// Marks the case `#[ignore]`; `reason` may be empty.
    pub const fn ignored(mut self, reason: &'static str) -> Self {
        self.ignored = Some(reason);
        self
    }

    /// Sets the expectation on panics.
    pub const fn should_panic(mut self, expectation: ShouldPanic) -> Self {
        self.should_panic = expectation;
        self
    }

    /// Sets the time limit of the body, from text such as `30s`.
    ///
    /// # Panics
    /// Where [`parse_duration`] refuses the text; in a `static` that is a compile error.
    pub const fn timeout(mut self, text: &'static str) -> Self {
        self.overrides.timeout = match parse_duration(text) {
            Some(duration) => Some(duration),
            None => panic!(
                "uml_test: `timeout` wants a whole number above zero with a unit, ms, s, m or h: \"500ms\", \"30s\", \"2m\""
            ),
        };
        self
    }

    /// Sets the guest's memory, from text such as `256M`.
    ///
    /// # Panics
    /// Where [`parse_size`] refuses the text; in a `static` that is a compile error.
    pub const fn mem(mut self, text: &'static str) -> Self {
        self.overrides.mem = match parse_size(text) {
            Some(bytes) => Some(bytes),
            None => panic!(
                "uml_test: `mem` wants a whole number with a unit, K, M or G, of at least 32M: \"128M\", \"1G\""
            ),
        };
        self
    }

    /// Adds kernel arguments.
    pub const fn cmdline(mut self, arguments: &'static str) -> Self {
        self.overrides.cmdline = Some(arguments);
        self
    }

    /// Sets environment variables of the test's process.
    pub const fn env(mut self, variables: &'static [(&'static str, &'static str)]) -> Self {
        self.overrides.env = variables;
        self
    }

    /// Names host directories that the guest may write.
    pub const fn rw_dirs(mut self, directories: &'static [&'static str]) -> Self {
        self.overrides.rw_dirs = directories;
        self
    }

    /// Runs the case on kernels of these versions only.
    ///
    /// # Panics
    /// Where [`is_requirement`] refuses the text; in a `static` that is a compile error.
    pub const fn kernel(mut self, text: &'static str) -> Self {
        assert!(
            is_requirement(text),
            "uml_test: `kernel` wants >=, >, <, <= or = and a version of two or three numbers, several separated by commas: \">=6.7\", \">=6.1, <6.13\""
        );
        self.gates.kernel = Some(text);
        self
    }

    /// Runs the case on kernels with these options only.
    ///
    /// # Panics
    /// Where [`is_option`] refuses one; in a `static` that is a compile error.
    pub const fn config(mut self, options: &'static [&'static str]) -> Self {
        let mut at = 0;
        while at < options.len() {
            assert!(
                is_option(options[at]),
                "uml_test: `config` wants options as a kernel's .config has them: \"CONFIG_BTRFS_FS\" (built in or a module), \"CONFIG_BTRFS_FS=m\", \"CONFIG_HZ=100\""
            );
            at += 1;
        }
        self.gates.config = options;
        self
    }

    /// The name that harnesses list: the path in the crate, `module::function`, without the
    /// crate's own name.
    pub fn name(&self) -> String {
        match self.module_path.split_once("::") {
            Some((_crate, module)) => format!("{module}::{}", self.function),
            None => self.function.to_owned(),
        }
    }
}

/// The smallest guest memory that is accepted, in bytes: below it the kernel with its built-in
/// drivers has no room left for a test binary.
pub const MIN_MEM: u64 = 32 << 20;

/// A time limit: a whole number above zero and a unit, `ms`, `s`, `m` or `h`.
///
/// ```
/// use std::time::Duration;
/// use uml_test::case::parse_duration;
/// assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
/// assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
/// assert_eq!(parse_duration("30"), None);
/// ```
pub const fn parse_duration(text: &str) -> Option<Duration> {
    let Some((number, unit)) = split_number(text.as_bytes()) else { return None };
    let milliseconds = match unit {
        b"ms" => 1,
        b"s" => 1_000,
        b"m" => 60_000,
        b"h" => 3_600_000,
        _ => return None,
    };
    match number.checked_mul(milliseconds) {
        Some(0) | None => None,
        Some(total) => Some(Duration::from_millis(total)),
    }
}

/// An amount of guest memory in bytes: a whole number and a unit, `K`, `M` or `G` (powers of
/// 1024), of at least [`MIN_MEM`].
///
/// ```
/// use uml_test::case::parse_size;
/// assert_eq!(parse_size("256M"), Some(256 << 20));
/// assert_eq!(parse_size("256"), None);
/// assert_eq!(parse_size("1M"), None);
/// ```
pub const fn parse_size(text: &str) -> Option<u64> {
    let Some((number, unit)) = split_number(text.as_bytes()) else { return None };
    let factor = match unit {
        b"K" | b"k" => 1 << 10,
        b"M" | b"m" => 1 << 20,
        b"G" | b"g" => 1 << 30,
        _ => return None,
    };
    match number.checked_mul(factor) {
        Some(bytes) if bytes >= MIN_MEM => Some(bytes),
        _ => None,
    }
}

/// Splits leading decimal digits from the rest.
const fn split_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut number: u64 = 0;
    let mut at = 0;
    while at < text.len() && text[at].is_ascii_digit() {
        number = match number.checked_mul(10) {
            Some(tens) => match tens.checked_add((text[at] - b'0') as u64) {
                Some(sum) => sum,
                None => return None,
            },
            None => return None,
        };
        at += 1;
    }
    if at == 0 { None } else { Some((number, text.split_at(at).1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Result<(), String> {
        Ok(())
    }

    #[test]
    fn names_leave_the_crate_out() {
        let at = |module| TestCase::new(module, "works", "src/lib.rs", 1, "/p", nothing).name();
        assert_eq!(at("my_crate"), "works");
        assert_eq!(at("my_crate::net::tests"), "net::tests::works");
    }

    #[test]
    fn durations_need_a_unit_and_a_value() {
        for bad in ["", "s", "0s", "-1s", "1.5s", "1 s", "1d", "99999999999999999999s"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3600)));
    }

    #[test]
    fn sizes_need_a_unit_and_room_for_a_kernel() {
        for bad in ["", "M", "0M", "31M", "128", "128MB", "1.5G", "99999999999999999999G"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
        assert_eq!(parse_size("32M"), Some(MIN_MEM));
        assert_eq!(parse_size("2g"), Some(2 << 30));
    }
}
