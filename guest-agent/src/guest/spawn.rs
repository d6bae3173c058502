//! Starting a program in a session and a process group of its own, which it leads neither of unless
//! it gets a terminal.
//!
//! So it is for what a shell or cargo starts, too: a leader gets the first terminal that it opens as its own, with a
//! SIGHUP when that closes, and `setsid(2)` fails for it. The leader is a process that ends at once.
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
use uml_test_protocol::{Bytes, Exit, Failure, Limit, Resource, Spawn};

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
    /// Whether standard input is a terminal that is to control the process's session.
    pub(super) terminal: bool,
}

/// Starts `wanted` with the environment `env` and these limits.
///
/// # Errors
/// What failed, and on which path: the program, the working directory, or an argument.
pub(super) fn spawn(
    wanted: &Spawn,
    env: &[Bytes],
    limits: &[Limit],
    fds: &Descriptors<'_>,
) -> Result<Pid, Failure> {
    let _cwd = WorkingDirectory::enter(OsStr::from_bytes(&wanted.cwd))?;
    let program = resolve(wanted, env)?;
    let path = c_string(program.as_os_str().as_bytes())?;
    let argv = c_strings(&wanted.argv)?;
    let envp = c_strings(env)?;
    let (arguments, variables) = (pointers(&argv), pointers(&envp));
    let mut stack = new_stack();
    let launch = Box::into_raw(Box::new(Launch {
        path: path.as_ptr(),
        argv: arguments.as_ptr(),
        envp: variables.as_ptr(),
        standard: fds.standard.map(|fd| fd.as_raw_fd()),
        others: fds.others.iter().map(AsRawFd::as_raw_fd).collect(),
        limits: limits.iter().map(rlimit).collect(),
        stack: top_of(&mut stack),
        terminal: fds.terminal,
        // What is left where the leader is killed first.
        pid: -1,
        errno: libc::EINTR,
    }));
    let mut leaders_stack = new_stack();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs `lead` on a stack of its own. It shares our memory, and we do not run
    // until it has ended, which it does when its own child has become another program or has ended
    // too, or when somebody kills it. `launch` and what it points to are freed after the former alone.
    let leader = unsafe { libc::clone(lead, top_of(&mut leaders_stack), flags, launch.cast()) };
    let clone_error = Errno::last() as i32;
    let refused = |what: &str, errno| Failure::new(what, program.as_os_str().as_bytes(), errno);
    let is_over = match leader {
        -1 => true,
        _ => crate::wait::collect(Pid::from_raw(leader))?.0 == Exit::Code(0),
    };
    // SAFETY: it is not freed yet; where somebody may write to it still, these are plain integers.
    let (pid, errno) = unsafe {
        ((&raw const (*launch).pid).read_volatile(), (&raw const (*launch).errno).read_volatile())
    };
    if is_over {
        // SAFETY: it came from a box, and nobody uses it any more.
        drop(unsafe { Box::from_raw(launch) });
    } else {
        // The program's process may be on its way still, in all of this and in `launch`.
        std::mem::forget((path, argv, envp, arguments, variables, stack));
    }
    if leader < 0 {
        return Err(refused("clone for", clone_error));
    }
    if pid < 0 {
        return Err(refused("clone for", if errno == 0 { libc::EINTR } else { errno }));
    }
    let pid = Pid::from_raw(pid);
    match errno {
        0 => Ok(pid),
        errno => {
            crate::wait::collect(pid)?;
            Err(refused("execute", errno))
        }
    }
}

/// A stack for a child. Not cleared, so that only what is used of it is faulted in.
fn new_stack() -> Vec<u128> {
    Vec::with_capacity(STACK / size_of::<u128>())
}

/// Stacks grow down.
fn top_of(stack: &mut Vec<u128>) -> *mut libc::c_void {
    stack.spare_capacity_mut().as_mut_ptr_range().end.cast()
}

/// What the children read, and the little that they write.
struct Launch {
    path: *const libc::c_char,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
    standard: [i32; 3],
    others: Vec<i32>,
    limits: Vec<(libc::c_long, libc::rlimit64)>,
    /// For the child that becomes the program.
    stack: *mut libc::c_void,
    /// Whether that child takes standard input for its controlling terminal.
    terminal: bool,
    /// That child; -1 where there is none.
    pid: i32,
    /// Why there is none, or why it could not become the program.
    errno: i32,
}

/// As prlimit(2) takes it.
fn rlimit(limit: &Limit) -> (libc::c_long, libc::rlimit64) {
    let resource = match limit.resource {
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::Stack => libc::RLIMIT_STACK,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Cpu => libc::RLIMIT_CPU,
    };
    let (rlim_cur, rlim_max) = (limit.soft, limit.hard);
    // A number whose type the C libraries differ in.
    (resource as libc::c_long, libc::rlimit64 { rlim_cur, rlim_max })
}

/// The session's leader: starts the program, as a child of the agent's, and ends.
extern "C" fn lead(launch: *mut libc::c_void) -> libc::c_int {
    // The kernel notes the child's pid before the child runs: by the time that this process goes
    // on, the program may have killed all there is, this process too.
    let flags = libc::CLONE_VM
        | libc::CLONE_VFORK
        | libc::CLONE_PARENT
        | libc::CLONE_PARENT_SETTID
        | libc::SIGCHLD;
    // SAFETY: `spawn` passes a pointer to its own Launch, which lives as long as this process and
    // its child. This process does not run while that child uses it.
    unsafe {
        libc::setsid();
        let shared = launch.cast::<Launch>();
        (*shared).errno = 0;
        let stack = (*shared).stack;
        if libc::clone(exec, stack, flags, launch, &raw mut (*shared).pid) < 0 {
            (*shared).errno = Errno::last() as i32;
        }
        libc::_exit(0)
    }
}

/// The program's process: becomes it, or ends.
extern "C" fn exec(launch: *mut libc::c_void) -> libc::c_int {
    let launch = launch.cast::<Launch>();
    // SAFETY: `spawn` passes a pointer to its own Launch, which lives as long as this process shares
    // memory, and of which nobody else writes what is read here. Only system calls, on values
    // prepared before; signal handlers are back at their defaults after execve, and SIGPIPE, which
    // the Rust runtime ignores here, is set so.
    unsafe {
        let fail = || -> ! {
            (*launch).errno = Errno::last() as i32;
            libc::_exit(127)
        };
        let Launch { path, argv, envp, standard, terminal, .. } = *launch;
        for (number, fd) in standard.into_iter().enumerate() {
            if libc::dup2(fd, number as i32) < 0 {
                fail();
            }
        }
        if terminal && (libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0) {
            fail();
        }
        for fd in &(*launch).others {
            libc::fcntl(*fd, libc::F_SETFD, 0);
        }
        for (resource, limit) in &(*launch).limits {
            // Where a kernel's own bounds are lower, its limit stays.
            let old = std::ptr::null_mut::<libc::rlimit64>();
            libc::syscall(libc::SYS_prlimit64, 0, *resource, std::ptr::from_ref(limit), old);
        }
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let none = nix::sys::signal::SigSet::empty();
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ref(), std::ptr::null_mut());
        libc::execve(path, argv, envp);
        fail()
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
    // An empty name is no program's, and would be each directory itself.
    let dirs = path.split(|byte| *byte == b':').filter(|_| !wanted.program.is_empty());
    for dir in dirs {
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
