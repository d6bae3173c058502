//! Which suites of which mirrors to look into: pure but for the listing of keyrings.

use std::fs::{self, File};

/// Debian suites with the tested kernels, which a Debian mirror has beside the configured suites.
const BACKPORTS: [&str; 2] = ["trixie-backports", "bookworm-backports"];

/// What a release is called in lists that follow it to the next.
const ALIASES: [&str; 2] = ["stable", "oldstable"];

/// Where distributions put the keys of their archives, and administrators those that apt trusts for every mirror. A key
/// of `/etc/apt/keyrings` is for the mirror that names it in `Signed-By`, which apt's list of indexes does not tell.
const KEYRINGS: [(&str, &str); 3] = [
    ("/usr/share/keyrings", "debian-archive-keyring."),
    ("/usr/share/keyrings", "ubuntu-archive-keyring."),
    ("/etc/apt/trusted.gpg.d", ""),
];

/// Every suite that is looked into has it.
const MAIN: &str = "main";

/// A suite of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suite {
    pub(super) mirror: String,
    pub(super) name: String,
    /// `main`, and on Ubuntu `universe`, say.
    components: Vec<String>,
}

impl Suite {
    fn new(mirror: &str, name: &str, component: &str) -> Self {
        let components = vec![component.to_owned()];
        Suite { mirror: mirror.to_owned(), name: name.to_owned(), components }
    }

    /// Its line in a list of apt's.
    pub(super) fn line(&self, options: &str) -> String {
        format!("deb {options}{} {} {}\n", self.mirror, self.name, self.components.join(" "))
    }
}

/// Adds the suite, or its components to those of the same suite.
fn add(suites: &mut Vec<Suite>, suite: Suite) {
    let same = |known: &&mut Suite| known.mirror == suite.mirror && known.name == suite.name;
    match suites.iter_mut().find(same) {
        Some(known) => {
            for component in suite.components {
                if !known.components.contains(&component) {
                    known.components.push(component);
                }
            }
        }
        None => suites.push(suite),
    }
}

/// The suites with a component `main` in the output of `apt-get update --print-uris`.
///
/// Lines are `'<mirror>dists/<suite>/<component>/binary-<arch>/Packages.xz' <file> <size>`. Unlike `indextargets`, this
/// also shows mirrors whose lists were never fetched.
pub(super) fn parse_uris(output: &str) -> Vec<Suite> {
    let mut suites = Vec::new();
    for line in output.lines() {
        let Some(uri) = line.strip_prefix('\'').and_then(|rest| rest.split('\'').next()) else {
            continue;
        };
        let Some((mirror, rest)) = uri.split_once("dists/") else { continue };
        let Some((component, _)) = rest.split_once("/binary-") else { continue };
        let Some((name, component)) = component.rsplit_once('/') else { continue };
        add(&mut suites, Suite::new(mirror, name, component));
    }
    suites.retain(|suite| suite.components.iter().any(|component| component == MAIN));
    suites
}

/// The suites to look into, one list after the other until one has a kernel.
pub(super) fn stages(configured: &[Suite], os_release: &str) -> Vec<Vec<Suite>> {
    let value = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or("")
            .trim_matches('"')
    };
    let distributions = format!("{} {}", value("ID"), value("ID_LIKE"));
    let mut stages = vec![configured.to_vec()];
    let is = |name| distributions.split(' ').any(|word| word == name);
    if is("debian") && !is("ubuntu") {
        let codename = value("VERSION_CODENAME");
        let own = format!("{codename}-backports");
        let mut backports = Vec::new();
        for mirror in mirrors_of_release(configured, codename) {
            for name in BACKPORTS.into_iter().chain([own.as_str()]) {
                add(&mut backports, Suite::new(mirror, name, MAIN));
            }
        }
        if !backports.is_empty() {
            stages.insert(0, backports);
        }
    }
    stages
}

/// The mirrors of the release itself: security updates and third parties have no backports.
fn mirrors_of_release<'a>(configured: &'a [Suite], codename: &str) -> Vec<&'a str> {
    let called = |names: &[&str]| {
        let suites = configured.iter().filter(|suite| names.contains(&suite.name.as_str()));
        suites.map(|suite| suite.mirror.as_str()).collect::<Vec<_>>()
    };
    let own = called(&[codename]);
    // Third parties like to call theirs `stable` too.
    if own.is_empty() { called(&ALIASES) } else { own }
}

