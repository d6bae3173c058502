//! Attempts on a directory, as `tree` fills it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;

use crate::attempt::Attempt;
use crate::attempt::Effect::{Everywhere, ForRoot, HostDependent, KernelOnly};
use crate::sys::{self, c_path, call, pointer};

const AT: usize = libc::AT_FDCWD as usize;

/// The table.
pub(crate) const ATTEMPTS: &[Attempt<Path>] = &[
    Attempt {
        name: "open and write",
        effect: Everywhere,
        run: |dir| writable(dir)?.write_all(b"changed"),
    },
    Attempt {
        name: "open with O_TRUNC",
        effect: Everywhere,
        run: |dir| File::create(dir.join("file")).map(drop),
    },
    Attempt {
        name: "append",
        effect: Everywhere,
        run: |dir| OpenOptions::new().append(true).open(dir.join("file"))?.write_all(b"more"),
    },
    Attempt {
        name: "write through a link",
        effect: Everywhere,
        run: |dir| fs::write(dir.join("link"), "changed"),
    },
    Attempt {
        name: "create",
        effect: Everywhere,
        run: |dir| File::create_new(dir.join("new")).map(drop),
    },
    Attempt { name: "O_TMPFILE and linkat", effect: KernelOnly, run: unnamed_file },
    Attempt { name: "unlink", effect: Everywhere, run: |dir| fs::remove_file(dir.join("file")) },
    Attempt {
        name: "rename",
        effect: Everywhere,
        run: |dir| fs::rename(dir.join("file"), dir.join("renamed")),
    },
    Attempt {
        name: "rename over",
        effect: Everywhere,
        run: |dir| fs::rename(dir.join("file"), dir.join("other")),
    },
    Attempt {
        name: "rename elsewhere",
        effect: Everywhere,
        run: |dir| fs::rename(dir.join("full/inner"), dir.join("empty/inner")),
    },
    Attempt {
        name: "rename a directory",
        effect: Everywhere,
        run: |dir| fs::rename(dir.join("full"), dir.join("renamed")),
    },
    Attempt {
        name: "exchange",
        effect: Everywhere,
        run: |dir| {
            let (a, b) = (c_path(&dir.join("file")), c_path(&dir.join("other")));
            let exchange = libc::RENAME_EXCHANGE as usize;
            let arguments = [AT, a.as_ptr() as usize, AT, b.as_ptr() as usize, exchange];
            call(libc::SYS_renameat2, &arguments).map(drop)
        },
    },
    Attempt { name: "mkdir", effect: Everywhere, run: |dir| fs::create_dir(dir.join("new")) },
    Attempt { name: "rmdir", effect: Everywhere, run: |dir| fs::remove_dir(dir.join("empty")) },
    Attempt { name: "mknod of a file", effect: Everywhere, run: |dir| node(dir, SFlag::S_IFREG) },
    Attempt { name: "mknod of a fifo", effect: Everywhere, run: |dir| node(dir, SFlag::S_IFIFO) },
    Attempt {
        name: "mknod of a character device",
        effect: ForRoot,
        run: |dir| node(dir, SFlag::S_IFCHR),
    },
    Attempt {
        name: "mknod of a block device",
        effect: ForRoot,
        run: |dir| node(dir, SFlag::S_IFBLK),
    },
    Attempt {
        name: "bind a socket",
        effect: Everywhere,
        run: |dir| UnixListener::bind(dir.join("socket")).map(drop),
    },
    Attempt { name: "symlink", effect: Everywhere, run: |dir| symlink("file", dir.join("new")) },
    Attempt {
        name: "link",
        effect: Everywhere,
        run: |dir| fs::hard_link(dir.join("file"), dir.join("new")),
    },
    Attempt {
        name: "chmod",
        effect: Everywhere,
        run: |dir| fs::set_permissions(dir.join("file"), fs::Permissions::from_mode(0o777)),
    },
    Attempt {
        name: "chmod of a directory",
        effect: Everywhere,
        run: |dir| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)),
    },
    Attempt {
        name: "fchmod",
        effect: Everywhere,
        run: |dir| readable(dir)?.set_permissions(fs::Permissions::from_mode(0o4755)),
    },
    Attempt {
        name: "fchmod as the kernel does it",
        effect: Everywhere,
        run: |dir| readable(dir)?.set_permissions(fs::Permissions::from_mode(0o500)),
    },
    Attempt {
        name: "fchmodat2",
        effect: HostDependent,
        run: |dir| {
            const FCHMODAT2: libc::c_long = 452;
            let path = c_path(&dir.join("file"));
            call(FCHMODAT2, &[AT, path.as_ptr() as usize, 0o600, 0]).map(drop)
        },
    },
    Attempt {
        name: "chmod as a 32-bit program",
        effect: HostDependent,
        run: |dir| sys::chmod_32(&dir.join("file"), 0o777),
    },
    Attempt {
        name: "chmod by its x32 number",
        effect: HostDependent,
        run: |dir| {
            const X32: libc::c_long = 1 << 30;
            let path = c_path(&dir.join("file"));
            call(X32 | libc::SYS_chmod, &[path.as_ptr() as usize, 0o777]).map(drop)
        },
    },
    // To the owner it has: that is allowed to every user, and shows in the time of change.
    Attempt {
        name: "chown",
        effect: Everywhere,
        run: |dir| {
            let owner = dir.join("file").metadata()?;
            std::os::unix::fs::chown(dir.join("file"), Some(owner.uid()), Some(owner.gid()))
        },
    },
    Attempt {
        name: "chown to another user",
        effect: ForRoot,
        run: |dir| std::os::unix::fs::chown(dir.join("file"), Some(12345), Some(12345)),
    },
    Attempt {
        name: "fchown",
        effect: Everywhere,
        run: |dir| {
            let file = readable(dir)?;
            let owner = file.metadata()?;
            std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
        },
    },
    Attempt {
        name: "lchown",
        effect: KernelOnly,
        run: |dir| {
            let owner = dir.join("link").symlink_metadata()?;
            std::os::unix::fs::lchown(dir.join("link"), Some(owner.uid()), Some(owner.gid()))
        },
    },
    Attempt {
        name: "utimensat",
        effect: Everywhere,
        run: |dir| {
            let (then, follow) = (TimeSpec::new(1_000_000, 0), UtimensatFlags::FollowSymlink);
            Ok(nix::sys::stat::utimensat(AT_FDCWD, &dir.join("file"), &then, &then, follow)?)
        },
    },
    Attempt {
        name: "utimes",
        effect: Everywhere,
        run: |dir| {
            let path = c_path(&dir.join("file"));
            // Two times, each in seconds and microseconds.
            let then = [1_000_000_i64, 0, 1_000_000, 0];
            call(libc::SYS_utimes, &[path.as_ptr() as usize, pointer(&then)]).map(drop)
        },
    },
    Attempt {
        name: "futimens",
        effect: Everywhere,
        run: |dir| readable(dir)?.set_modified(std::time::UNIX_EPOCH),
    },
    Attempt {
        name: "setxattr",
        effect: KernelOnly,
        run: |dir| sys::set_attribute(&dir.join("file"), "user.new", b"new"),
    },
    Attempt {
        name: "fsetxattr",
        effect: KernelOnly,
        run: |dir| {
            let (file, value) = (readable(dir)?, b"changed");
            let name = c"user.kept".as_ptr() as usize;
            let arguments =
                [file.as_raw_fd() as usize, name, value.as_ptr() as usize, value.len(), 0];
            call(libc::SYS_fsetxattr, &arguments).map(drop)
        },
    },
    Attempt {
        name: "setxattrat",
        effect: HostDependent,
        run: |dir| {
            const SETXATTRAT: libc::c_long = 463;
            let (path, value) = (c_path(&dir.join("file")), b"changed");
            // struct xattr_args: the value's address, its size and the flags.
            let value = [value.as_ptr() as u64, value.len() as u64];
            let name = c"user.kept".as_ptr() as usize;
            let arguments =
                [AT, path.as_ptr() as usize, 0, name, pointer(&value), size_of_val(&value)];
            call(SETXATTRAT, &arguments).map(drop)
        },
    },
    Attempt {
        name: "setxattr by io_uring",
        effect: HostDependent,
        run: |dir| crate::io_uring::set_attribute(&dir.join("file")),
    },
    Attempt {
        name: "removexattr",
        effect: KernelOnly,
        run: |dir| {
            let path = c_path(&dir.join("file"));
            let name = c"user.kept".as_ptr() as usize;
            call(libc::SYS_removexattr, &[path.as_ptr() as usize, name]).map(drop)
        },
    },
    Attempt {
        name: "inode flags by ioctl",
        effect: KernelOnly,
        run: |dir| {
            // FS_IOC_SETFLAGS of linux/fs.h with FS_NODUMP_FL, which every owner may set.
            const SET_FLAGS: usize =
                nix::request_code_write!(b'f', 2, size_of::<libc::c_long>()) as usize;
            let (file, flags) = (readable(dir)?, 0x40_i64);
            let arguments = [file.as_raw_fd() as usize, SET_FLAGS, pointer(&flags)];
            call(libc::SYS_ioctl, &arguments).map(drop)
        },
    },
    Attempt {
        name: "inode attributes by ioctl",
        effect: KernelOnly,
        run: |dir| {
            // FS_IOC_FSSETXATTR of linux/fs.h; struct fsxattr begins with the flags.
            const SET_ATTRIBUTES: usize = nix::request_code_write!(b'X', 32, 28) as usize;
            const NODUMP: u32 = 0x80;
            let (file, attributes) = (readable(dir)?, [NODUMP, 0, 0, 0, 0, 0, 0]);
            let arguments = [file.as_raw_fd() as usize, SET_ATTRIBUTES, pointer(&attributes)];
            call(libc::SYS_ioctl, &arguments).map(drop)
        },
    },
    Attempt {
        name: "file_setattr",
        effect: HostDependent,
        run: |dir| {
            const FILE_SETATTR: libc::c_long = 469;
            const NODUMP: u64 = 0x80;
            // struct file_attr of linux/fs.h: the flags, then four words.
            let (path, attributes) = (c_path(&dir.join("file")), [NODUMP, 0, 0]);
            let arguments =
                [AT, path.as_ptr() as usize, pointer(&attributes), size_of_val(&attributes), 0];
            call(FILE_SETATTR, &arguments).map(drop)
        },
    },
    Attempt {
        name: "truncate",
        effect: Everywhere,
        run: |dir| Ok(nix::unistd::truncate(&dir.join("file"), 3)?),
    },
    Attempt { name: "ftruncate", effect: Everywhere, run: |dir| writable(dir)?.set_len(3) },
    Attempt {
        name: "fallocate",
        effect: KernelOnly,
        run: |dir| Ok(nix::fcntl::fallocate(writable(dir)?, FallocateFlags::empty(), 0, 10_000)?),
    },
    Attempt {
        name: "shared mapping",
        effect: Everywhere,
        run: |dir| {
            sys::write_mapped(&OpenOptions::new().read(true).write(true).open(dir.join("file"))?)
        },
    },
    Attempt {
        name: "pwrite",
        effect: Everywhere,
        run: |dir| writable(dir)?.write_all_at(b"changed", 4),
    },
    Attempt {
        name: "copy_file_range",
        effect: Everywhere,
        run: |dir| {
            let other = File::open(dir.join("other"))?;
            Ok(nix::fcntl::copy_file_range(other, None, writable(dir)?, None, 7).map(drop)?)
        },
    },
    Attempt {
        name: "sendfile",
        effect: Everywhere,
        run: |dir| {
            let (other, file) = (File::open(dir.join("other"))?, writable(dir)?);
            let arguments = [file.as_raw_fd() as usize, other.as_raw_fd() as usize, 0, 7];
            call(libc::SYS_sendfile, &arguments).map(drop)
        },
    },
    Attempt {
        name: "reopen through /proc/self/fd",
        effect: Everywhere,
        run: |dir| {
            let file = readable(dir)?;
            fs::write(format!("/proc/self/fd/{}", file.as_raw_fd()), "changed")
        },
    },
    Attempt {
        name: "reopen an O_PATH descriptor",
        effect: Everywhere,
        run: |dir| {
            let file =
                File::options().read(true).custom_flags(libc::O_PATH).open(dir.join("file"))?;
            fs::write(format!("/proc/self/fd/{}", file.as_raw_fd()), "changed")
        },
    },
    Attempt {
        name: "write through /proc/self/root",
        effect: Everywhere,
        run: |dir| {
            fs::write(
                Path::new("/proc/self/root")
                    .join(dir.strip_prefix("/").unwrap_or(dir))
                    .join("file"),
                "x",
            )
        },
    },
    Attempt {
        name: "write through /proc/self/cwd",
        effect: Everywhere,
        run: |dir| {
            std::env::set_current_dir(dir)?;
            fs::write("/proc/self/cwd/file", "changed")
        },
    },
];

fn readable(dir: &Path) -> io::Result<File> {
    File::open(dir.join("file"))
}

fn writable(dir: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(dir.join("file"))
}

/// A node of the given kind; devices are the host's null device, so that none is harmed.
fn node(dir: &Path, kind: SFlag) -> io::Result<()> {
    let null = nix::sys::stat::makedev(1, 3);
    Ok(nix::sys::stat::mknod(&dir.join("new"), kind, Mode::from_bits_truncate(0o600), null)?)
}

fn unnamed_file(dir: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(dir)?;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = AtFlags::AT_SYMLINK_FOLLOW;
    Ok(nix::unistd::linkat(AT_FDCWD, &*source, AT_FDCWD, &dir.join("new"), flags)?)
}
