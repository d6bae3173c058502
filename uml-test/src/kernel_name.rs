//! What a kernel is called: which texts are names, and the one spelling of those that ask for the same.
//!
//! Public for `cargo uml`, which gives the names; hidden from the documentation.

/// Whether a text can be a kernel's name: `7.2`, `6.1/debug`, `7.2/debug+smp`.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
    let (version, flavours) = text.split_once('/').unwrap_or((text, "-"));
    version.starts_with(|first: char| first.is_ascii_alphanumeric())
        && plain(version)
        && !flavours.is_empty()
        && plain(flavours)
}

/// The name as builds give it: flavours sorted, each once, without `base`, which goes without saying.
/// Names that people give may be spelt otherwise, so they are to be looked up as they are first.
pub fn usual(name: &str) -> String {
    let Some((version, flavours)) = name.split_once('/') else { return name.to_owned() };
    let mut flavours: Vec<&str> = flavours.split('+').filter(|part| *part != "base").collect();
    flavours.sort_unstable();
    flavours.dedup();
    match &flavours[..] {
        [] => version.to_owned(),
        flavours => format!("{version}/{}", flavours.join("+")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        for name in ["7.2", "6.1/debug", "7.2/debug+smp", "distro", "linux", "my_kernel-1"] {
            assert!(is_name(name), "{name}");
        }
        for path in ["", ".", "./linux", "../k", "/usr/bin/linux", "a/b/c", "a/", "a b", "+a"] {
            assert!(!is_name(path), "{path}");
        }
    }

    #[test]
    fn flavours_in_any_order_are_the_same_name() {
        for (name, same) in [
            ("7.2/smp+debug", "7.2/debug+smp"),
            ("7.2/debug+smp", "7.2/debug+smp"),
            ("7.2/smp+base+smp", "7.2/smp"),
            ("7.2/base", "7.2"),
            ("7.2", "7.2"),
            ("base", "base"),
        ] {
            assert_eq!(usual(name), same, "{name}");
        }
    }
}
