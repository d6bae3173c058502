//! System calls without a wrapper, and the structures that they take.
#![expect(unsafe_code, reason = "raw system calls, and memory that is shared with the kernel")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Any system call; `arguments` are numbers, or pointers to what the caller keeps.
pub(crate) fn call(number: libc::c_long, arguments: &[usize]) -> io::Result<usize> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the callers in this crate pass pointers to live memory of the right size.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// As [`call`], for calls that return a new descriptor.
pub(crate) fn call_fd(number: libc::c_long, arguments: &[usize]) -> io::Result<OwnedFd> {
    call(number, arguments).map(owned)
}

/// A descriptor that the kernel has just made for the caller.
pub(crate) fn owned(fd: usize) -> OwnedFd {
    // SAFETY: nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// An ioctl on a structure, which the kernel may change.
pub(crate) fn ioctl(fd: &impl AsRawFd, request: usize, data: &mut [u8]) -> io::Result<usize> {
    ioctl_number(fd, request, data.as_mut_ptr() as usize)
}

/// An ioctl with a number, or with none.
pub(crate) fn ioctl_number(
    fd: &impl AsRawFd,
    request: usize,
    argument: usize,
) -> io::Result<usize> {
    call(libc::SYS_ioctl, &[fd.as_raw_fd() as usize, request, argument])
}

/// Memory that is mapped as long as the program runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped(usize);

impl Mapped {
    /// `length` bytes at `offset` of `fd`, shared.
    pub(crate) fn shared(fd: &impl AsRawFd, length: usize, offset: usize) -> io::Result<Self> {
        Self::new(length, libc::MAP_SHARED, fd.as_raw_fd(), offset)
    }

    /// Memory of the program's own.
    pub(crate) fn anonymous(length: usize) -> io::Result<Self> {
        Self::new(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    fn new(length: usize, flags: i32, fd: i32, offset: usize) -> io::Result<Self> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let arguments = [0, length, protection, flags as usize, fd as usize, offset];
        call(libc::SYS_mmap, &arguments).map(Self)
    }

    pub(crate) fn address(self) -> usize {
        self.0
    }

    pub(crate) fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the callers stay within what they mapped, and any bytes are a `T` of theirs: they are integers.
        unsafe { std::ptr::read_volatile((self.0 + offset) as *const T) }
    }

    pub(crate) fn write<T: Copy>(self, offset: usize, value: T) {
        // SAFETY: as above.
        unsafe { std::ptr::write_volatile((self.0 + offset) as *mut T, value) }
    }
}

/// A structure of the kernel's, put together field by field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<u8>);

impl Fields {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub(crate) fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// A text in a field of `size` bytes.
    pub(crate) fn text(self, text: &str, size: usize) -> Self {
        self.bytes(text.as_bytes()).zeros(size - text.len())
    }

    /// An attribute of netlink's.
    pub(crate) fn attribute(self, kind: u16, value: &[u8]) -> Self {
        let length = 4 + value.len();
        self.u16(length as u16).u16(kind).bytes(value).zeros(length.next_multiple_of(4) - length)
    }

    /// An attribute that attributes are in.
    pub(crate) fn nested(self, kind: u16, inside: Self) -> Self {
        const NLA_F_NESTED: u16 = 1 << 15;
        self.attribute(kind | NLA_F_NESTED, &inside.0)
    }
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(bytes[offset..offset + 8].try_into().unwrap())
}
