//! What a service does as root before it serves: limit itself, lock itself in, give rights up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use nix::unistd::{Gid, Uid};

/// Sets the machine's clock.
///
/// # Errors
/// EPERM without CAP_SYS_TIME; EINVAL before 1970.
pub fn set_clock(time: SystemTime) -> Result<(), Errno> {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Errno::EINVAL)?;
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(since_1970))
}

/// Gives a capability up, for good and in every set, on this thread and what it starts.
///
/// # Errors
/// EPERM without CAP_SETPCAP.
pub fn give_up(capability: Capability) -> Result<(), caps::errors::CapsError> {
    // The bounding set first: that is what needs a capability itself.
    let sets = [
        CapSet::Bounding,
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ];
    sets.into_iter().try_for_each(|set| caps::drop(None, set, capability))
}

/// Becomes an ordinary user for good, with all threads.
///
/// # Errors
/// EPERM where this process may not.
pub fn become_user(uid: Uid, gid: Gid) -> Result<(), Errno> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)
}

/// Makes `directory` all there is.
///
/// # Errors
/// That of chroot(2).
pub fn jail(directory: &Path) -> Result<(), Errno> {
    nix::unistd::chroot(directory)?;
    nix::unistd::chdir("/")
}

/// Writes a kernel setting such as `net.ipv4.ip_forward`.
///
/// # Errors
/// That of the write: there is none of this name, or it refuses the value.
pub fn sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys").join(name.replace('.', "/")), value)
}

/// A group of processes with common limits.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A new group below the root of the hierarchy, under these controllers.
    ///
    /// # Errors
    /// There is one of this name, or not all of the controllers.
    pub fn create(name: &str, controllers: &[&str]) -> io::Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        for controller in controllers {
            fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
        let path = root.join(name);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Sets one of its files, such as `pids.max`.
    ///
    /// # Errors
    /// That of the write.
    pub fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(file), value)
    }

    /// Reads one of its files, such as `pids.current`.
    ///
    /// # Errors
    /// That of the read.
    pub fn get(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.path.join(file)).map(|text| text.trim_end().to_owned())
    }

    /// Takes this process in, and with it what it starts.
    ///
    /// # Errors
    /// That of the write.
    pub fn enter(&self) -> io::Result<()> {
        self.set("cgroup.procs", "0")
    }
}
