//! What kbuild needs to build a module outside the kernel's tree: 70 MB of the 2.5 GB of a build.
//!
//! One tree, as distributions' `linux-headers` packages have it: files of the source, and those that the build made over
//! them. The kernel's own `scripts/package/install-extmod-build` takes `arch/um` only, and UML's headers are in
//! `arch/x86` too.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use crate::error::Error;

/// A file's path, in its parts.
type Parts<'a> = [&'a str];

/// Copies it into `destination`. `out` is a finished build of `tree`.
pub(crate) fn copy(tree: &Path, out: &Path, destination: &Path) -> Result<(), Error> {
    copy_files(tree, destination, is_for_source, is_of_source)?;
    copy_files(out, destination, is_for_build, is_of_build)?;
    // A kernel without modules has only its own symbols.
    let (all, own) = (destination.join("Module.symvers"), destination.join("vmlinux.symvers"));
    if !all.exists() && own.exists() {
        fs::rename(&own, &all).map_err(Error::io("rename", &own))?;
    }
    Ok(())
}

/// Copies the wanted files, and links as links.
fn copy_files(
    from: &Path,
    to: &Path,
    enters: fn(&Parts<'_>) -> bool,
    takes: fn(&Parts<'_>) -> bool,
) -> Result<(), Error> {
    let parts = |entry: &DirEntry| -> Option<Vec<String>> {
        let path = entry.path().strip_prefix(from).ok()?;
        path.iter().map(OsStr::to_str).map(|part| Some(part?.to_owned())).collect()
    };
    let test = |entry: &DirEntry, test: fn(&Parts<'_>) -> bool| {
        let parts = parts(entry).unwrap_or_default();
        test(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let walk = WalkDir::new(from).min_depth(1).into_iter();
    for entry in walk.filter_entry(|entry| !entry.file_type().is_dir() || test(entry, enters)) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(from).to_path_buf();
            Error::io("read", &path)(error.into())
        })?;
        if entry.file_type().is_dir() || !test(&entry, takes) {
            continue;
        }
        let copy = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        copy_one(&entry, &copy).map_err(Error::io("copy", entry.path()))?;
    }
    Ok(())
}

fn copy_one(entry: &DirEntry, copy: &Path) -> io::Result<()> {
    if let Some(directory) = copy.parent() {
        fs::create_dir_all(directory)?;
    }
    if !entry.path_is_symlink() {
        return fs::copy(entry.path(), copy).map(drop);
    }
    // The build's goes over the source's.
    match fs::remove_file(copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(fs::read_link(entry.path())?, copy),
    }
}

fn is_for_source(directory: &Parts<'_>) -> bool {
    match directory {
        ["arch"] | ["arch", "um" | "x86", ..] => true,
        [first, ..] => matches!(*first, "include" | "scripts"),
        [] => true,
    }
}

fn is_of_source(file: &Parts<'_>) -> bool {
    match file {
        [.., name] if is_by_product(name) => false,
        ["Makefile"] => true,
        ["include", "config" | "generated", ..] => false,
        ["scripts", "atomic" | "coccinelle" | "dtc" | "gdb" | "kconfig" | "package", ..] => false,
        ["include" | "scripts", ..] => true,
        ["arch", "um" | "x86", name] => name.starts_with("Makefile"),
        ["arch", "um" | "x86", directories @ .., name] => {
            let header = directories.contains(&"include") && !directories.contains(&"generated");
            header || (directories.first() == Some(&"um") && is_header(name, directories))
        }
        _ => false,
    }
}

/// UML's own headers in `arch/x86/um` are beside its code.
fn is_header(name: &str, directories: &Parts<'_>) -> bool {
    name.ends_with(".h") || directories.get(1) == Some(&"shared")
}

fn is_for_build(_: &Parts<'_>) -> bool {
    true // notes for gcov can be everywhere
}

fn is_of_build(file: &Parts<'_>) -> bool {
    match file {
        // What gcov reads beside the counts that a guest gives.
        [.., name] if name.ends_with(".gcno") => true,
        [.., name] if is_by_product(name) => false,
        [".config" | "Module.symvers" | "vmlinux.symvers"]
        | ["arch", "um" | "x86", "include", "generated", ..]
        | ["include", "generated", ..]
        | ["include", "config", "auto.conf" | "kernel.release"] => true,
        ["scripts", "kconfig" | "dtc", ..] => false,
        ["scripts", ..] => true,
        _ => false,
    }
}

/// What building the tools leaves behind.
fn is_by_product(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    matches!(extension, Some("o" | "rs")) || (name.starts_with('.') && extension == Some("cmd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.as_os_str().as_encoded_bytes()).unwrap();
    }

    fn found(root: &Path) -> Vec<String> {
        let files = WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap);
        files
            .filter(|entry| !entry.file_type().is_dir())
            .map(|entry| entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn takes_headers_makefiles_scripts_and_what_the_build_made() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for path in [
            "Makefile",
            "Kconfig",
            "arch/arm/include/asm/page.h",
            "arch/um/Makefile",
            "arch/um/Makefile-skas",
            "arch/um/include/shared/os.h",
            "arch/um/kernel/time.c",
            "arch/x86/include/asm/page.h",
            "arch/x86/include/generated/stale.h",
            "arch/x86/kernel/apic/local.h",
            "arch/x86/um/asm/elf.h",
            "arch/x86/um/ptrace.c",
            "arch/x86/um/shared/sysdep/tls",
            "drivers/net/veth.c",
            "include/config/auto.conf",
            "include/linux/fs.h",
            "scripts/Makefile.build",
            "scripts/kconfig/conf.c",
            "scripts/mod/modpost.c",
        ] {
            write(&at("tree"), path);
        }
        for path in [
            ".config",
            "Makefile",
            "arch/x86/include/generated/asm/unistd.h",
            "drivers/net/veth.gcno",
            "drivers/net/veth.o",
            "include/config/FOO",
            "include/config/auto.conf",
            "include/generated/autoconf.h",
            "linux",
            "scripts/kconfig/conf",
            "scripts/mod/.modpost.cmd",
            "scripts/mod/modpost",
            "scripts/mod/modpost.o",
            "vmlinux.symvers",
        ] {
            write(&at("out"), path);
        }
        symlink("modpost", at("out").join("scripts/mod/link")).unwrap();
        copy(&at("tree"), &at("out"), &at("build")).unwrap();
        let expected = [
            ".config",
            "Makefile",
            "Module.symvers",
            "arch/um/Makefile",
            "arch/um/Makefile-skas",
            "arch/um/include/shared/os.h",
            "arch/x86/include/asm/page.h",
            "arch/x86/include/generated/asm/unistd.h",
            "arch/x86/um/asm/elf.h",
            "arch/x86/um/shared/sysdep/tls",
            "drivers/net/veth.gcno",
            "include/config/auto.conf",
            "include/generated/autoconf.h",
            "include/linux/fs.h",
            "scripts/Makefile.build",
            "scripts/mod/link",
            "scripts/mod/modpost",
            "scripts/mod/modpost.c",
        ];
        assert_eq!(found(&at("build")), expected);
        let makefile = fs::read_to_string(at("build/Makefile")).unwrap();
        assert_eq!(makefile, at("tree/Makefile").to_str().unwrap(), "the source's own");
        let options = fs::read_to_string(at("build/include/config/auto.conf")).unwrap();
        assert_eq!(options, at("out/include/config/auto.conf").to_str().unwrap());
        assert!(fs::symlink_metadata(at("build/scripts/mod/link")).unwrap().is_symlink());
    }
}
