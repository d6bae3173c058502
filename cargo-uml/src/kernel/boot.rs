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
    let mut first_error = None;
    for mem in (0..=DOUBLINGS).map(|doublings| usual << doublings) {
        match milliseconds(linux, mem) {
            Ok(milliseconds) => {
                let least_mem_mib = (mem > usual).then_some(mem >> 20);
                return Ok(Boots { milliseconds, least_mem_mib });
            }
            // A kernel without enough memory ends; what else goes wrong has nothing to do with memory.
            Err(error @ uml_test::Error::Gone { .. }) => drop(first_error.get_or_insert(error)),
            Err(error) => {
                first_error.get_or_insert(error);
                break;
            }
        }
    }
    // Not reached without one.
    Err(first_error.unwrap_or(uml_test::Error::Unsupported { reason: "no memory tried" }))
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
