//! The kernels of the user's cache, side by side.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::floor::Floor;
use crate::median;

/// Fewer than for the one kernel: with all its checks on, a kernel takes a second to boot.
const ROUNDS: usize = 15;

/// What `cargo uml kernel list` tells of a kernel.
#[derive(serde::Deserialize)]
struct Listed {
    names: Vec<String>,
    version: Option<String>,
    damaged: Option<String>,
    path: PathBuf,
    least_mem_mib: Option<u64>,
}

/// Prints each named kernel's floor, and its ratio to the smallest kernel of its series.
pub(crate) fn floors() -> Result<()> {
    let mut kernels = Vec::new();
    for listed in listed()? {
        if let (None, Some(version), Some(name)) =
            (listed.damaged, listed.version, listed.names.first())
        {
            let floor = Floor::of(listed.path)?.with_mem(listed.least_mem_mib.unwrap_or(128));
            kernels.push((name.clone(), version, floor, Vec::new()));
        }
    }
    for _ in 0..ROUNDS {
        for (name, _, floor, times) in &mut kernels {
            times.push(floor.boot().with_context(|| format!("boot {name}"))?);
        }
    }
    let mut floors: Vec<(String, String, Duration)> = kernels
        .into_iter()
        .map(|(name, version, _, mut times)| (name, version, median(&mut times)))
        .collect();
    floors.sort();
    println!("\nfloors of the cached kernels, {ROUNDS} rounds{:>25}  to its tiny", "ms");
    for (name, version, time) in &floors {
        let series = name.split('/').next().unwrap_or(name);
        let tiny = floors.iter().find(|(other, ..)| *other == format!("{series}/tiny"));
        let ratio = tiny.map_or("-".to_owned(), |(.., tiny)| {
            format!("{:.2}", time.as_secs_f64() / tiny.as_secs_f64())
        });
        let kernel = format!("{name} ({version})");
        println!("{kernel:<52}{:>10.2}  {ratio}", time.as_secs_f64() * 1e3);
    }
    Ok(())
}

fn listed() -> Result<Vec<Listed>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["run", "--quiet", "--package", "cargo-uml", "--"])
        .args(["kernel", "list", "--format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("start cargo")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo uml kernel list: {complaint}");
    serde_json::from_slice(&output.stdout).context("read the list of kernels")
}
