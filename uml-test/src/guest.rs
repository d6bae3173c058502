//! What runs in the guest's test process: the handshake, the body, the completion page.
#![expect(unsafe_code, reason = "maps memory and moves standard streams")]

use std::any::Any;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous};
use uml_test_protocol::GUEST_VARIABLE;
use uml_test_protocol::completion::{Completion, Inheritance, MESSAGE, Page, SIZE};

use crate::case::{Body, ShouldPanic, TestCase};
use crate::config::variable;

/// Where this process runs.
pub(crate) enum Place {
    /// On the host: nothing claims otherwise.
    Host,
    /// In a guest that was not booted for this test: `cargo uml`'s, or one that a test's `Vm` is.
    Inside,
    /// In a guest, started by its agent to run one test.
    Guest(Guest),
    /// The environment claims a guest, and there is none: the body must not run here.
    Refused(String),
}

/// Finds out where this process runs. An environment variable alone proves nothing; only the
/// agent can give the page that fits it, and the page can be taken once: a test binary that a test
/// starts has the variable from it, and nothing more.
pub(crate) fn place() -> Place {
    let Some(value) = variable(GUEST_VARIABLE) else {
        return if is_inside() { Place::Inside } else { Place::Host };
    };
    let refused = |why: &str| {
        if is_inside() {
            return Place::Inside;
        }
        Place::Refused(format!(
            "{GUEST_VARIABLE} is set, but this process was not started by a guest's agent ({why}); \
             the test was not run. Unset the variable: uml-test sets it inside guests only"
        ))
    };
    let Some(Ok(inheritance)) = value.to_str().map(str::parse::<Inheritance>) else {
        return refused("its value is malformed");
    };
    match Guest::enter(&inheritance) {
        Ok(guest) => Place::Guest(guest),
        Err(why) => refused(&why),
    }
}

/// Whether this process's kernel is a guest's. Nothing nests: no guest boots there.
pub(crate) fn is_inside() -> bool {
    static INSIDE: OnceLock<bool> = OnceLock::new();
    *INSIDE.get_or_init(|| {
        // The second line has it, and the file has a page for each of a host's processors.
        let mut start = String::new();
        let file = std::fs::File::open("/proc/cpuinfo");
        let read = file.and_then(|file| file.take(256).read_to_string(&mut start));
        let is_vendor =
            |line: &str| line.starts_with("vendor_id") && line.ends_with("User Mode Linux");
        read.is_ok() && start.lines().any(is_vendor)
    })
}

/// Runs a body in this very process, and says how it ended.
pub(crate) fn run_here(body: Body) -> Completion {
    completion_of(&caught(body))
}

/// How many bodies are running in this process.
static BODIES: AtomicUsize = AtomicUsize::new(0);

fn caught(body: Body) -> std::thread::Result<Result<(), String>> {
    BODIES.fetch_add(1, Ordering::Relaxed);
    let result = catch_unwind(AssertUnwindSafe(body));
    BODIES.fetch_sub(1, Ordering::Relaxed);
    result
}

fn completion_of(result: &std::thread::Result<Result<(), String>>) -> Completion {
    match result {
        Ok(Ok(())) => Completion::Returned,
        Ok(Err(error)) => Completion::Errored(error.clone()),
        Err(payload) => match payload.downcast_ref::<Skip>() {
            Some(Skip(reason)) => Completion::Skipped(reason.clone()),
            None => Completion::Panicked(panic_message(payload.as_ref())),
        },
    }
}

/// The payload of [`skip!`](crate::skip).
struct Skip(String);

/// The function behind `skip!`: ends the body as skipped.
#[track_caller]
pub fn skip(reason: String) -> ! {
    // Whatever the thread: rstest's timeouts have bodies of their own, and pass on how these end.
    if BODIES.load(Ordering::Relaxed) == 0 {
        panic!("skip! outside of a #[uml_test], where nothing can be skipped: {reason}");
    }
    // Not panic_any: the panic hook would report a panic that is none.
    resume_unwind(Box::new(Skip(reason)))
}

/// A test's process in a guest.
pub(crate) struct Guest {
    page: &'static Page,
    original: Original,
    inheritance: Inheritance,
}

