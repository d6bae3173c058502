//! Whether a kernel boots on this machine, with how much memory, and how fast.

use std::path::Path;
use std::time::{Duration, Instant};

use uml_test::config::Config;
use uml_test::{Vm, VmBuilder};

/// Boots that the time is the median of.
const BOOTS: usize = 5;

/// Generous: a kernel with all checks on, on a machine with other work.
const LIMIT: Duration = Duration::from_secs(60);

/// How often the memory is doubled for a kernel that does not boot with a guest's usual 128 MiB.
const DOUBLINGS: u32 = 3;

/// How a kernel boots.
#[derive(Debug)]
pub(crate) struct Boots {
    /// Median time until a guest is set up, in milliseconds.
    pub(crate) milliseconds: u64,
    /// MiB of memory without which it does not boot, where that is more than usual.
    pub(crate) least_mem_mib: Option<u64>,
}

/// Boots guests from `linux` until each is set up.
pub(crate) fn check(linux: &Path) -> Result<Boots, uml_test::Error> {
    let usual = Config::default().mem;
    let first = match milliseconds(linux, usual) {
        Ok(milliseconds) => return Ok(Boots { milliseconds, least_mem_mib: None }),
        Err(error) => error,
    };
    for mem in (1..=DOUBLINGS).map(|doublings| usual << doublings) {
        // A kernel without enough memory ends; what else goes wrong has nothing to do with memory.
        let uml_test::Error::Gone { .. } = first else { break };
        match milliseconds(linux, mem) {
            Ok(milliseconds) => return Ok(Boots { milliseconds, least_mem_mib: Some(mem >> 20) }),
            Err(uml_test::Error::Gone { .. }) => {}
            Err(_) => break,
        }
    }
    Err(first)
}

fn milliseconds(linux: &Path, mem: u64) -> Result<u64, uml_test::Error> {
    let mut times = Vec::with_capacity(BOOTS);
    for _ in 0..BOOTS {
        let builder = VmBuilder::of_environment().kernel(linux).mem(mem).boot_timeout(LIMIT);
        let started = Instant::now();
        let booted = builder.boot();
        let time = started.elapsed();
        booted.and_then(Vm::shutdown)?;
        times.push(time);
    }
    times.sort_unstable();
    Ok(u64::try_from(times[BOOTS / 2].as_millis()).unwrap_or(u64::MAX))
}
