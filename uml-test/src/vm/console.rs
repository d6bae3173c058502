//! The guest's console: drained always, kept in a file and, the last of it, in memory.
//!
//! It is evidence for people. No verdict depends on it, but for the one end of old kernels that
//! [`super::halt`] tells of.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How much of the console's end is kept in memory, in bytes.
const TAIL: usize = 64 << 10;

/// How much goes into the file, in bytes: a guest that writes to its console without end must not
/// fill the host's memory, where the run directory usually lies.
pub(super) const FILE_LIMIT: usize = 4 << 20;

/// A console that is being drained by a thread of its own.
pub(crate) struct Console {
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

#[derive(Default)]
struct Shared {
    tail: VecDeque<u8>,
    /// Bytes that have come in all.
    count: u64,
    /// What was read so far that has no file yet, or the file.
    log: Log,
    /// The file once more, also after the end of writing to it.
    file: Option<File>,
    written: usize,
    /// Whether the guest's end is closed.
    finished: bool,
}

enum Log {
    Waiting(Vec<u8>),
    File(File),
    Closed,
}

impl Default for Log {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

impl Console {
    /// Starts draining.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub(crate) fn drain(mut source: impl Read + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new((Mutex::new(Shared::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("uml-test console".to_owned()).spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            loop {
                match source.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => lock(&theirs).append(&buffer[..length]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            lock(&theirs).finished = true;
            theirs.1.notify_all();
        })?;
        Ok(Self { shared })
    }

    /// Writes what came so far, and what comes, to a file as well. A file that cannot be written
    /// is done without: its directory may be what is full.
    pub(crate) fn log_to(&self, path: &Path) {
        let mut shared = lock(&self.shared);
        let waiting = match std::mem::replace(&mut shared.log, Log::Closed) {
            Log::Waiting(bytes) => bytes,
            Log::File(_) | Log::Closed => Vec::new(),
        };
        // A new file, or none: guest root can reach the run directory, and a link that it put here
        // must not be followed.
        if let Ok(file) = File::options().read(true).write(true).create_new(true).open(path) {
            shared.file = file.try_clone().ok();
            shared.log = Log::File(file);
            shared.write(&waiting);
        }
    }

    /// The file, open at whatever place; it outlives its name.
    pub(crate) fn log(&self) -> Option<File> {
        lock(&self.shared).file.as_ref()?.try_clone().ok()
    }

    /// Waits until the guest's end is closed, `limit` at most.
    pub(crate) fn wait(&self, limit: Duration) {
        let shared = lock(&self.shared);
        let waited = self.shared.1.wait_timeout_while(shared, limit, |shared| !shared.finished);
        drop(waited);
    }

    /// The end of what was written, as text: control characters but line ends are left out.
    pub(crate) fn tail(&self) -> String {
        text(lock(&self.shared).tail.make_contiguous())
    }

    /// How many bytes have come so far.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.shared).count
    }

    /// What has come since then, as [`Console::tail`] gives it.
    pub(crate) fn since(&self, count: u64) -> String {
        let mut shared = lock(&self.shared);
        let new = usize::try_from(shared.count - count).unwrap_or(usize::MAX);
        let old = shared.tail.len().saturating_sub(new);
        text(&shared.tail.make_contiguous()[old..])
    }
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect()
}

/// Copies what is in a console's file so far, wherever that is written to next. No more than was
/// ever written there: guest root can reach the file, and make it as long as it likes.
pub(crate) fn copy_log(log: &File, to: &Path) -> std::io::Result<()> {
    const MOST: u64 = (FILE_LIMIT + 128) as u64;
    let mut copy = File::create(to)?;
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    loop {
        let room = (MOST - at).min(buffer.len() as u64) as usize;
        match log.read_at(&mut buffer[..room], at)? {
            0 => return Ok(()),
            length => {
                copy.write_all(&buffer[..length])?;
                at += length as u64;
            }
        }
    }
}

impl Shared {
    fn append(&mut self, bytes: &[u8]) {
        self.write(bytes);
        self.count += bytes.len() as u64;
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
    }

    fn write(&mut self, bytes: &[u8]) {
        match &mut self.log {
            Log::Waiting(waiting) if waiting.len() < FILE_LIMIT => waiting.extend_from_slice(bytes),
            Log::Waiting(_) | Log::Closed => {}
            Log::File(file) => {
                let room = FILE_LIMIT - self.written.min(FILE_LIMIT);
                let part = &bytes[..bytes.len().min(room)];
                self.written += part.len();
                let cut = part.len() < bytes.len();
                let note = format!("\n[uml-test: the log ends here, after {FILE_LIMIT} bytes]\n");
                if file.write_all(part).is_err() || (cut && file.write_all(note.as_bytes()).is_ok())
                {
                    self.log = Log::Closed;
                }
            }
        }
    }
}

fn lock(shared: &(Mutex<Shared>, Condvar)) -> std::sync::MutexGuard<'_, Shared> {
    // The thread that poisoned it was only appending bytes.
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The message of the kernel's panic in a console's text, for quoting.
pub(crate) fn panic_message(console: &str) -> Option<String> {
    const MARK: &str = "Kernel panic - not syncing: ";
    let at = console.rfind(MARK)? + MARK.len();
    console[at..].lines().next().map(|line| line.trim().to_owned())
}

/// The file's name in a run directory.
pub(crate) fn log_path(run_dir: &Path) -> PathBuf {
    run_dir.join("console.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_panic_message_is_the_last_one() {
        let console = "x\n[ 1.0] Kernel panic - not syncing: first\nfoo\n[ 2.0] Kernel panic - not syncing: sysrq triggered crash\r\nCPU: 0\n";
        assert_eq!(panic_message(console).unwrap(), "sysrq triggered crash");
        assert_eq!(panic_message("nothing of the kind"), None);
    }

    #[test]
    fn the_tail_and_the_file_are_bounded_and_nothing_stalls() {
        let dir = std::env::temp_dir().join(format!("uml-test-console-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let console = Console::drain(reader).unwrap();
        writer.write_all(b"before the file\n").unwrap();
        console.log_to(&log_path(&dir));
        for _ in 0..FILE_LIMIT / 1000 + 100 {
            writer.write_all(&[b'x'; 1000]).unwrap();
        }
        writer.write_all(b"the\x1b[0m end\n").unwrap();
        drop(writer);
        console.wait(Duration::from_secs(10));
        let count = console.count();
        assert_eq!(console.since(count), "");
        assert_eq!(console.since(count - 5), " end\n");
        assert_eq!(console.since(0), console.tail(), "no more is kept");
        let log = std::fs::read(log_path(&dir)).unwrap();
        let _ = std::fs::remove_dir_all(&dir);
        assert!(log.starts_with(b"before the file\n"));
        assert!(log.len() < FILE_LIMIT + 100, "{}", log.len());
        let copy = tempfile::NamedTempFile::new().unwrap();
        let long = tempfile::tempfile().unwrap();
        long.set_len(1 << 40).unwrap();
        copy_log(&long, copy.path()).unwrap();
        assert_eq!(copy.as_file().metadata().unwrap().len(), FILE_LIMIT as u64 + 128);
        let tail = console.tail();
        assert!(tail.len() <= TAIL && tail.ends_with("xxxthe[0m end\n"), "{}", tail.len());
    }
}
