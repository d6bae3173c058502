//! What a kernel image says of itself: its version and its configuration.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use super::version::Version;
use crate::error::Error;
use crate::process;

/// The marks around the compressed configuration in an image with `CONFIG_IKCONFIG` (`kernel/configs.c`).
const START: &[u8] = b"IKCFG_ST";
const END: &[u8] = b"IKCFG_ED";

/// What `linux --version` prints: the release, such as `7.2.12`.
pub(crate) fn version(linux: &Path) -> Result<String, Error> {
    let not_a_kernel = |why| Error::NotAKernel { path: linux.to_path_buf(), why };
    let output =
        process::output(Command::new(linux).arg("--version")).map_err(|error| match error {
            Error::Spawn { source, .. } => not_a_kernel(format!("it could not be run: {source}")),
            error => error,
        })?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && is_release(&said) {
        return Ok(said);
    }
    let found = process::tail(&process::said(&output));
    Err(not_a_kernel(format!("`--version` gave {found:?}")))
}

/// Other programs answer with their name, or more.
fn is_release(text: &str) -> bool {
    Version::of_release(text).is_some() && !text.contains(char::is_whitespace)
}

/// The configuration, from the image or else from what `linux --showconfig` prints; `None` if neither has it.
pub(crate) fn config(linux: &Path) -> Result<Option<String>, Error> {
    let image = fs::read(linux).map_err(Error::io("read", linux))?;
    if let Some(config) = embedded(&image) {
        return Ok(Some(config));
    }
    let output = process::output(Command::new(linux).arg("--showconfig"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Some(said).filter(|said| output.status.success() && said.contains("\nCONFIG_")))
}

fn embedded(image: &[u8]) -> Option<String> {
    let find = |from: usize, mark: &[u8]| {
        image[from..].windows(mark.len()).position(|window| window == mark).map(|at| from + at)
    };
    let mut from = 0;
    loop {
        let start = find(from, START)? + START.len();
        let end = find(start, END)?;
        let mut config = String::new();
        let decoded = flate2::read::GzDecoder::new(&image[start..end]).read_to_string(&mut config);
        if decoded.is_ok() && config.contains("CONFIG_") {
            return Some(config);
        }
        from = start;
    }
}

/// The compiler as the configuration names it.
pub(crate) fn compiler(config: &str) -> Option<String> {
    let value = config.lines().find_map(|line| line.strip_prefix("CONFIG_CC_VERSION_TEXT="))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn releases_are_told_from_what_other_programs_say() {
        for release in ["7.2.12", "6.1.158-um", "7.4.0-rc1+", "7.2.99-rt5"] {
            assert!(is_release(release), "{release}");
        }
        for other in
            ["", "git version 2.47.3", "rustc 1.88.0", "7.2 of something", "7.2\n7.2", "v7.2"]
        {
            assert!(!is_release(other), "{other}");
        }
    }

    #[test]
    fn finds_the_configuration_in_an_image() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"CONFIG_CC_VERSION_TEXT=\"gcc 12\"\n").unwrap();
        // The first mark is a string in the code.
        let image = [b"x IKCFG_ST y", START, &encoder.finish().unwrap(), END, b"rest"].concat();
        let config = embedded(&image).unwrap();
        assert_eq!(compiler(&config).as_deref(), Some("gcc 12"));
        assert_eq!(embedded(b"no IKCFG_ST here"), None);
        assert_eq!(embedded(b""), None);
    }
}
