//! Counts build steps: the lines kbuild writes for each, such as `  CC      fs/open.o`.

/// Whether a line of a build's output announces a step.
pub(crate) fn is_step(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("  ") else { return false };
    let verb = rest.split(' ').next().unwrap_or_default();
    verb.len() >= 2
        && verb.starts_with(|first: char| first.is_ascii_uppercase())
        && verb.chars().all(|letter| {
            letter.is_ascii_uppercase() || letter.is_ascii_digit() || "[]_".contains(letter)
        })
        && rest[verb.len()..].starts_with(' ')
}

/// The steps in the output of `make -n`, which shows the shell code that would announce them.
///
/// *Measured* on 7.2: 3 s on an unbuilt tree, 2,854 steps against 2,876 that the build then took. The dry run stops
/// short of the last links, because the archive they depend on was not made, and counts some steps that the build
/// finds up to date. It counts the rest only when a build is resumed.
pub(crate) fn steps_of_dry_run(output: &str) -> u64 {
    let steps = output
        .split("echo '")
        .skip(1)
        .filter(|announced| is_step(announced.split('\'').next().unwrap_or_default()));
    steps.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_steps() {
        for step in [
            "  CC      fs/open.o",
            "  AR      built-in.a",
            "  LD [M]  x.ko",
            "  LINK linux",
            "  CHKSHA1 a.h",
        ] {
            assert!(is_step(step), "{step}");
        }
        for other in [
            "make[1]: Entering directory",
            "  at least",
            "  ",
            "CC x.o",
            "fs/open.c:1:2: error: x",
            "   CC x",
        ] {
            assert!(!is_step(other), "{other}");
        }
    }

    #[test]
    fn counts_a_dry_run() {
        let output = "set -e;  echo '  CC      a.o'; gcc -c a.c\n:\n set -e; echo '  AR      b.a'; ar; echo 'text'\n";
        assert_eq!(steps_of_dry_run(output), 2);
    }
}
