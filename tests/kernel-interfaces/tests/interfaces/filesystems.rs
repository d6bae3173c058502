//! Mounts, FUSE, extended attributes, quotas, and what tells of changes to files.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use nix::mount::{MsFlags, mount};
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};
use nix::sys::inotify::{AddWatchFlags, InitFlags as InotifyFlags, Inotify};
use nix::sys::statvfs::statvfs;
use uml_test::uml_test;

use crate::sys::{Fields, call, u32_at, u64_at};

const USER: u32 = 1000;

fn mounted(kind: &str, options: &str) -> &'static Path {
    mount(Some("none"), "/mnt", Some(kind), MsFlags::empty(), Some(options)).unwrap();
    Path::new("/mnt")
}

fn as_user(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).uid(USER).gid(USER).env("LC_ALL", "C").output().unwrap()
}

#[uml_test(config = ["CONFIG_OVERLAY_FS"])]
fn an_overlay_merges_directories_and_renames_them() -> io::Result<()> {
    let base = mounted("tmpfs", "");
    for directory in ["one/common", "two/common", "upper", "work", "all"] {
        fs::create_dir_all(base.join(directory))?;
    }
    fs::write(base.join("one/common/a"), "of one")?;
    fs::write(base.join("two/common/a"), "of two")?;
    fs::write(base.join("two/common/b"), "of two")?;
    let options =
        "lowerdir=/mnt/one:/mnt/two,upperdir=/mnt/upper,workdir=/mnt/work,redirect_dir=on";
    let all = base.join("all");
    mount(Some("none"), &all, Some("overlay"), MsFlags::empty(), Some(options))?;
    // Without a redirection this crosses devices.
    fs::rename(all.join("common"), all.join("renamed"))?;
    assert_eq!(fs::read_to_string(all.join("renamed/a"))?, "of one");
    assert_eq!(fs::read_to_string(all.join("renamed/b"))?, "of two");
    assert!(base.join("one/common/a").exists());
    Ok(())
}

#[uml_test(config = ["CONFIG_TMPFS"])]
fn tmpfs_has_the_mode_and_the_number_of_files_that_it_is_mounted_with() -> io::Result<()> {
    let path = mounted("tmpfs", "nr_inodes=3,mode=0500,uid=1000");
    let refused = as_user("touch", &["/mnt/a"]).stderr;
    assert!(String::from_utf8_lossy(&refused).contains("Permission denied"));
    // With the root itself there are three.
    fs::write(path.join("a"), "")?;
    fs::write(path.join("b"), "")?;
    assert_eq!(fs::write(path.join("c"), "").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(as_user("ls", &["/mnt"]).stdout, b"a\nb\n");
    Ok(())
}

#[uml_test(config = ["CONFIG_TMPFS_QUOTA"])]
fn tmpfs_has_quotas() {
    let options = "mode=1777,usrquota,usrquota_block_hardlimit=64K";
    mounted("tmpfs", options);
    let fill = |file: &str, size: &str| {
        as_user(
            "dd",
            &["if=/dev/zero", &format!("of=/mnt/{file}"), "count=1", &format!("bs={size}")],
        )
    };
    let (fits, exceeds) = (fill("fits", "32K"), fill("exceeds", "64K"));
    assert!(fits.status.success(), "{fits:?}");
    let said = String::from_utf8_lossy(&exceeds.stderr);
    assert!(said.contains("Disk quota exceeded"), "{said}");
}

/// A capability of a file is its user's.
#[uml_test(config = ["CONFIG_TMPFS_XATTR"])]
fn extended_attributes_give_capabilities() -> io::Result<()> {
    const CAP_SYS_TIME: u32 = 25;
    const VERSION_2_EFFECTIVE: u32 = 0x0200_0001;
    let program = mounted("tmpfs", "").join("grep");
    fs::copy(which("grep"), &program)?;
    let capability = Fields::new().u32(VERSION_2_EFFECTIVE).u32(1 << CAP_SYS_TIME).zeros(12).0;
    let path = CString::new(program.to_str().unwrap())?;
    let name = c"security.capability";
    let (path, name) = (path.as_ptr() as usize, name.as_ptr() as usize);
    let value = (capability.as_ptr() as usize, capability.len());
    call(libc::SYS_setxattr, &[path, name, value.0, value.1, 0])?;
    let said = as_user(&program, &["CapEff", "/proc/self/status"]).stdout;
    assert_eq!(said, b"CapEff:\t0000000002000000\n", "{}", String::from_utf8_lossy(&said));
    Ok(())
}

fn which(program: &str) -> std::path::PathBuf {
    let path = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(program));
    path.into_iter().find(|path| path.exists()).unwrap()
}

