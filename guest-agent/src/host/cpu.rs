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
        Cpu::LeastUsed => least_used(&allowed, &format!("uml-test/{}", nix::unistd::getuid())),
    }
}

/// One of these with as few guests as any, among those that claim seats below this name.
fn least_used(cpus: &[usize], name: &str) -> Option<Seat> {
    let first = std::process::id() as usize;
    for seat in 0..SEATS {
        for at in 0..cpus.len() {
            let cpu = cpus[(first + at) % cpus.len()];
            match claim(&format!("{name}/cpu{cpu}/{seat}")) {
                Ok(claim) => return Some(Seat { cpu, _claim: Some(claim) }),
                Err(Errno::EADDRINUSE) => {}
                // No such sockets here: spread by chance.
                Err(_) => return Some(Seat { cpu, _claim: None }),
            }
        }
    }
    let cpu = *cpus.get(first % cpus.len().max(1))?;
    Some(Seat { cpu, _claim: None })
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

fn claim(name: &str) -> Result<OwnedFd, Errno> {
    let address = UnixAddr::new_abstract(name.as_bytes())?;
    let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &address)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_spread_evenly_and_a_free_seat_is_taken_again() {
        const CPUS: [usize; 3] = [1, 4, 5];
        let name = format!("uml-test-tests/{}", std::process::id());
        let mut seats: Vec<Seat> =
            (0..9).map(|_| least_used(&CPUS, &name).expect("there are CPUs")).collect();
        for round in seats.chunks(CPUS.len()) {
            let mut cpus: Vec<usize> = round.iter().map(|seat| seat.cpu).collect();
            cpus.sort_unstable();
            assert_eq!(cpus, CPUS);
        }
        let gone = seats.swap_remove(1);
        let cpu = gone.cpu;
        drop(gone);
        assert_eq!(least_used(&CPUS, &name).expect("there are CPUs").cpu, cpu);
        assert!(least_used(&[], &name).is_none());
    }

    #[test]
    fn a_slot_has_one_cpu_and_who_takes_it_is_bound_to_it() {
        let allowed = allowed_cpus();
        for slot in 0..2 * allowed.len() {
            let seat = choose(Cpu::Slot(slot as u64)).expect("there are CPUs");
            assert_eq!(seat.cpu, allowed[slot % allowed.len()]);
            // A thread's affinity is its own.
            let bound = std::thread::spawn(move || (seat.take(), allowed_cpus(), seat.cpu));
            let (taken, now, cpu) = bound.join().expect("it does not panic");
            assert_eq!((taken, now), (Ok(()), vec![cpu]));
        }
        assert!(choose(Cpu::Any).is_none());
    }
}
