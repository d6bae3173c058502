//! Whether a kernel boots on this machine, and how fast.

use std::path::Path;
use std::time::{Duration, Instant};

use uml_test::{Vm, VmBuilder};

use crate::error::Error;

/// Boots that the time is the median of.
const BOOTS: usize = 5;

/// Generous: a kernel with all checks on, on a machine with other work.
const LIMIT: Duration = Duration::from_secs(60);

/// Boots guests from `linux` until each is set up; the median time of it in milliseconds.
pub(crate) fn boot_ms(linux: &Path) -> Result<u64, Error> {
    let mut times = Vec::with_capacity(BOOTS);
    for _ in 0..BOOTS {
        let started = Instant::now();
        let booted = VmBuilder::of_environment().kernel(linux).boot_timeout(LIMIT).boot();
        let time = started.elapsed();
        booted.and_then(Vm::shutdown).map_err(|source| Error::KernelDoesNotBoot {
            path: linux.to_path_buf(),
            source: Box::new(source),
        })?;
        times.push(time);
    }
    times.sort_unstable();
    Ok(u64::try_from(times[BOOTS / 2].as_millis()).unwrap_or(u64::MAX))
}