/// The suites of all stages, each once.
pub(super) fn at_once(stages: Vec<Vec<Suite>>) -> Vec<Suite> {
    let mut all = Vec::new();
    for suite in stages.into_iter().flatten() {
        add(&mut all, suite);
    }
    all
}

pub(super) fn keyrings() -> Vec<String> {
    let files = |(directory, prefix): (&'static str, &'static str)| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(move |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_keyring = ["gpg", "pgp", "asc"]
                .iter()
                .any(|ending| path.extension().is_some_and(|found| found == *ending));
            name.starts_with(prefix) && is_keyring && File::open(path).is_ok()
        })
    };
    let mut all: Vec<String> =
        KEYRINGS.into_iter().flat_map(files).map(|path| path.display().to_string()).collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const URIS: &str = "\
'http://mirror.test/debian/dists/bookworm/InRelease' mirror.test_debian_dists_bookworm_InRelease 0 
'http://mirror.test/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror.test_debian_x 0 
'http://mirror.test/debian/dists/bookworm/main/binary-all/Packages.xz' mirror.test_debian_y 0 
'http://mirror.test/security/dists/bookworm-security/main/binary-amd64/Packages.xz' mirror.test_z 0 
'http://third.test/repo/dists/stable/other/binary-amd64/Packages.xz' third.test_repo 0 
";

    fn suite(mirror: &str, name: &str) -> Suite {
        Suite::new(mirror, name, MAIN)
    }

    #[test]
    fn a_suite_has_the_components_that_apt_knows() {
        let uri =
            |rest: &str| format!("'http://mirror.test/ubuntu/dists/{rest}/Packages.xz' x 0\n");
        let uris =
            ["noble/universe/binary-amd64", "noble/main/binary-amd64", "noble/main/binary-all"];
        let suites = parse_uris(&uris.map(uri).concat());
        let lines: Vec<String> = suites.iter().map(|suite| suite.line("[x] ")).collect();
        assert_eq!(lines, ["deb [x] http://mirror.test/ubuntu/ noble universe main\n"]);
        let all = at_once(vec![suites, vec![suite("http://mirror.test/ubuntu/", "noble")]]);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn finds_the_configured_suites() {
        let expected = [
            suite("http://mirror.test/debian/", "bookworm"),
            suite("http://mirror.test/security/", "bookworm-security"),
        ];
        assert_eq!(parse_uris(URIS), expected);
        assert_eq!(parse_uris("Reading package lists...\n"), []);
    }

    #[test]
    fn debian_mirrors_are_asked_for_backports_first() {
        let stages = stages(&parse_uris(URIS), "ID=debian\nVERSION_CODENAME=bookworm\n");
        let mirror = "http://mirror.test/debian/";
        assert_eq!(
            stages[0],
            [suite(mirror, "trixie-backports"), suite(mirror, "bookworm-backports")]
        );
        assert_eq!(stages[1], parse_uris(URIS));
        assert_eq!(at_once([stages.clone(), stages].concat()).len(), 4);
    }

    #[test]
    fn a_release_may_be_configured_as_stable() {
        let release = "ID=debian\nVERSION_CODENAME=bookworm\n";
        let (debian, third) = ("http://mirror.test/debian/", "http://third.test/");
        let stable =
            [suite(debian, "stable"), suite("http://mirror.test/security/", "stable-security")];
        let first = |configured: &[Suite]| stages(configured, release).remove(0);
        let backports = [suite(debian, "trixie-backports"), suite(debian, "bookworm-backports")];
        assert_eq!(first(&stable), backports);
        assert_eq!(first(&[suite(third, "stable"), suite(debian, "bookworm")]), backports);
    }

    #[test]
    fn ubuntu_mirrors_are_asked_for_their_own_suites() {
        let configured = [suite("http://mirror.test/ubuntu/", "noble")];
        let release = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
        assert_eq!(stages(&configured, release), [configured.to_vec()]);
    }
}
