//! The floor: the kernel alone.
#![expect(unsafe_code, reason = "the process is pinned between fork and exec")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::personality::{self, Persona};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A static x86-64 executable of one instruction's worth of work:
/// `reboot(MAGIC1, MAGIC2, POWER_OFF)`.
const INIT: [u8; 152] = {
    let header: [u8; 120] = [
        // ELF header: 64-bit, little-endian, executable, x86-64, entry 0x400078, one program header
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
        2, 0, 62, 0, 1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0, 0, //
        64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
        0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, //
        // Program header: load the whole file at 0x400000, readable and executable
        1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
        0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, //
        152, 0, 0, 0, 0, 0, 0, 0, 152, 0, 0, 0, 0, 0, 0, 0, //
        0, 0x10, 0, 0, 0, 0, 0, 0,
    ];
    let code: [u8; 32] = [
        0xbf, 0xad, 0xde, 0xe1, 0xfe, // mov edi, 0xfee1dead
        0xbe, 0x69, 0x19, 0x12, 0x28, // mov esi, 672274793
        0xba, 0xdc, 0xfe, 0x21, 0x43, // mov edx, 0x4321fedc
        0xb8, 0xa9, 0x00, 0x00, 0x00, // mov eax, 169
        0x0f, 0x05, // syscall
        0xeb, 0xfe, // jmp to itself
        0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
    ];
    let mut file = [0; 152];
    let mut at = 0;
    while at < file.len() {
        file[at] = if at < header.len() { header[at] } else { code[at - header.len()] };
        at += 1;
    }
    file
};

pub(crate) struct Floor {
    kernel: PathBuf,
    mem_mib: u64,
    dir: TempDir,
    cpu: CpuSet,
}

impl Floor {
    /// Of the kernel that the tests boot.
    pub(crate) fn new() -> Result<Self> {
        Self::of(kernel()?)
    }

    pub(crate) fn of(kernel: PathBuf) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("floor-").tempdir_in("/dev/shm")?;
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("dev"))?;
        std::fs::write(root.join("init"), INIT)?;
        std::fs::set_permissions(root.join("init"), std::fs::Permissions::from_mode(0o755))?;
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        let mut cpu = CpuSet::new();
        cpu.set(first.context("no CPU")?)?;
        Ok(Self { kernel, mem_mib: 128, dir, cpu })
    }

    pub(crate) fn kernel(&self) -> &Path {
        &self.kernel
    }

    /// With so much memory.
    pub(crate) fn with_mem(self, mem_mib: u64) -> Self {
        Self { mem_mib, ..self }
    }

    /// Boots and powers off.
    pub(crate) fn boot(&self) -> Result<Duration> {
        let dir = self.dir.path().display();
        let mut command = Command::new(&self.kernel);
        command
            .args(["root=/dev/root", "rootfstype=hostfs", "ro", "init=/init"])
            .arg(format!("mem={}M", self.mem_mib))
            .arg(format!("rootflags={dir}/root"))
            .arg(format!("uml_dir={dir}"))
            .args(["umid=u", "con=null", "ssl=null", "quiet", "lpj=7000000", "panic=-1"])
            .args(["noreboot", "seccomp=auto"])
            .args(["nbd.nbds_max=0", "brd.rd_nr=0", "null_blk.nr_devices=0", "zram.num_devices=0"])
            .args(["dummy.numdummies=0", "bonding.max_bonds=0", "ifb.numifbs=0", "fb_tunnels=none"])
            .env("TMPDIR", self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let cpu = self.cpu;
        // SAFETY: three system calls, no memory is touched.
        unsafe {
            command.pre_exec(move || {
                nix::unistd::setsid()?;
                // As the supervisor does it: without, the kernel executes its file once more.
                let _ = personality::set(Persona::ADDR_NO_RANDOMIZE);
                Ok(sched_setaffinity(Pid::from_raw(0), &cpu)?)
            })
        };
        let start = Instant::now();
        let status =
            command.status().with_context(|| format!("start {}", self.kernel.display()))?;
        let time = start.elapsed();
        ensure!(status.success(), "the bare kernel ended with {status}");
        Ok(time)
    }
}

/// The kernel that the tests boot too: asked of a guest, so that it is the same one.
fn kernel() -> Result<PathBuf> {
    let vm = uml_test::Vm::builder().boot()?;
    let process = processes(&vm)?.into_iter().next().context("no kernel process found")?;
    Ok(std::fs::read_link(process.join("exe"))?)
}

/// The processes that have a guest's run directory among their arguments, the kernel's first.
pub(crate) fn processes(vm: &uml_test::Vm) -> Result<Vec<PathBuf>> {
    let marker = format!("uml_dir={}", vm.run_dir().display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&arguments).contains(&marker) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
