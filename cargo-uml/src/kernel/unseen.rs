//! Changes of a source tree that make does not see, as it goes by the times of files alone.
//!
//! A tree that is built again and again keeps its objects. Of a file that is saved while the compiler, which has
//! read it, still runs, the object is the newer one; and so it is of a file that was put back with its old time.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::error::Error;
use crate::report::Reporter;

/// In a build's directory: as old as the beginning of its last make, and as its end.
const STARTED: &str = "started";
const ENDED: &str = "ended";

/// Notes that make begins.
pub(crate) fn note_start(directory: &Path) -> Result<(), Error> {
    note(directory, STARTED)
}

/// Notes that make has ended.
pub(crate) fn note_end(directory: &Path) -> Result<(), Error> {
    note(directory, ENDED)
}

fn note(directory: &Path, name: &str) -> Result<(), Error> {
    let path = directory.join(name);
    // Written to, for the filesystem's own idea of the time, which the tree's files have too.
    fs::write(&path, "make\n").map_err(Error::io("write", &path))
}

/// Has make see what changed in `tree` since it last began, in `directory`.
pub(crate) fn show(
    tree: &Path,
    directory: &Path,
    out: &Path,
    reporter: &Reporter,
) -> Result<(), Error> {
    let time = |name| directory.join(name).metadata().and_then(|found| found.modified());
    let Ok(start) = time(STARTED) else { return Ok(()) };
    // Of a make that was killed the end is not known.
    let end = time(ENDED).ok().filter(|end| *end >= start).unwrap_or_else(SystemTime::now);
    match unseen(tree, start, end) {
        Some(Unseen::Meanwhile) => {
            age(out, start).map_err(Error::io("set times in", out))?;
        }
        Some(Unseen::Before) => {
            reporter
                .note("Files of the tree changed without becoming newer, so all is compiled again");
            fs::remove_dir_all(out).map_err(Error::io("remove", out))?;
        }
        None => {}
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unseen {
    /// While make ran: what it made may be older than the change.
    Meanwhile,
    /// Since, with a time from before it: whatever it made may be.
    Before,
}

/// The worst that happened to a file below `directory` since `start`. What can't be read make can't read either.
fn unseen(directory: &Path, start: SystemTime, end: SystemTime) -> Option<Unseen> {
    use std::os::unix::fs::MetadataExt;
    use std::time::{Duration, UNIX_EPOCH};
    let mut worst = None;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name() == ".git" {
            continue;
        }
        let Ok(found) = entry.metadata() else { continue };
        if found.is_dir() {
            worst = worst.max(unseen(&entry.path(), start, end));
        } else {
            let changed = Duration::new(
                found.ctime().try_into().unwrap_or_default(),
                found.ctime_nsec().try_into().unwrap_or_default(),
            );
            let modified = found.modified().unwrap_or(UNIX_EPOCH);
            if UNIX_EPOCH + changed > start && modified <= end {
                let how = if modified > start { Unseen::Meanwhile } else { Unseen::Before };
                worst = worst.max(Some(how));
            }
        }
        if worst == Some(Unseen::Before) {
            break;
        }
    }
    worst
}

/// Makes all files that are newer than `start` older than any source.
fn age(directory: &Path, start: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            age(&entry.path(), start)?;
        } else if kind.is_file() && entry.metadata()?.modified()? > start {
            // Whatever its permissions: it is this user's.
            File::open(entry.path())?.set_modified(SystemTime::UNIX_EPOCH)?;
        }
    }
    Ok(())
}
