//! The programs a kernel build needs: found, installed as root, or named.

use std::fmt;
use std::process::Command;

use super::fragment::Fragment;
use crate::error::Error;
use crate::process;
use crate::report::Reporter;

/// A build tool and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    name: &'static str,
    package: &'static str,
    probe: Probe,
}

/// How to tell that a tool is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Program,
    /// The compiler finds this header.
    Header(&'static str),
}

const fn program(name: &'static str, package: &'static str) -> Tool {
    Tool { name, package, probe: Probe::Program }
}

/// What every build needs.
pub(crate) const BUILD: [Tool; 9] = [
    program("gcc", "gcc"),
    program("make", "make"),
    program("flex", "flex"),
    program("bison", "bison"),
    program("bc", "bc"),
    program("ld", "binutils"),
    program("objcopy", "binutils"),
    program("tar", "tar"),
    Tool {
        name: "the C library's headers",
        package: "libc6-dev",
        probe: Probe::Header("stdlib.h"),
    },
];

pub(crate) const GZIP: Tool = program("gzip", "gzip");
pub(crate) const BZIP2: Tool = program("bzip2", "bzip2");
pub(crate) const XZ: Tool = program("xz", "xz-utils");
pub(crate) const ZSTD: Tool = program("zstd", "zstd");
pub(crate) const CURL: Tool = program("curl", "curl");
pub(crate) const NCURSES: Tool = Tool {
    name: "the headers of ncurses",
    package: "libncurses-dev",
    probe: Probe::Header("ncurses.h"),
};

/// What a build's first error looks like when a package is missing that only some configurations need.
const SIGNS: [(&str, &str); 4] = [
    ("gelf.h", "libelf-dev"),
    ("libelf.h", "libelf-dev"),
    ("openssl/", "libssl-dev"),
    ("pahole", "pahole"),
];

/// What a build's first error shows to be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lacking {
    Package(&'static str),
    /// Of which package is not known; most have its name.
    Program(String),
}

impl Lacking {
    pub(crate) fn told_by(error: &str) -> Option<Self> {
        let sign = SIGNS.into_iter().find(|(sign, _)| error.contains(sign));
        if let Some((_, package)) = sign {
            return Some(Lacking::Package(package));
        }
        // As dash has it, and as bash does, behind the script and the line.
        let endings = [": not found", ": command not found"];
        let rest = endings.into_iter().find_map(|ending| error.trim_end().strip_suffix(ending))?;
        let (_, program) = rest.rsplit_once(": ")?;
        let known = BUILD.iter().find(|tool| tool.name == program);
        Some(match known {
            Some(tool) => Lacking::Package(tool.package),
            None => Lacking::Program(program.to_owned()),
        })
        .filter(|_| !program.contains(char::is_whitespace))
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lacking::Package(package) => write!(
                formatter,
                "the package {package} is probably missing: run `sudo apt-get install {package}`"
            ),
            Lacking::Program(program) => write!(
                formatter,
                "the program {program} is missing: install the package that has it"
            ),
        }
    }
}

/// Makes sure that `tools` are there: installs what is missing through apt as root, else fails naming it.
pub(crate) fn ensure(tools: &[Tool], reporter: &Reporter) -> Result<(), Error> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = packages(&missing);
    let has_apt = process::find("apt-get").is_some();
    if !(has_apt && nix::unistd::geteuid().is_root()) {
        return Err(Error::MissingTools {
            tools: names(&missing),
            remedy: remedy(&packages, has_apt),
        });
    }
    let phase = reporter.phase(format_args!(
        "Installing {} through apt (for {})",
        packages.join(" "),
        names(&missing)
    ));
    install(&packages)?;
    drop(phase);
    let missing: Vec<Tool> = missing.into_iter().filter(|tool| !tool.is_present()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::MissingTools {
        tools: names(&missing),
        remedy: "apt installed its packages, so check PATH".to_owned(),
    })
}

/// Those of `tools` that this machine lacks.
pub(crate) fn missing(tools: &[Tool]) -> Vec<Tool> {
    tools.iter().copied().filter(|tool| !tool.is_present()).collect()
}

/// The names of the `missing` tools, and how to come by them.
pub(crate) fn explain(missing: &[Tool]) -> (String, String) {
    (names(missing), remedy(&packages(missing), process::find("apt-get").is_some()))
}

