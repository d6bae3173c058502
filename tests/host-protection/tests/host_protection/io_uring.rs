//! `setxattr` through an io_uring, where no seccomp filter sees it.
#![expect(unsafe_code, reason = "the ring is memory shared with the host's kernel")]

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::{c_path, call, call_fd, pointer};

const SETXATTR: u8 = 42;
const ENTER_GETEVENTS: usize = 1;
const OFFSET_SQ: usize = 0;
const OFFSET_CQ: usize = 0x0800_0000;
const OFFSET_SQES: usize = 0x1000_0000;
const RING_BYTES: usize = 4096;

/// `struct io_uring_params` of linux/io_uring.h: ten words, then the offsets of both rings.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    head: [u32; 10],
    sq: [u32; 10],
    cq: [u32; 10],
}

/// `struct io_uring_sqe`, as far as `setxattr` uses it.
#[repr(C)]
struct Entry {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    value: u64,
    name: u64,
    length: u32,
    xattr_flags: u32,
    user_data: u64,
    reserved: u64,
    path: u64,
    reserved_end: u64,
}

pub(crate) fn set_attribute(path: &Path) -> io::Result<()> {
    let mut parameters = Parameters::default();
    let ring =
        call_fd(libc::SYS_io_uring_setup, &[1, std::ptr::from_mut(&mut parameters) as usize])?;
    let map = |offset: usize| {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let fd = ring.as_raw_fd() as usize;
        call(libc::SYS_mmap, &[0, RING_BYTES, protection, libc::MAP_SHARED as usize, fd, offset])
    };
    let (sq, cq, entries) = (map(OFFSET_SQ)?, map(OFFSET_CQ)?, map(OFFSET_SQES)?);
    let path = c_path(path);
    let value = b"changed";
    let entry = Entry {
        opcode: SETXATTR,
        flags: 0,
        ioprio: 0,
        fd: 0,
        value: value.as_ptr() as u64,
        name: c"user.kept".as_ptr() as u64,
        length: value.len() as u32,
        xattr_flags: 0,
        user_data: 0,
        reserved: 0,
        path: path.as_ptr() as u64,
        reserved_end: 0,
    };
    debug_assert!(pointer(&entry) != 0 && size_of::<Entry>() == 64);
    // Offsets as in the header: head, tail, mask, entries, flags, dropped, array.
    let (sq_tail, sq_array) = (sq + parameters.sq[1] as usize, sq + parameters.sq[6] as usize);
    // SAFETY: a ring of one entry fits a page each; the offsets are the kernel's.
    unsafe {
        std::ptr::write_volatile(entries as *mut Entry, entry);
        std::ptr::write_volatile(sq_array as *mut u32, 0);
        (*(sq_tail as *const AtomicU32)).fetch_add(1, Ordering::Release);
    }
    call(libc::SYS_io_uring_enter, &[ring.as_raw_fd() as usize, 1, 1, ENTER_GETEVENTS, 0, 0])?;
    // Offsets as in the header: head, tail, mask, entries, overflow, cqes. Of an entry, the
    // result is behind eight bytes of user data.
    let result = cq + parameters.cq[5] as usize + 8;
    // SAFETY: the call above waited for this one completion.
    match unsafe { std::ptr::read_volatile(result as *const i32) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}
