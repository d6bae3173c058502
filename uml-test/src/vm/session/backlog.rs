//! What a guest wrote and nobody has taken yet.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How much of a process's output waits for whoever takes it. Where that is much, the session reads
/// nothing more: the guest then waits as a program does whose pipe is full.
pub(crate) struct Backlog {
    /// Bytes; `None` once nobody listens any more.
    waiting: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Backlog {
    /// In bytes.
    pub(super) const MOST: usize = 4 << 20;

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::new(Some(0)), changed: Condvar::new() })
    }

    /// Adds what came, and waits while it is too much.
    pub(super) fn add(&self, bytes: usize) {
        let mut waiting = self.lock();
        if let Some(waiting) = &mut *waiting {
            *waiting += bytes;
        }
        while waiting.is_some_and(|waiting| waiting > Self::MOST) {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// So much has been taken.
    pub(crate) fn taken(&self, bytes: usize) {
        if let Some(waiting) = &mut *self.lock() {
            *waiting = waiting.saturating_sub(bytes);
        }
        self.changed.notify_all();
    }

    /// Nobody will take anything.
    pub(crate) fn close(&self) {
        *self.lock() = None;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Option<usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a backlog when nobody takes the output any more, however that comes.
pub(crate) struct Closing(pub(crate) Arc<Backlog>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}
