//! What a file to be run is, as far as that decides where and whether it runs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::{Architecture, BinaryFormat, Object, ObjectSection, ObjectSymbol};

use crate::process;

/// The section by which a program that has uml-test in it is known; `uml-test/src/note.rs` makes it.
const NOTE: &str = ".note.uml-test";

/// What a program is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// It boots guests of its own.
    DrivesGuests,
    /// A guest's kernel executes it, or says why not: also scripts.
    ForAGuest,
    /// No guest executes it.
    Foreign(String),
}

impl Program {
    /// Looks at the file.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let cache = ReadCache::new(File::open(path)?);
        let Ok(file) = object::File::parse(&cache) else { return Ok(Program::ForAGuest) };
        Ok(match (file.format(), file.architecture()) {
            (BinaryFormat::Elf, Architecture::X86_64) => {
                match file.section_by_name(NOTE).is_some() {
                    true => Program::DrivesGuests,
                    false => Program::ForAGuest,
                }
            }
            (BinaryFormat::Elf, architecture) => Program::Foreign(format!(
                "it is for {architecture:?}, and guests run x86-64 programs only"
            )),
            (format, _) => {
                Program::Foreign(format!("it is a {format:?} file, no program of Linux"))
            }
        })
    }
}

/// The file of a program, which without a slash is found as shells do.
pub(super) fn path_of(program: &OsStr) -> Option<PathBuf> {
    match program.as_bytes().contains(&b'/') {
        true => Some(program.into()),
        false => process::find(program.to_str()?),
    }
}

/// What is missing where Linux does not find what executes a file. What the host has lies where the guest has a directory
/// of its own.
pub(super) fn missing_interpreter(path: &Path) -> Option<PathBuf> {
    /// Linux follows no more.
    const MOST: usize = 5;
    let all = || std::iter::successors(interpreter(path), |found| interpreter(found)).take(MOST);
    all().find(|found| !found.exists()).or_else(|| all().next())
}

/// What executes a file: an ELF program's dynamic linker, or what a script's first line names.
fn interpreter(path: &Path) -> Option<PathBuf> {
    /// Linux reads no more of a script.
    const HEAD: u64 = 256;
    let mut file = File::open(path).ok()?;
    let cache = ReadCache::new(&file);
    let named = match object::File::parse(&cache) {
        Ok(program) => program.section_by_name(".interp")?.data().ok()?.to_owned(),
        Err(_) => {
            let mut head = Vec::new();
            file.rewind().ok()?;
            file.take(HEAD).read_to_end(&mut head).ok()?;
            head.strip_prefix(b"#!")?.trim_ascii_start().to_owned()
        }
    };
    let end = named.iter().position(|byte| b"\0\n \t".contains(byte)).unwrap_or(named.len());
    Some(OsStr::from_bytes(&named[..end]).into())
}

/// Whether a program has a harness of tests that takes libtest's arguments: this one of them is a text of both libtest's
/// and libtest-mimic's. One that is linked to them as shared libraries counts as having none.
pub(super) fn has_harness(path: &Path) -> bool {
    has_text(path, "test-threads")
}

/// Whether a program has a text among its constants.
pub(super) fn has_text(path: &Path, text: &str) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let cache = ReadCache::new(file);
    let Ok(program) = object::File::parse(&cache) else { return false };
    let Some(section) = program.section_by_name(".rodata") else { return false };
    section.data().is_ok_and(|texts| memchr::memmem::find(texts, text.as_bytes()).is_some())
}

/// A program that writes profiles at its end: LLVM's counters are in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instrumented {
    /// The file that its compiler was told of, as `-Cprofile-generate=DIR` does.
    pub(super) file: Option<OsString>,
}

/// Looks whether a program is one.
pub(super) fn instrumented(path: &Path) -> Option<Instrumented> {
    const COUNTERS: &str = "__llvm_prf_cnts";
    const FILE: &str = "__llvm_profile_filename";
    let cache = ReadCache::new(File::open(path).ok()?);
    let program = object::File::parse(&cache).ok()?;
    program.section_by_name(COUNTERS)?;
    let name = program.symbol_by_name(FILE).and_then(|symbol| {
        let section = program.section_by_index(symbol.section_index()?).ok()?;
        let text = section.data_range(symbol.address(), symbol.size()).ok()??;
        let text = text.split(|byte| *byte == 0).next().filter(|text| !text.is_empty())?;
        Some(OsStr::from_bytes(text).to_owned())
    });
    Some(Instrumented { file: name.or_else(|| unnamed_file(&program)) })
}

/// Such a file of a program without symbols, which has it among all its texts: at least that it lies in a directory.
fn unnamed_file<'a>(program: &impl Object<'a>) -> Option<OsString> {
    /// With what compilers add to a directory's name.
    const IN_DIRECTORY: &[u8] = b"/default_%m";
    let section = program.section_by_name(".rodata")?;
    let mut texts = section.data().ok()?.split(|byte| *byte == 0);
    let is_one = |text: &&[u8]| {
        text.ends_with(b".profraw")
            && text.windows(IN_DIRECTORY.len()).any(|part| part == IN_DIRECTORY)
    };
    texts.find(is_one).map(|text| OsStr::from_bytes(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_apart() {
        let of = |path: &str| Program::of(Path::new(path)).unwrap();
        assert_eq!(of("/bin/true"), Program::ForAGuest);
        assert_eq!(of("/proc/self/exe"), Program::DrivesGuests, "uml-test is linked into this");
        assert!(Program::of(Path::new("/nonexistent")).is_err());

        assert!(has_harness(Path::new("/proc/self/exe")) && !has_harness(Path::new("/bin/true")));
        assert!(!has_harness(Path::new("/nonexistent")));

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        assert_eq!(Program::of(&file).unwrap(), Program::ForAGuest);
        assert_eq!(interpreter(&file).unwrap(), Path::new("/bin/sh"));
        std::fs::write(&file, "#! /a/b -c d\n").unwrap();
        assert_eq!(interpreter(&file).unwrap(), Path::new("/a/b"));
        let by_way_of = dir.path().join("by-way-of");
        std::fs::write(&by_way_of, format!("#!{}\n", file.display())).unwrap();
        assert_eq!(missing_interpreter(&by_way_of).unwrap(), Path::new("/a/b"));
        std::fs::write(&file, "echo\n").unwrap();
        assert_eq!(missing_interpreter(&by_way_of).unwrap(), file);
        assert_eq!(interpreter(&file), None);
        let linker = interpreter(Path::new("/bin/true")).unwrap();
        assert!(linker.exists(), "{linker:?}");
        let mut elf = std::fs::read("/bin/true").unwrap();
        elf[18] = 0xb7; // EM_AARCH64
        std::fs::write(&file, &elf).unwrap();
        let Program::Foreign(reason) = Program::of(&file).unwrap() else { panic!() };
        assert!(reason.contains("Aarch64"), "{reason}");
    }

    #[test]
    fn programs_are_found_as_shells_do() {
        assert!(path_of(OsStr::new("sh")).is_some_and(|path| path.is_absolute()));
        assert_eq!(path_of(OsStr::new("./sh")), Some("./sh".into()));
    }
}
