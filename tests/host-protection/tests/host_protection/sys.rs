//! System calls without a safe wrapper, as functions that cannot harm this process.
#![expect(unsafe_code, reason = "raw system calls are what is tested")]

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
    let fd = call(number, arguments)?;
    // SAFETY: the call has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub(crate) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no path here has a NUL byte")
}

pub(crate) fn pointer<T>(of: &T) -> usize {
    std::ptr::from_ref(of) as usize
}

pub(crate) fn set_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (c_path(path), CString::new(name)?);
    let arguments =
        [path.as_ptr() as usize, name.as_ptr() as usize, value.as_ptr() as usize, value.len(), 0];
    call(libc::SYS_setxattr, &arguments).map(drop)
}

/// All extended attributes that this process may see.
pub(crate) fn attributes(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let path = c_path(path);
    let mut names = vec![0_u8; 4096];
    let length = match call(
        libc::SYS_llistxattr,
        &[path.as_ptr() as usize, names.as_mut_ptr() as usize, names.len()],
    ) {
        Ok(length) => length,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => 0,
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let c_name = CString::new(name)?;
        let mut value = vec![0_u8; 4096];
        let arguments = [
            path.as_ptr() as usize,
            c_name.as_ptr() as usize,
            value.as_mut_ptr() as usize,
            value.len(),
        ];
        let length = call(libc::SYS_lgetxattr, &arguments)?;
        value.truncate(length);
        found.insert(OsStr::from_bytes(name).to_owned(), value);
    }
    Ok(found)
}

/// Maps a page of `fd` shared and writes into it.
pub(crate) fn write_mapped(fd: &impl AsRawFd) -> io::Result<()> {
    const PAGE: usize = 4096;
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let arguments = [0, PAGE, protection, libc::MAP_SHARED as usize, fd.as_raw_fd() as usize, 0];
    let at = call(libc::SYS_mmap, &arguments)?;
    // SAFETY: the mapping was just made and is writable; the file has bytes there, so no SIGBUS.
    unsafe { std::ptr::write_volatile(at as *mut u8, b'#') };
    call(libc::SYS_msync, &[at, PAGE, libc::MS_SYNC as usize])?;
    call(libc::SYS_munmap, &[at, PAGE]).map(drop)
}

/// `chmod` by the call numbers of 32-bit programs. Where the host has none, a signal ends this.
pub(crate) fn chmod_32(path: &Path, mode: u32) -> io::Result<()> {
    const CHMOD: u32 = 15;
    let path = c_path(path);
    let bytes = path.as_bytes_with_nul();
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT) as usize;
    let low = call(libc::SYS_mmap, &[0, 4096, protection, flags, usize::MAX, 0])?;
    assert!(bytes.len() <= 4096);
    let result: i32;
    // SAFETY: the path is copied into a page that this function owns; the call reads no more.
    // rbx is the compiler's own and put back.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), low as *mut u8, bytes.len());
        std::arch::asm!(
            "push rbx",
            "mov ebx, {path:e}",
            "int 0x80",
            "pop rbx",
            path = in(reg) low as u32,
            inlateout("eax") CHMOD => result,
            in("ecx") mode,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// Runs `attempt` in a forked copy of this process; a signal that ends it is an error.
pub(crate) fn forked(attempt: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    use nix::sys::wait::{WaitStatus, waitpid};
    // SAFETY: this program has one thread where it makes attempts.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            let errno = match attempt() {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            };
            // SAFETY: ends the copy without running what belongs to the original.
            unsafe { libc::_exit(errno) }
        }
        nix::unistd::ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
            other => Err(io::Error::other(format!("{other:?}"))),
        },
    }
}
