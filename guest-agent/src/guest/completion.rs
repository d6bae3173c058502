//! The agent's side of a completion page.
#![expect(unsafe_code, reason = "shared memory is mapped and read as a page of atomics")]

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use uml_test_protocol::Failure;
use uml_test_protocol::completion::{Completion, Page, SIZE};

/// A page of our own, mapped.
pub(super) struct SharedPage {
    address: NonNull<Page>,
}

impl SharedPage {
    /// Makes a page; the descriptor is for the test's process.
    pub(super) fn create(nonce: [u8; 16]) -> Result<(Self, OwnedFd), Failure> {
        let failed = |errno| Failure::new("create", "a completion page", errno as i32);
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memory = memfd_create(c"uml-test-completion", flags).map_err(failed)?;
        nix::unistd::ftruncate(&memory, SIZE as i64).map_err(failed)?;
        // A page that its process could shrink would be a way to kill the agent.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&memory, FcntlArg::F_ADD_SEALS(seals)).map_err(failed)?;
        let size = NonZeroUsize::new(SIZE).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, &memory, 0) }
            .map_err(failed)?
            .cast();
        let page = Self { address };
        page.get().initialise(nonce);
        Ok((page, memory))
    }

    /// What the test's process has said.
    pub(super) fn read(&self) -> Completion {
        self.get().read()
    }

    fn get(&self) -> &Page {
        // SAFETY: the mapping is SIZE bytes, page-aligned, and lives as long as `self`; the
        // seals keep it backed. A page consists of atomics: the other process's writes are no
        // data races.
        unsafe { self.address.as_ref() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        let _ = unsafe { munmap(self.address.cast(), SIZE) };
    }
}
