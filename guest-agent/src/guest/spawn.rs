//! Starting a program: `posix_spawn(3)`, because a fork copies page tables, and in a UML guest
//! each of those costs.
#![expect(unsafe_code, reason = "the standard library's Command cannot start a session")]

use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Pid;
use uml_test_protocol::{Bytes, Failure, Spawn};

/// Where programs are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A descriptor of ours and its number in the new process.
pub(super) type Inherited<'f> = (BorrowedFd<'f>, i32);

/// Starts `wanted` as the leader of a session of its own, with exactly these descriptors.
///
/// # Errors
/// What failed, and on which path: the program, the working directory, or an argument.
pub(super) fn spawn(wanted: &Spawn, env: &[Bytes], fds: &[Inherited<'_>]) -> Result<Pid, Failure> {
    let _cwd = WorkingDirectory::enter(OsStr::from_bytes(&wanted.cwd))?;
    let program = resolve(wanted)?;
    let path = c_string(program.as_os_str().as_bytes())?;
    let argv = c_strings(&wanted.argv)?;
    let envp = c_strings(env)?;

    let actions = FileActions::new()?;
    for (fd, number) in fds {
        // SAFETY: the actions were initialised.
        check("pass a descriptor to", &wanted.program, unsafe {
            libc::posix_spawn_file_actions_adddup2(actions.as_ptr(), fd.as_raw_fd(), *number)
        })?;
    }
    let attributes = Attributes::for_session_leader()?;

    let mut pid: libc::pid_t = 0;
    // SAFETY: all pointers are to live, NUL-terminated data; both arrays end with a null pointer.
    let code = unsafe {
        libc::posix_spawn(
            &mut pid,
            path.as_ptr(),
            actions.as_ptr(),
            attributes.as_ptr(),
            pointers(&argv).as_ptr(),
            pointers(&envp).as_ptr(),
        )
    };
    check("execute", program.as_os_str().as_bytes(), code)?;
    Ok(Pid::from_raw(pid))
}

/// The working directory that a new process inherits. The agent's own is `/`, before and after:
/// posix_spawn's way of setting one is missing from older C libraries, and does not say that it
/// was what failed.
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
fn resolve(wanted: &Spawn) -> Result<PathBuf, Failure> {
    let program = Path::new(OsStr::from_bytes(&wanted.program));
    if wanted.program.contains(&b'/') {
        return Ok(program.to_owned());
    }
    let path = wanted
        .env
        .iter()
        .find_map(|variable| variable.strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
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

struct FileActions(Box<MaybeUninit<libc::posix_spawn_file_actions_t>>);

impl FileActions {
    fn new() -> Result<Self, Failure> {
        let mut actions = Box::new(MaybeUninit::uninit());
        // SAFETY: the memory is large enough; init makes it valid.
        check("prepare", b"file actions", unsafe {
            libc::posix_spawn_file_actions_init(actions.as_mut_ptr())
        })?;
        Ok(Self(actions))
    }

    fn as_ptr(&self) -> *mut libc::posix_spawn_file_actions_t {
        self.0.as_ptr().cast_mut()
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(self.as_ptr()) };
    }
}

struct Attributes(Box<MaybeUninit<libc::posix_spawnattr_t>>);

impl Attributes {
    /// A session of its own, no signal blocked, none ignored: as a shell's child would find it.
    fn for_session_leader() -> Result<Self, Failure> {
        // In glibc and musl alike; the libc crate does not name it.
        const POSIX_SPAWN_SETSID: libc::c_short = 0x80;
        let mut attributes = Box::new(MaybeUninit::uninit());
        // SAFETY: the memory is large enough; init makes it valid.
        check("prepare", b"spawn attributes", unsafe {
            libc::posix_spawnattr_init(attributes.as_mut_ptr())
        })?;
        let attributes = Self(attributes);
        let flags = POSIX_SPAWN_SETSID
            | libc::POSIX_SPAWN_SETSIGMASK as libc::c_short
            | libc::POSIX_SPAWN_SETSIGDEF as libc::c_short;
        let none = nix::sys::signal::SigSet::empty();
        let mut ignored = nix::sys::signal::SigSet::empty();
        // The Rust runtime ignores it in this process.
        ignored.add(nix::sys::signal::Signal::SIGPIPE);
        // SAFETY: the attributes were initialised; the sets are copied.
        let code = unsafe {
            libc::posix_spawnattr_setflags(attributes.as_ptr(), flags)
                | libc::posix_spawnattr_setsigmask(attributes.as_ptr(), none.as_ref())
                | libc::posix_spawnattr_setsigdefault(attributes.as_ptr(), ignored.as_ref())
        };
        check("prepare", b"spawn attributes", code)?;
        Ok(attributes)
    }

    fn as_ptr(&self) -> *mut libc::posix_spawnattr_t {
        self.0.as_ptr().cast_mut()
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised before `self` was made, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(self.as_ptr()) };
    }
}

fn check(operation: &str, path: &[u8], code: libc::c_int) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure::new(operation, path, code)) }
}

fn c_string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes)
        .map_err(|_| Failure::new("pass (it holds a NUL byte)", bytes, Errno::EINVAL as i32))
}

fn c_strings(all: &[Bytes]) -> Result<Vec<CString>, Failure> {
    all.iter().map(|bytes| c_string(bytes)).collect()
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    pointers
}
