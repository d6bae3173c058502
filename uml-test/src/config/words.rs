//! Settings that are one of a few words.

/// Declares a setting with a fixed set of words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident: $expected:literal { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            pub(super) const EXPECTED: &str = $expected;

            pub(super) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// How the kernel intercepts the system calls and faults of its user space.
    Traps: "auto, seccomp or ptrace" {
        /// seccomp where the kernel has it (Linux 6.16 and later), else ptrace.
        Auto = "auto",
        /// seccomp, and no boot where that fails. Kernels before 6.16 do not know it and use
        /// ptrace, which a line on standard error says.
        Seccomp = "seccomp",
        /// ptrace: slower, and guest user space cannot reach the kernel's own memory.
        Ptrace = "ptrace",
    }
}

words! {
    /// Whether the guest is kept from writing the host's files.
    Sandbox: "auto, require or off" {
        /// As far as the host's kernel can.
        Auto = "auto",
        /// Wholly, or the test is an infrastructure failure.
        Require = "require",
        /// Not at all: guest root may do whatever this user may.
        Off = "off",
    }
}

words! {
    /// What becomes of tests where there is no kernel.
    MissingKernel: "fail or skip" {
        /// They fail.
        Fail = "fail",
        /// The custom runner lists them as ignored; under libtest see [`LibtestSkips`].
        Skip = "skip",
    }
}

words! {
    /// What becomes of tests whose gates, `kernel` and `config`, do not hold.
    UnmetGates: "ignore or require" {
        /// They are ignored with the reason; under libtest as `skip!` is.
        Ignore = "ignore",
        /// They fail with the reason.
        Require = "require",
    }
}

words! {
    /// What libtest, which has no skipping at run time, shows for a test that did not run.
    LibtestSkips: "default, pass or fail" {
        /// `skip!` passes with a printed reason; a missing kernel fails.
        Default = "default",
        /// Both pass with a printed reason.
        Pass = "pass",
        /// Both fail.
        Fail = "fail",
    }
}