/// A program that Kconfig looks for and whose version is in every resolved configuration, needed or not.
#[derive(Debug)]
pub(crate) struct Optional {
    pub(crate) program: &'static str,
    /// make's variable for it.
    pub(crate) variable: &'static str,
    /// The option that needs it.
    option: &'static str,
}

const OPTIONAL: [Optional; 3] = [
    Optional { program: "rustc", variable: "RUSTC", option: "CONFIG_RUST" },
    Optional { program: "bindgen", variable: "BINDGEN", option: "CONFIG_RUST" },
    Optional { program: "pahole", variable: "PAHOLE", option: "CONFIG_DEBUG_INFO_BTF" },
];

/// The optional programs that these fragments ask for, and those that are to make no difference.
pub(crate) fn optional(fragments: &[Fragment]) -> (Vec<Optional>, Vec<Optional>) {
    let asked = |tool: &Optional| {
        // A fragment that can't be read is an error elsewhere.
        let requests = fragments.iter().filter_map(|fragment| fragment.requests().ok()).flatten();
        requests.into_iter().any(|request| request.option == tool.option && request.value == "y")
    };
    OPTIONAL.into_iter().partition(asked)
}

/// What compiles a kernel of these fragments: the first line of `gcc --version`, and of the optional programs in use.
pub(crate) fn compiler(fragments: &[Fragment]) -> Result<String, Error> {
    let first_line = |program: &str| -> Result<String, Error> {
        let output = process::stdout(Command::new(program).arg("--version").env("LC_ALL", "C"))?;
        Ok(output.lines().next().unwrap_or_default().to_owned())
    };
    let mut compiler = first_line("gcc")?;
    for tool in optional(fragments).0 {
        // One that is missing Kconfig tells, with the option that needs it.
        if let Ok(version) = first_line(tool.program) {
            compiler.push_str(", ");
            compiler.push_str(&version);
        }
    }
    Ok(compiler)
}

impl Tool {
    fn is_present(&self) -> bool {
        match self.probe {
            Probe::Program => process::find(self.name).is_some(),
            Probe::Header(header) => {
                // -include with an empty input: no temporary file needed.
                let mut gcc = Command::new("gcc");
                gcc.args(["-E", "-x", "c", "-include", header, "/dev/null"]);
                process::output(&mut gcc).is_ok_and(|output| output.status.success())
            }
        }
    }
}

fn names(tools: &[Tool]) -> String {
    tools.iter().map(|tool| tool.name).collect::<Vec<_>>().join(", ")
}

fn packages(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn remedy(packages: &[&str], has_apt: bool) -> String {
    if has_apt {
        format!("run `sudo apt-get install {}`", packages.join(" "))
    } else {
        "install them with the machine's package manager".to_owned()
    }
}

/// A machine that never ran `apt-get update` knows no packages, so a failure is tried once more after an update.
fn install(packages: &[&str]) -> Result<(), Error> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-o", "DPkg::Lock::Timeout=120"]).args(arguments);
        process::output(command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C"))
    };
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    if apt(&install)?.status.success() {
        return Ok(());
    }
    let update = apt(&["update"])?;
    let second = apt(&install)?;
    if second.status.success() {
        return Ok(());
    }
    let output = process::tail(&format!("{}{}", process::said(&update), process::said(&second)));
    Err(Error::InstallTools { packages: packages.join(" "), output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_what_is_missing() {
        let program = |name: &str| Some(Lacking::Program(name.to_owned()));
        for (error, lacking) in [
            (
                "x.c:1:10: fatal error: gelf.h: No such file or directory",
                Some(Lacking::Package("libelf-dev")),
            ),
            ("/bin/sh: 1: objcopy: not found", Some(Lacking::Package("binutils"))),
            ("/bin/sh: line 1: perl: command not found", program("perl")),
            ("./scripts/gen.sh: 12: python3: not found\n", program("python3")),
            ("a.c:1:2: error: broken", None),
            ("ld: b.o: the symbol x: not found", None),
            ("not found", None),
        ] {
            assert_eq!(Lacking::told_by(error), lacking, "{error}");
        }
    }

    #[test]
    fn names_packages_once_with_the_exact_command() {
        let missing =
            [program("objcopy", "binutils"), program("flex", "flex"), program("ld", "binutils")];
        assert_eq!(names(&missing), "objcopy, flex, ld");
        assert_eq!(remedy(&packages(&missing), true), "run `sudo apt-get install binutils flex`");
    }
}