impl Guest {
    fn enter(inheritance: &Inheritance) -> Result<Self, String> {
        // SAFETY: used for these calls only; a number that is no descriptor is an error of theirs.
        let memory = unsafe { BorrowedFd::borrow_raw(inheritance.page) };
        let size = nix::sys::stat::fstat(memory)
            .map_err(|errno| format!("descriptor {}: {errno}", inheritance.page))?
            .st_size;
        if size != SIZE as i64 {
            return Err(format!("descriptor {} is no completion page", inheritance.page));
        }
        let length = NonZeroUsize::new(SIZE).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, memory, 0) }
            .map_err(|errno| format!("map descriptor {}: {errno}", inheritance.page))?;
        // SAFETY: the mapping is SIZE bytes long (checked above, and sealed by the agent), aligned
        // to a memory page, consists of atomics, and is never unmapped.
        let page: &'static Page = unsafe { address.cast::<Page>().as_ref() };
        if !page.enter(inheritance.nonce) {
            return Err("its page has another nonce, or was taken before".to_owned());
        }
        // SAFETY: the agent gave these three descriptors to nobody else in this process.
        drop(unsafe { OwnedFd::from_raw_fd(inheritance.page) });
        let original = Original::mark().map_err(|errno| format!("mark the process: {errno}"))?;
        Ok(Self { page, original, inheritance: *inheritance })
    }

    /// Runs a body and says how it ended. Its failure comes back as what to unwind with, so that
    /// the harness around it fails too.
    pub(crate) fn run(self, case: &TestCase) -> Result<(), Box<dyn Any + Send>> {
        let body = case.body;
        let streams = BodyStreams::switch_to(&self.inheritance);
        let result = caught(body);
        let completion = match completion_of(&result) {
            Completion::Panicked(message) => {
                Completion::Panicked(excerpt(message, case.should_panic))
            }
            completion => completion,
        };
        streams.switch_back();
        // A forked copy that came out of the body too has no say.
        if self.original.is_this_process() {
            self.page.complete(&completion);
        }
        match (result, completion) {
            (Ok(Ok(())), _) | (Err(_), Completion::Skipped(_)) => Ok(()),
            (Ok(Err(error)), _) => Err(Box::new(error)),
            (Err(payload), _) => Err(payload),
        }
    }
}

/// The message of a panic, as the standard library's hook would print it.
fn panic_message(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (_, Some(message)) => message.clone(),
        (None, None) => "Box<dyn Any>".to_owned(),
    }
}

/// A message that the page holds, with what is expected of it if that is there: the host looks for
/// it.
fn excerpt(message: String, expected: ShouldPanic) -> String {
    const LEFT_OUT: &str = "\n…\n";
    let ShouldPanic::Containing(text) = expected else { return message };
    match message.find(text) {
        Some(at) if at + text.len() > MESSAGE && text.len() + LEFT_OUT.len() <= MESSAGE => {
            let mut beginning = MESSAGE - LEFT_OUT.len() - text.len();
            while !message.is_char_boundary(beginning) {
                beginning -= 1;
            }
            [&message[..beginning], LEFT_OUT, text].concat()
        }
        _ => message,
    }
}

/// A mark that forked copies of this process do not have, whatever their pid.
struct Original {
    pid: u32,
    /// Wiped to zero in a forked copy.
    mark: &'static AtomicU8,
}

impl Original {
    fn mark() -> Result<Self, nix::errno::Errno> {
        let length = NonZeroUsize::MIN;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice, one whole memory page of
        // zeroes, never unmapped.
        let mark = unsafe {
            let address = mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE)?;
            madvise(address, 1, MmapAdvise::MADV_WIPEONFORK)?;
            let mark: &'static AtomicU8 = address.cast().as_ref();
            mark
        };
        mark.store(1, Ordering::Relaxed);
        Ok(Self { pid: std::process::id(), mark })
    }

    fn is_this_process(&self) -> bool {
        self.mark.load(Ordering::Relaxed) == 1 && std::process::id() == self.pid
    }
}

/// Standard output and error of the body, apart from what the harness around it prints.
struct BodyStreams {
    harness: Option<OwnedFd>,
}

impl BodyStreams {
    fn switch_to(inheritance: &Inheritance) -> Self {
        let _ = std::io::stdout().flush();
        // SAFETY: standard output is open: the agent gave it.
        let stdout = unsafe { BorrowedFd::borrow_raw(1) };
        // Out of the way of the numbers that bodies may count on, if the limit of open files leaves room.
        let harness = fcntl(stdout, FcntlArg::F_DUPFD_CLOEXEC(100))
            .or_else(|_| fcntl(stdout, FcntlArg::F_DUPFD_CLOEXEC(3)))
            .ok()
            // SAFETY: F_DUPFD made this descriptor; nobody else owns it.
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        for (from, to) in [(inheritance.stdout, 1), (inheritance.stderr, 2)] {
            // SAFETY: the agent gave these descriptors for this; each is used once.
            let from = unsafe { OwnedFd::from_raw_fd(from) };
            let _ = fcntl(&from, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
            // SAFETY: dup2 touches no memory.
            unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&from), to) };
        }
        Self { harness }
    }

    fn switch_back(self) {
        let _ = std::io::stdout().flush();
        let Some(harness) = self.harness else { return };
        // The body may have closed any of these, this copy too: then there is nothing to restore,
        // and dropping an owner of a closed descriptor would abort the process.
        let harness = std::os::fd::IntoRawFd::into_raw_fd(harness);
        for to in [1, 2] {
            // SAFETY: dup2 touches no memory; a closed descriptor is an error of its.
            unsafe { libc::dup2(harness, to) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_of_a_long_message_is_in_what_is_kept_of_it() {
        let long = format!("{}ENDé", "é".repeat(MESSAGE));
        // What fits into a page.
        let page = |text| {
            let kept = excerpt(long.clone(), ShouldPanic::Containing(text)).into_bytes();
            String::from_utf8_lossy(&kept[..kept.len().min(MESSAGE)]).into_owned()
        };
        assert!(page("END").starts_with("éé") && page("END").contains("END"));
        assert!(!page("another").contains("another"));
        assert!(!page("\n…\n").contains('…'), "what is put between is no part of it");
        assert_eq!(excerpt("short".to_owned(), ShouldPanic::Containing("or")), "short");
    }
}
