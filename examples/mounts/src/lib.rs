//! Filesystems that are mounted as long as a value lives.
//!
//! The tests at the end mount for real, as root, each in a kernel of its own: none of them needs
//! to clean up, and `cargo test` needs no privileges.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};

/// A mounted filesystem. Dropping the value detaches it, busy or not.
#[derive(Debug)]
pub struct Mounted {
    target: PathBuf,
}

impl Mounted {
    /// An empty filesystem in memory, `size` bytes at most.
    ///
    /// # Errors
    /// That of mount(2).
    pub fn tmpfs(target: &Path, size: u64) -> Result<Self, Errno> {
        let options = format!("size={size},mode=0755");
        mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(Self { target: target.to_owned() })
    }

    /// What is at `source` also at `target`, and there it can't be written.
    ///
    /// # Errors
    /// That of mount(2).
    pub fn read_only(source: &Path, target: &Path) -> Result<Self, Errno> {
        const NONE: Option<&str> = None;
        mount(Some(source), target, NONE, MsFlags::MS_BIND, NONE)?;
        // From here on the drop cleans up. A bind mount takes its flags in a second step only.
        let mounted = Self { target: target.to_owned() };
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(NONE, target, NONE, flags, NONE)?;
        Ok(mounted)
    }

    /// `lower` at `target`, with what is changed there kept in `upper`. `work` is an empty
    /// directory on the filesystem of `upper`.
    ///
    /// # Errors
    /// That of mount(2).
    pub fn overlay(lower: &Path, upper: &Path, work: &Path, target: &Path) -> Result<Self, Errno> {
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(Self { target: target.to_owned() })
    }

    /// The ext4 filesystem in the file `image`, through a loop device that goes with it.
    ///
    /// # Errors
    /// What mount(8) says where it fails, and where there is none.
    pub fn image(image: &Path, target: &Path) -> io::Result<Self> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(image).arg(target))?;
        Ok(Self { target: target.to_owned() })
    }

    /// Unmounts it, and says where it can't.
    ///
    /// # Errors
    /// That of umount(2): EBUSY where files are open. It is detached then.
    pub fn unmount(self) -> Result<(), Errno> {
        umount(&self.target)?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // An error says that it is no longer mounted.
        let _ = umount2(&self.target, MntFlags::MNT_DETACH);
    }
}