/// A filesystem that has answers to three questions.
#[uml_test(config = ["CONFIG_FUSE_FS"])]
fn fuse_asks_the_program_that_serves_it() -> io::Result<()> {
    const INIT: u32 = 26;
    const STATFS: u32 = 17;
    let mut device = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let path = mounted("fuse", &options);
    let asking = std::thread::spawn(move || statvfs(path));
    // `struct fuse_init_out`: the version, and room for the rest.
    answer(&mut device, INIT, Fields::new().u32(7).u32(31).zeros(56))?;
    // `struct fuse_kstatfs`: blocks, free, available; files, free; block size, name length, fragment size.
    let numbers = Fields::new().u64(1234).u64(7).u64(7).u64(3).u64(2).u32(512).u32(255).u32(512);
    answer(&mut device, STATFS, numbers.zeros(28))?;
    let said = asking.join().unwrap()?;
    assert_eq!((said.blocks(), said.files(), said.fragment_size()), (1234, 3, 512));
    Ok(())
}

/// Answers the request that comes next, which has to be this one.
fn answer(device: &mut File, expected: u32, body: Fields) -> io::Result<()> {
    let mut request = vec![0; 128 << 10];
    // `struct fuse_in_header`: length, operation, number.
    assert!(device.read(&mut request)? >= 40);
    assert_eq!(u32_at(&request, 4), expected);
    let length = 16 + body.0.len() as u32;
    let reply = Fields::new().u32(length).u32(0).u64(u64_at(&request, 8));
    device.write_all(&reply.bytes(&body.0).0)
}

#[uml_test(config = ["CONFIG_BINFMT_MISC"])]
fn binfmt_misc_has_files_run_by_a_program() -> io::Result<()> {
    let formats = mounted("binfmt_misc", "");
    fs::write(formats.join("register"), ":test:M::of-the-test::/bin/cat:")?;
    fs::write("/tmp/program", "of-the-test\n")?;
    fs::set_permissions("/tmp/program", Permissions::from_mode(0o755))?;
    assert_eq!(Command::new("/tmp/program").output()?.stdout, b"of-the-test\n");
    Ok(())
}

#[uml_test(config = ["CONFIG_FANOTIFY_ACCESS_PERMISSIONS"])]
fn fanotify_tells_of_an_open_and_forbids_it() -> io::Result<()> {
    let file = mounted("tmpfs", "").join("file");
    fs::write(&file, "forbidden")?;
    let fanotify = Fanotify::init(InitFlags::FAN_CLASS_CONTENT, EventFFlags::O_RDONLY)?;
    let here = File::open("/")?;
    fanotify.mark(MarkFlags::FAN_MARK_ADD, MaskFlags::FAN_OPEN_PERM, &here, Some(&file))?;
    let opened = std::thread::spawn(move || File::open(file));
    let events = fanotify.read_events()?;
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.mask(), MaskFlags::FAN_OPEN_PERM);
    assert_eq!(event.pid() as u32, std::process::id());
    let opened_file = event.fd().unwrap();
    fanotify.write_response(FanotifyResponse::new(opened_file, Response::FAN_DENY))?;
    assert_eq!(opened.join().unwrap().unwrap_err().kind(), ErrorKind::PermissionDenied);
    Ok(())
}

#[uml_test(config = ["CONFIG_INOTIFY_USER"])]
fn inotify_tells_of_what_is_made_in_a_directory() -> io::Result<()> {
    let inotify = Inotify::init(InotifyFlags::empty())?;
    let directory = mounted("tmpfs", "");
    inotify.add_watch(directory, AddWatchFlags::IN_CREATE)?;
    symlink("anywhere", directory.join("made"))?;
    let events = inotify.read_events()?;
    assert_eq!(events[0].name.as_deref(), Some("made".as_ref()));
    assert_eq!(events[0].mask, AddWatchFlags::IN_CREATE);
    Ok(())
}
