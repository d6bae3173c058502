//! What a guest could leave behind: processes, run directories, sockets, memory files.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How soon all of it has to be gone.
const SOON: Duration = Duration::from_secs(1);

/// A directory for the guests of one check: whatever they have on the host names it.
pub(crate) struct Base {
    dir: tempfile::TempDir,
}

impl Base {
    /// On a tmpfs where there is one, and with a short path, as sockets need it.
    pub(crate) fn new() -> Self {
        Self::named("e2e-")
    }

    pub(crate) fn named(prefix: &str) -> Self {
        let place = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
        let dir = tempfile::Builder::new().prefix(prefix).rand_bytes(8).tempdir_in(place).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Everything there still is.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| format!("file {}", entry.unwrap().path().display()))
            .collect();
        left.extend(processes_of(self.path()));
        left
    }

    /// The kernels that run there: processes with its path in their arguments.
    pub(crate) fn kernels(&self) -> Vec<u32> {
        let needle = [b"uml_dir=", self.path().as_os_str().as_bytes()].concat();
        let has = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        processes()
            .into_iter()
            .filter(|(_, dir)| has(&fs::read(dir.join("cmdline")).unwrap_or_default()))
            .map(|(pid, _)| pid)
            .collect()
    }

    /// Waits until nothing is left.
    ///
    /// # Panics
    /// Where something is, after a second.
    pub(crate) fn assert_empty(&self) {
        self.assert_empty_after("the end");
    }

    /// The same, with what happened said.
    pub(crate) fn assert_empty_after(&self, what: &str) {
        self.assert_empty_since(Instant::now(), what, &[]);
    }

    /// Waits until nothing is left and none of these processes runs.
    ///
    /// # Panics
    /// Where something is, a second after `since`.
    pub(crate) fn assert_empty_since(
        &self,
        since: Instant,
        what: &str,
        processes: &[(u32, String)],
    ) {
        loop {
            // On a loaded machine a look may take longer than that itself.
            let late = since.elapsed() > SOON;
            let mut left = self.left();
            let running = processes.iter().filter(|process| still_runs(process));
            left.extend(running.map(|(pid, _)| format!("process {pid}: a test's")));
            if left.is_empty() {
                return;
            }
            assert!(!late, "left {SOON:?} after {what}:\n{}", left.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Places where everybody's run directories may lie, and which of them did.
pub(crate) struct Shared {
    places: Vec<PathBuf>,
    before: Vec<PathBuf>,
}

impl Shared {
    pub(crate) fn of(places: &[&Path]) -> Self {
        let places: Vec<_> = places.iter().map(|place| place.to_path_buf()).collect();
        let before = abandoned(&places);
        Self { places, before }
    }

    /// Waits until no other run directory lies there whose test's process has ended.
    ///
    /// # Panics
    /// Where one does, after a second.
    pub(crate) fn assert_no_more(&self) {
        let started = Instant::now();
        loop {
            let late = started.elapsed() > SOON;
            let mut left = abandoned(&self.places);
            left.retain(|dir| !self.before.contains(dir));
            if left.is_empty() {
                return;
            }
            assert!(!late, "left after {SOON:?}: {left:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The run directories, by their names, `uml-test-PID-…`, of processes that are no more.
fn abandoned(places: &[PathBuf]) -> Vec<PathBuf> {
    let entries = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten());
    let is_abandoned = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut parts = name.strip_prefix("uml-test-").unwrap_or_default().split('-');
        let pid = parts.next().and_then(|pid| pid.parse::<u32>().ok());
        let process = pid.map(|pid| Path::new("/proc").join(pid.to_string()));
        parts.count() == 2
            && process.is_some_and(|process| parent(&process).is_none_or(|(_, ended)| ended))
    };
    entries.flatten().map(|entry| entry.path()).filter(is_abandoned).collect()
}

/// The processes that have `base` in their arguments, open files or mappings: a kernel, what runs
/// its user space, its supervisor. A memory file has no name, but whoever holds it does.
fn processes_of(base: &Path) -> Vec<String> {
    let needle = base.as_os_str().as_bytes();
    let mentions = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let mut found = Vec::new();
    for (pid, dir) in processes() {
        let line = fs::read(dir.join("cmdline")).unwrap_or_default();
        let holds = mentions(&line)
            || descriptors(&dir).any(|path| mentions(path.as_os_str().as_bytes()))
            || mentions(&fs::read(dir.join("maps")).unwrap_or_default());
        if holds && pid != std::process::id() {
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            found.push(format!("process {pid}: {line:.200}"));
        }
    }
    found
}

fn descriptors(process: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok())
}

fn processes() -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect()
}

/// The parent of a process, and whether it has ended and only waits to be collected.
fn parent(process: &Path) -> Option<(u32, bool)> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let ended = fields.next()? == "Z";
    Some((fields.next()?.parse().ok()?, ended))
}

/// Makes this process the one that orphans among its descendants become children of, so that
/// [`orphans`] finds them.
pub(crate) fn adopt_orphans() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
}

/// What is left of all that this process ever started, once its own children have ended.
pub(crate) fn orphans() -> Vec<String> {
    let started = Instant::now();
    loop {
        let late = started.elapsed() > SOON;
        let mut parents = std::collections::HashMap::new();
        for (pid, dir) in processes() {
            if let Some((parent, false)) = parent(&dir) {
                parents.insert(pid, (parent, dir));
            }
        }
        let descends = |pid: &u32| {
            let mut at = *pid;
            while let Some((parent, _)) = parents.get(&at) {
                if *parent == std::process::id() {
                    return true;
                }
                at = *parent;
            }
            false
        };
        let left: Vec<_> = parents
            .iter()
            .filter(|(pid, _)| descends(pid))
            .map(|(pid, (_, dir))| {
                let line = fs::read(dir.join("cmdline")).unwrap_or_default();
                let sockets = uml_test_sockets_of(dir);
                format!("process {pid}: {:.200} {sockets:?}", String::from_utf8_lossy(&line))
            })
            .collect();
        if left.is_empty() || late {
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The abstract sockets `@uml-test/…` that a process holds.
fn uml_test_sockets_of(process: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let held: Vec<_> = descriptors(process).collect();
    table
        .lines()
        .filter(|line| line.contains(" @uml-test/"))
        .filter(|line| {
            let inode = line.split_whitespace().nth(6).unwrap_or_default();
            held.contains(&PathBuf::from(format!("socket:[{inode}]")))
        })
        .map(str::to_owned)
        .collect()
}

/// Processes that were left by others and are this one's children now, with the time they began at:
/// whatever is not in `awaited`.
pub(crate) fn adopted(awaited: impl Fn(u32) -> bool) -> Vec<(u32, String)> {
    let alive = processes()
        .into_iter()
        .filter(|(pid, dir)| parent(dir) == Some((std::process::id(), false)) && !awaited(*pid));
    alive.filter_map(|(pid, dir)| Some((pid, began(&dir)?))).collect()
}

/// A process with the time it began at, while it is there.
pub(crate) fn identified(pid: u32) -> Option<(u32, String)> {
    Some((pid, began(&Path::new("/proc").join(pid.to_string()))?))
}

/// Whether the process that began then still runs.
pub(crate) fn still_runs(process: &(u32, String)) -> bool {
    let dir = Path::new("/proc").join(process.0.to_string());
    parent(&dir).is_some_and(|(_, ended)| !ended) && began(&dir).as_ref() == Some(&process.1)
}

/// When a process began, in the clock's ticks since the host's boot.
fn began(process: &Path) -> Option<String> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}