/// Makes a file of `size` bytes with an empty ext4 filesystem in it.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] where there is no `mkfs.ext4`; what it says where it fails.
pub fn make_image(image: &Path, size: u64) -> io::Result<()> {
    File::create_new(image)?.set_len(size)?;
    run(Command::new("mkfs.ext4").arg("-q").arg(image))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}: {said}", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::error::Error;
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::FileTypeExt;

    use nix::sched::{CloneFlags, unshare};
    use uml_test::uml_test;

    /// New directories of these names. What a test writes vanishes with its kernel, so that every
    /// test may use the same ones.
    fn dirs<const N: usize>(names: [&str; N]) -> io::Result<[PathBuf; N]> {
        let dirs = names.map(|name| Path::new("/tmp/mounts").join(name));
        dirs.iter().try_for_each(fs::create_dir_all)?;
        Ok(dirs)
    }

    /// An ext4 image, or the end of a test that can't be run without.
    fn image_or_skip(image: &Path, size: u64) -> io::Result<()> {
        match make_image(image, size) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                uml_test::skip!("mkfs.ext4 is not installed (Debian: e2fsprogs)")
            }
            made => made,
        }
    }

    #[uml_test]
    fn tmpfs_has_a_limit_and_forgets() -> Result<(), Box<dyn Error>> {
        let [target] = dirs(["target"])?;
        let tmpfs = Mounted::tmpfs(&target, 1 << 20)?;
        fs::write(target.join("fits"), vec![1; 1 << 19])?;
        let error = fs::write(target.join("does not"), vec![2; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);

        drop(tmpfs);
        assert_eq!(fs::read_dir(&target)?.count(), 0);
        Ok(())
    }

    #[uml_test]
    fn read_only_is_so_at_its_target_alone() -> Result<(), Box<dyn Error>> {
        let [source, target] = dirs(["source", "target"])?;
        let _mounted = Mounted::read_only(&source, &target)?;
        let error = fs::write(target.join("file"), "no").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);

        fs::write(source.join("file"), "yes")?;
        assert_eq!(fs::read_to_string(target.join("file"))?, "yes");
        Ok(())
    }

    #[uml_test]
    fn overlay_leaves_the_lower_directory_alone() -> Result<(), Box<dyn Error>> {
        // overlayfs wants an upper directory that is not on an overlayfs, as the test's root is.
        let [base] = dirs(["base"])?;
        let _tmpfs = Mounted::tmpfs(&base, 4 << 20)?;
        let [lower, upper, work, target] =
            dirs(["base/lower", "base/upper", "base/work", "base/target"])?;
        fs::write(lower.join("changed"), "as it was")?;
        fs::write(lower.join("removed"), "still here")?;

        let _overlay = Mounted::overlay(&lower, &upper, &work, &target)?;
        fs::write(target.join("changed"), "otherwise")?;
        fs::remove_file(target.join("removed"))?;

        assert_eq!(fs::read_to_string(lower.join("changed"))?, "as it was");
        assert_eq!(fs::read_to_string(upper.join("changed"))?, "otherwise");
        assert_eq!(fs::read_to_string(lower.join("removed"))?, "still here");
        let whiteout = fs::symlink_metadata(upper.join("removed"))?;
        assert!(whiteout.file_type().is_char_device(), "{whiteout:?}");
        Ok(())
    }

    #[uml_test(config = ["CONFIG_EXT4_FS", "CONFIG_BLK_DEV_LOOP"])]
    fn what_is_written_through_ext4_is_in_the_image() -> Result<(), Box<dyn Error>> {
        const TEXT: &str = "written through ext4 and a loop device";
        let [base, target] = dirs(["base", "target"])?;
        let image = base.join("disk.img");
        image_or_skip(&image, 8 << 20)?;

        let mounted = Mounted::image(&image, &target)?;
        fs::write(target.join("file"), TEXT)?;
        mounted.unmount()?;
        assert!(!target.join("file").exists());
        let bytes = fs::read(&image)?;
        assert!(bytes.windows(TEXT.len()).any(|window| window == TEXT.as_bytes()));

        let _again = Mounted::image(&image, &target)?;
        assert_eq!(fs::read_to_string(target.join("file"))?, TEXT);
        Ok(())
    }

    #[uml_test(mem = "768M", timeout = "2m")]
    #[ignore = "writes a quarter of a gigabyte"]
    fn a_full_image_loses_nothing() -> Result<(), Box<dyn Error>> {
        const BLOCK: usize = 1 << 20;
        let [base, target] = dirs(["base", "target"])?;
        let image = base.join("disk.img");
        image_or_skip(&image, 256 << 20)?;
        let mounted = Mounted::image(&image, &target)?;
        let path = |number| target.join(format!("{number}"));
        let mut blocks = 0_u8;
        let error = loop {
            match fs::write(path(blocks), vec![blocks; BLOCK]) {
                Ok(()) => blocks += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(blocks > 200, "{blocks} MiB of 256 MiB could be used");

        mounted.unmount()?;
        let _again = Mounted::image(&image, &target)?;
        for number in 0..blocks {
            assert_eq!(fs::read(path(number))?, vec![number; BLOCK], "block {number}");
        }
        Ok(())
    }

    #[uml_test]
    fn a_namespace_of_its_own_keeps_mounts_to_itself() -> Result<(), Box<dyn Error>> {
        let [private, shared] = dirs(["private", "shared"])?;
        // Mounts below a shared mount are passed on to copies of the namespace, and back.
        let _tmpfs = Mounted::tmpfs(&shared, 1 << 20)?;
        propagate(&shared, MsFlags::MS_SHARED)?;
        let [below_shared] = dirs(["shared/below"])?;
        propagate(Path::new("/"), MsFlags::MS_PRIVATE)?;

        std::thread::scope(|scope| {
            let in_namespace = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS)?;
                let mounts = [&private, &below_shared].map(|dir| Mounted::tmpfs(dir, 1 << 20));
                fs::write(private.join("secret"), "1").map_err(|_| Errno::EIO)?;
                fs::write(below_shared.join("seen"), "1").map_err(|_| Errno::EIO)?;
                mounts.into_iter().for_each(std::mem::forget);
                Ok::<_, Errno>(())
            });
            in_namespace.join().unwrap()
        })?;
        assert!(!private.join("secret").exists());
        assert!(below_shared.join("seen").exists());
        Ok(())
    }

    fn propagate(mount_point: &Path, how: MsFlags) -> Result<(), Errno> {
        const NONE: Option<&str> = None;
        mount(NONE, mount_point, NONE, how, NONE)
    }

    #[uml_test]
    #[should_panic(expected = "EBUSY")]
    fn an_open_file_keeps_a_filesystem_busy() {
        let [target] = dirs(["target"]).unwrap();
        let tmpfs = Mounted::tmpfs(&target, 1 << 20).unwrap();
        let _open = File::create(target.join("open")).unwrap();
        tmpfs.unmount().unwrap();
    }
}
