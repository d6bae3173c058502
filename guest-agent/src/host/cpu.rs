//! Choosing the one CPU that a guest runs on.
//!
//! The kernel process and the process that runs guest user space hand over to each other on
//! every trap; on two CPUs each of those is a wake-up of the other one.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use nix::unistd::Pid;
use uml_test_protocol::supervision::Cpu;

/// How many guests on one CPU are told apart; beyond it they spread evenly anyhow.
const SEATS: usize = 64;

/// A CPU, taken for as long as this value lives.
pub(super) struct Seat {
    cpu: usize,
    /// A bound abstract socket: visible to all processes of this user, whichever test runner they
    /// belong to, and gone with its process. No file is left behind.
    _claim: Option<OwnedFd>,
}

/// Takes a CPU. `None` to run anywhere.
pub(super) fn choose(wanted: Cpu) -> Option<Seat> {
    let allowed = allowed_cpus();
    match wanted {
        Cpu::Any => None,
        Cpu::Slot(slot) => {
            let cpu = *allowed.get((slot % allowed.len().max(1) as u64) as usize)?;
            Some(Seat { cpu, _claim: None })
        }
        Cpu::LeastUsed => {
            let first = std::process::id() as usize;
            for seat in 0..SEATS {
                for at in 0..allowed.len() {
                    let cpu = allowed[(first + at) % allowed.len()];
                    match claim(cpu, seat) {
                        Ok(claim) => return Some(Seat { cpu, _claim: Some(claim) }),
                        Err(Errno::EADDRINUSE) => {}
                        // No such sockets here: spread by chance.
                        Err(_) => return Some(Seat { cpu, _claim: None }),
                    }
                }
            }
            let cpu = *allowed.get(first % allowed.len().max(1))?;
            Some(Seat { cpu, _claim: None })
        }
    }
}

impl Seat {
    /// Binds this process, and what it starts, to the CPU.
    pub(super) fn take(&self) -> Result<(), Errno> {
        let mut set = CpuSet::new();
        set.set(self.cpu)?;
        sched_setaffinity(Pid::from_raw(0), &set)
    }
}

fn allowed_cpus() -> Vec<usize> {
    match sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect(),
        Err(_) => Vec::new(),
    }
}

fn claim(cpu: usize, seat: usize) -> Result<OwnedFd, Errno> {
    let name = format!("uml-test/{}/cpu{cpu}/{seat}", nix::unistd::getuid());
    let address = UnixAddr::new_abstract(name.as_bytes())?;
    let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &address)?;
    Ok(fd)
}
