//! Starting a program in a session of its own.
//!
//! Neither fork, which copies page tables, nor `posix_spawn(3)`, which asks for the disposition of
//! every signal: each of its 126 system calls is a trap, and in a UML guest a trap costs two
//! process switches on the host. What is left is what posix_spawn is made of, `clone(2)` with
//! shared memory.
#![expect(unsafe_code, reason = "a cloned child that shares memory may call nothing but libc")]

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Pid;
use uml_test_protocol::{Bytes, Failure, Spawn};

/// Where programs are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Room for the child's few calls until it is another program, in bytes.
const STACK: usize = 32 << 10;

/// The descriptors of a new process. It gets no others.
pub(super) struct Descriptors<'f> {
    /// What becomes standard input, output and error.
    pub(super) standard: [BorrowedFd<'f>; 3],
    /// What it gets under the numbers that they have here.
    pub(super) others: Vec<BorrowedFd<'f>>,
}

/// Starts `wanted` with the environment `env`.
///
/// # Errors
/// What failed, and on which path: the program, the working directory, or an argument.
pub(super) fn spawn(wanted: &Spawn, env: &[Bytes], fds: &Descriptors<'_>) -> Result<Pid, Failure> {
    let _cwd = WorkingDirectory::enter(OsStr::from_bytes(&wanted.cwd))?;
    let program = resolve(wanted, env)?;
    let path = c_string(program.as_os_str().as_bytes())?;
    let argv = c_strings(&wanted.argv)?;
    let envp = c_strings(env)?;
    let (argv, envp) = (pointers(&argv), pointers(&envp));
    let mut launch = Launch {
        path: path.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        standard: fds.standard.map(|fd| fd.as_raw_fd()),
        others: fds.others.iter().map(AsRawFd::as_raw_fd).collect(),
        errno: 0,
    };
    // Not cleared, so that only what is used of it is faulted in.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs `exec` on a stack of its own, which grows down from the end of
    // `stack`. It shares our memory, and we do not run until it has ended or become another
    // program, so `launch` and what it points to outlive its use of them.
    let pid = unsafe {
        let top = stack.spare_capacity_mut().as_mut_ptr_range().end.cast();
        libc::clone(exec, top, flags, (&raw mut launch).cast())
    };
    if pid < 0 {
        return Err(Failure::new(
            "clone for",
            program.as_os_str().as_bytes(),
            Errno::last() as i32,
        ));
    }
    let pid = Pid::from_raw(pid);
    match launch.errno {
        0 => Ok(pid),
        errno => {
            crate::wait::collect(pid)?;
            Err(Failure::new("execute", program.as_os_str().as_bytes(), errno))
        }
    }
}

/// What the child reads, and the one thing it writes.
struct Launch {
    path: *const libc::c_char,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
    standard: [i32; 3],
    others: Vec<i32>,
    /// Why it could not become the program.
    errno: i32,
}

/// The child: becomes the program, or ends.
extern "C" fn exec(launch: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn` passes a pointer to its own Launch, and waits.
    let launch = unsafe { &mut *launch.cast::<Launch>() };
    // SAFETY: only system calls, on values prepared before; signal handlers are back at their
    // defaults after execve, and SIGPIPE, which the Rust runtime ignores here, is set so.
    unsafe {
        libc::setsid();
        for (number, fd) in launch.standard.iter().enumerate() {
            if libc::dup2(*fd, number as i32) < 0 {
                launch.errno = Errno::last() as i32;
                libc::_exit(127);
            }
        }
        for fd in &launch.others {
            libc::fcntl(*fd, libc::F_SETFD, 0);
        }
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let none = nix::sys::signal::SigSet::empty();
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ref(), std::ptr::null_mut());
        libc::execve(launch.path, launch.argv, launch.envp);
        launch.errno = Errno::last() as i32;
        libc::_exit(127)
    }
}

/// The working directory that a new process inherits. The agent's own is `/`, before and after.
struct WorkingDirectory;

impl WorkingDirectory {
    fn enter(path: &OsStr) -> Result<Self, Failure> {
        match std::env::set_current_dir(path) {
            Ok(()) => Ok(Self),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                Err(Failure::new("chdir to", path.as_bytes(), errno))
            }
        }
    }
}

impl Drop for WorkingDirectory {
    fn drop(&mut self) {
        // `/` can always be entered.
        let _ = std::env::set_current_dir("/");
    }
}

/// The program's path: as given if it has a slash, else along `PATH`.
fn resolve(wanted: &Spawn, env: &[Bytes]) -> Result<PathBuf, Failure> {
    let program = Path::new(OsStr::from_bytes(&wanted.program));
    if wanted.program.contains(&b'/') {
        return Ok(program.to_owned());
    }
    let path =
        env.iter().find_map(|variable| variable.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let mut refused = libc::ENOENT;
    for dir in path.split(|byte| *byte == b':') {
        // An empty entry is the working directory.
        let dir = if dir.is_empty() { b"." } else { dir };
        let candidate = Path::new(OsStr::from_bytes(dir)).join(program);
        match std::fs::metadata(&candidate) {
            Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => {
                return Ok(candidate);
            }
            Ok(_) => refused = libc::EACCES,
            Err(_) => {}
        }
    }
    let looked = [b"PATH ", path].concat();
    let operation = format!("find program `{}` along", program.display());
    Err(Failure::new(operation, looked, refused))
}

fn c_string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes)
        .map_err(|_| Failure::new("pass (it holds a NUL byte)", bytes, Errno::EINVAL as i32))
}

fn c_strings(all: &[Bytes]) -> Result<Vec<CString>, Failure> {
    all.iter().map(|bytes| c_string(bytes)).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
    pointers.push(std::ptr::null());
    pointers
}
