//! `cargo bench`: what uml-test costs over the bare kernel's boot.
//!
//! Everything is measured in one run on one kernel, interleaved, and printed as a ratio to the
//! floor: the same kernel with a guest's arguments but for its console and control channel, with
//! fixed addresses, pinned to one CPU, with an init that only powers off. Medians, because a busy
//! host only ever adds time. At the end come the floors of all kernels in the cache.
#![expect(clippy::print_stdout, reason = "the table is what a bench is for")]

mod floor;
mod kernels;
mod others;
mod programs;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use uml_test::Vm;

/// Rounds of everything that takes one boot.
const ROUNDS: usize = 40;
/// What `cargo uml exec` gives a guest, in MiB. The kernel describes every page of it at boot.
const EXEC_MIB: u64 = 256;
/// What `tests/output.rs` writes, in MiB.
const OUTPUT_MIB: f64 = 64.0;

fn main() -> Result<()> {
    // `cargo test --benches` calls it too, and wants no measurements.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let programs = programs::build().context("build the measured test binaries")?;
    let uml = others::CargoUml::build()?;
    let floor = floor::Floor::new()?;
    let roomy = floor::Floor::of(floor.kernel().to_owned())?.with_mem(EXEC_MIB);
    println!("kernel {}, {ROUNDS} rounds, medians\n", floor.kernel().display());

    let mut bare = Vec::new();
    let mut bare_roomy = Vec::new();
    let mut command = Vec::new();
    let mut exec = Vec::new();
    let mut libtest = Vec::new();
    let mut custom = Vec::new();
    for _ in 0..ROUNDS {
        bare.push(floor.boot()?);
        bare_roomy.push(roomy.boot()?);
        command.push(timed(one_command)?);
        exec.push(timed(|| uml.exec())?);
        libtest.push(timed(|| run(&programs.libtest, &["--exact", "one"]))?);
        custom.push(timed(|| run(&programs.custom, &["--exact", "hundred::one"]))?);
    }
    let unit = median(&mut bare);
    println!("{:<52}{:>10}  ratio", "", "ms");
    row("floor: bare kernel, init powers off", unit, unit);
    row("Vm: boot, one command, shutdown", median(&mut command), unit);
    let exec = median(&mut exec);
    row("cargo uml exec -- true, whole process", exec, unit);
    let roomy = median(&mut bare_roomy);
    row(&format!("  floor with its {EXEC_MIB} MiB of memory"), roomy, unit);
    println!("{:<64}{:.2}", "  exec to that floor", exec.as_secs_f64() / roomy.as_secs_f64());
    row("one #[uml_test], whole process, libtest", median(&mut libtest), unit);
    row("one #[uml_test], whole process, custom runner", median(&mut custom), unit);

    println!("\n100 tests in one binary{:>39}", "tests/s");
    let many =
        |threads: &str| timed(|| run(&programs.libtest, &["many::", "--test-threads", threads]));
    let (one, two) = (many("1")?, many("2")?);
    let rate = |time: Duration| 100.0 / time.as_secs_f64();
    println!("{:<52}{:>10.1}", "1 thread", rate(one));
    println!("{:<52}{:>10.1}  {:.2} times 1 thread", "2 threads", rate(two), rate(two) / rate(one));
    println!("{:<52}{:>10.1}", "bare kernels, 1 at a time", 1.0 / unit.as_secs_f64());

    println!("\n--list of 100 tests{:>43}", "ms");
    let mut lists = [Vec::new(), Vec::new(), Vec::new()];
    let listed = [&programs.plain, &programs.libtest, &programs.custom];
    for _ in 0..ROUNDS {
        for (times, program) in lists.iter_mut().zip(listed) {
            times.push(timed(|| run(program, &["--list"]))?);
        }
    }
    let [mut plain, mut libtest, mut custom] = lists;
    let plain = median(&mut plain);
    row("plain libtest binary", plain, plain);
    row("#[uml_test]s under libtest", median(&mut libtest), plain);
    row("#[uml_test]s under the custom runner", median(&mut custom), plain);

    let mut output = Vec::new();
    for _ in 0..5 {
        output.push(timed(|| run(&programs.output, &["--nocapture"]))?);
    }
    let rate = OUTPUT_MIB / (median(&mut output).saturating_sub(unit)).as_secs_f64();
    println!("\n{:<52}{rate:>10.0}  MiB/s", "test output, guest to host, less the floor");
    println!("{:<52}{:>10.1}  MiB", "resident memory of a booted guest", resident()?);
    others::setup(&uml)?;
    others::nothing(&uml)?;
    others::suite(&uml)?;
    kernels::floors()
}

fn one_command() -> Result<()> {
    let vm = Vm::builder().boot()?;
    ensure!(vm.command("/bin/true").status()?.success());
    Ok(vm.shutdown()?)
}

fn run(program: &Path, arguments: &[&str]) -> Result<()> {
    let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn()?;
    let mut output = Vec::new();
    child.stdout.take().context("no pipe")?.read_to_end(&mut output)?;
    let status = child.wait()?;
    ensure!(status.success(), "{} {arguments:?}: {status}", program.display());
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// What the kernel process and the processes of its user space hold in memory, in MiB: pages that
/// they share are counted once (`Pss`).
fn resident() -> Result<f64> {
    let vm = Vm::builder().boot()?;
    ensure!(vm.command("/bin/true").status()?.success());
    let mut kib = 0;
    let mut processes = Vec::new();
    for kernel in floor::processes(&vm)? {
        for task in std::fs::read_dir(kernel.join("task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children"))?;
            processes.extend(children.split_whitespace().map(|id| Path::new("/proc").join(id)));
        }
        processes.push(kernel);
    }
    ensure!(processes.len() > 1, "no kernel process with one of its user space found");
    for process in processes {
        let rollup = std::fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap_or("Pss: 0 kB");
        kib += line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    }
    vm.shutdown()?;
    Ok(kib as f64 / 1024.0)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn row(what: &str, time: Duration, unit: Duration) {
    let ratio = time.as_secs_f64() / unit.as_secs_f64();
    println!("{what:<52}{:>10.2}  {ratio:.2}", time.as_secs_f64() * 1e3);
}
