//! The seccomp filter around a kernel process: what Landlock has no rights for.
//!
//! Guest root may come to run code of its own in the kernel process (with `seccomp=on` guest
//! programs reach all of its memory), so the filter holds against any program, and not only
//! against what hostfs passes on. What it denies is nothing that User Mode Linux needs. System calls
//! newer than [`NEWEST_CALL`] are denied until somebody has looked at them.

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule, sock_filter,
};

/// Before this version Landlock does not stop truncate(2), so the filter does.
pub(super) const TRUNCATE_SINCE: i32 = 3;

/// Denied whatever their arguments are. The bare numbers are newer than the libc crate's names.
const DENIED: &[&[libc::c_long]] = &[METADATA, UNSEEN, SYSTEM, MEMORY, PROCESSES];

/// Change metadata, which Landlock does not cover.
const METADATA: &[libc::c_long] = &[
    libc::SYS_chmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_SETXATTRAT,
    SYS_REMOVEXATTRAT,
    SYS_FILE_SETATTR,
];
const SYS_FCHMODAT2: libc::c_long = 452;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_REMOVEXATTRAT: libc::c_long = 466;
const SYS_FILE_SETATTR: libc::c_long = 469;

/// Do what no filter sees: a ring's operations (setxattr is one) are system calls by other means,
/// and the flags of openat2 lie in memory. Also connecting, by which sockets on the host's file
/// system are reached (the Docker daemon's, say), and listening, under any abstract name.
const UNSEEN: &[libc::c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_connect,
    libc::SYS_listen,
];

/// Change the whole system where the host's user is root.
const SYSTEM: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_fanotify_init,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_iopl,
    libc::SYS_ioperm,
];
const SYS_OPEN_TREE_ATTR: libc::c_long = 467;

/// Reach memory and keys that the user's processes share by name or number.
const MEMORY: &[libc::c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// Change other processes of the user, which Landlock keeps only from being traced and signalled,
/// or hold them up: a file open for reading can be locked, a CPU kept from all others. Or leave the
/// kernel's session, all of which is killed with it.
const PROCESSES: &[libc::c_long] = &[
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_flock,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
];

/// Take a process as their first argument; with 0 it is the caller, which is allowed.
const OF_OTHERS: &[libc::c_long] = &[libc::SYS_prlimit64, libc::SYS_sched_setaffinity];

/// The mode of the one file whose mode the kernel process may have to set (`init_stub_exe_fd()`
/// in its source). What guest root sets through hostfs comes with the bits of the file's type, so
/// it is never this.
const STUB_MODE: u64 = 0o500;

/// The ioctls that are allowed: what says whether a descriptor is a terminal, and what fcntl does as
/// well. Others do what needs no file open for writing: they set flags such as "immutable" and
/// attributes of files, type into terminals, and command devices, which Landlock keeps from that
/// only since version 5. Each file system and driver has numbers of its own, so none is listed.
const IOCTLS: &[libc::Ioctl] = &[
    libc::TCGETS,
    libc::TCGETS2,
    libc::TIOCGWINSZ,
    libc::FIONREAD,
    libc::FIONBIO,
    libc::FIOASYNC,
    libc::FIOCLEX,
    libc::FIONCLEX,
    BLKGETSIZE,
];

/// Asks a block device, which can be a guest's disk, for its size.
const BLKGETSIZE: libc::Ioctl = 0x1260;

/// Create files. The numbers are those of the arguments with the flags (where it has them, and
/// there one of [`CREATE_FLAGS`] counts) and with the mode.
const CREATING: &[(libc::c_long, Option<u8>, u8)] = &[
    (libc::SYS_open, Some(1), 2),
    (libc::SYS_openat, Some(2), 3),
    (libc::SYS_creat, None, 1),
    (libc::SYS_mknod, None, 1),
    (libc::SYS_mknodat, None, 2),
];

/// With these the mode counts. The second makes a file without a name, which linkat gives it later;
/// O_TMPFILE is that flag and O_DIRECTORY.
const CREATE_FLAGS: [i32; 2] = [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY];

/// Which calls are denied: some always, others where one of their rules fits.
#[derive(Default)]
struct Denied {
    always: BTreeSet<i64>,
    rules: BTreeMap<i64, Vec<Rule>>,
}

impl Denied {
    fn always(&mut self, call: libc::c_long) {
        self.always.insert(call);
    }

    /// Denied where all the conditions hold, and where those of another rule do.
    fn when(
        &mut self,
        call: libc::c_long,
        conditions: &[(u8, Is, u64)],
    ) -> Result<(), BackendError> {
        self.rules.entry(call).or_default().push(rule(conditions)?);
        Ok(())
    }

    /// As seccompiler has it: no rules at all deny a call always. So none may be left beside that.
    fn into_rules(self) -> BTreeMap<i64, Vec<Rule>> {
        let always = self.always.into_iter().map(|call| (call, Vec::new()));
        self.rules.into_iter().chain(always).collect()
    }
}

/// The filter, for a host whose Landlock has version `abi`, and a kernel that has `disks`, which it
/// locks, or has none.
pub(super) fn filter(abi: i32, disks: bool) -> Result<BpfProgram, BackendError> {
    let mut denied = Denied::default();
    for call in DENIED.iter().copied().flatten() {
        denied.always(*call);
    }
    if abi < TRUNCATE_SINCE {
        deny_truncating(&mut denied)?;
    }
    deny_modes(&mut denied)?;
    deny_set_id_files(&mut denied)?;
    deny_reaching_others(&mut denied)?;
    deny_locks(&mut denied, disks)?;
    let ioctls: Vec<_> =
        IOCTLS.iter().map(|number| (1, Is::Ne, u64::from(*number as u32))).collect();
    denied.when(libc::SYS_ioctl, &ioctls)?;
    let filter: BpfProgram = SeccompFilter::new(
        denied.into_rules(),
        SeccompAction::Allow,
        SeccompAction::Errno(Errno::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()?;
    Ok(by_number(NEWEST_CALL).into_iter().chain(filter).collect())
}

/// Also opening truncates, if it is asked to: for writing Landlock denies it, but not for reading,
/// nor with the access mode 3, which Linux has for a file that is neither read nor written.
fn deny_truncating(denied: &mut Denied) -> Result<(), BackendError> {
    denied.always(libc::SYS_truncate);
    let mask = (libc::O_TRUNC | libc::O_ACCMODE) as u64;
    for access in [libc::O_RDONLY, libc::O_ACCMODE] {
        let truncates = Is::MaskedEq(mask);
        let flags = (libc::O_TRUNC | access) as u64;
        denied.when(libc::SYS_open, &[(1, truncates.clone(), flags)])?;
        denied.when(libc::SYS_openat, &[(2, truncates, flags)])?;
    }
    Ok(())
}

/// What else sets a mode is denied always.
fn deny_modes(denied: &mut Denied) -> Result<(), BackendError> {
    if memory_can_be_executed() {
        denied.always(libc::SYS_fchmod);
        return Ok(());
    }
    denied.when(libc::SYS_fchmod, &[(1, Is::Ne, STUB_MODE)])
}

/// What concerns other processes, the network or the host's memory if its arguments say so.
fn deny_reaching_others(denied: &mut Denied) -> Result<(), BackendError> {
    for call in OF_OTHERS {
        denied.when(*call, &[(0, Is::Ne, 0)])?;
    }
    // The kernel process has no business on the host's networks, not even to have their modules
    // loaded. Sockets that are files it needs, for its management socket.
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        denied.when(call, &[(0, Is::Ne, libc::AF_UNIX as u64)])?;
    }
    // The kernel process, which is killed with the supervisor, is not to change its mind. What it
    // forks has no such signal: the supervisor kills that, if it is there to do so.
    let pdeathsig = libc::PR_SET_PDEATHSIG as u64;
    let kill = libc::SIGKILL as u64;
    denied.when(libc::SYS_prctl, &[(0, Is::Eq, pdeathsig), (1, Is::Ne, kill)])?;
    // Takes away the host's memory, also what other processes have of a file that is mapped here.
    for advice in [libc::MADV_HWPOISON, libc::MADV_SOFT_OFFLINE] {
        denied.when(libc::SYS_madvise, &[(2, Is::Eq, advice as u64)])?;
    }
    Ok(())
}

/// Linux 6.19's lease for directories too; newer than the libc crate's names.
const F_SETDELEG: i32 = 1040;

/// A lease holds up whoever opens the file (or makes one in the directory), a lock who writes to it,
/// also one by a descriptor for reading.
fn deny_locks(denied: &mut Denied, disks: bool) -> Result<(), BackendError> {
    let always =
        [libc::F_SETLEASE, F_SETDELEG, libc::F_SETLKW, libc::F_OFD_SETLK, libc::F_OFD_SETLKW];
    // `os_lock_file()` in the kernel's source, for nothing but disks' images.
    let for_disks = (!disks).then_some(libc::F_SETLK);
    for command in always.into_iter().chain(for_disks) {
        denied.when(libc::SYS_fcntl, &[(1, Is::Eq, command as u64)])?;
    }
    Ok(())
}

/// Nobody is to find a program that runs as the host's user.
fn deny_set_id_files(denied: &mut Denied) -> Result<(), BackendError> {
    for bit in [libc::S_ISUID, libc::S_ISGID].map(u64::from) {
        for (call, flags, mode) in CREATING {
            let set_id = (*mode, Is::MaskedEq(bit), bit);
            let Some(flags) = flags else {
                denied.when(*call, &[set_id])?;
                continue;
            };
            for create in CREATE_FLAGS.map(|flag| flag as u64) {
                denied.when(*call, &[(*flags, Is::MaskedEq(create), create), set_id.clone()])?;
            }
        }
    }
    Ok(())
}

/// Whether files in memory can be made executable: since Linux 6.3, unless `vm.memfd_noexec` is 2.
/// Where not, the kernel process writes the program that guest user space runs in to a file, and
/// has to set its mode.
fn memory_can_be_executed() -> bool {
    let exec = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    memfd_create(c"uml-test-probe", MFdFlags::MFD_CLOEXEC | exec).is_ok()
}

/// A rule that all of these make up: argument, comparison, value.
fn rule(conditions: &[(u8, Is, u64)]) -> Result<Rule, BackendError> {
    let conditions = conditions
        .iter()
        .map(|(at, is, value)| Condition::new(*at, Width::Dword, is.clone(), *value));
    Rule::new(conditions.collect::<Result<_, _>>()?)
}

/// The last system call that this file takes into account: `rseq_slice_yield`, as of Linux 7.2.
const NEWEST_CALL: u32 = 471;

/// What goes by the number alone. The x32 ABI is denied, which has a second number for every call:
/// the same one with a bit set. What is newer than `newest` does not exist (C libraries then take
/// an older call), and neither does clone3: its flags lie in memory, and one of them starts a
/// process in any cgroup that the host's user may write. Nor does io_setup: there is one number of
/// its requests for all users of the host (`fs.aio-max-nr`). Kernels that would use it have
/// another way.
fn by_number(newest: u32) -> [sock_filter; 7] {
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const IF_ABOVE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
    const IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const NUMBER: u32 = 0; // offset in struct seccomp_data
    const X32: u32 = 1 << 30;
    let step = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    let refuse = |errno| step(RETURN, SeccompAction::Errno(errno as u32).into(), 0, 0);
    [
        step(LOAD_WORD, NUMBER, 0, 0),
        step(IF_AT_LEAST, X32, 0, 1),
        refuse(Errno::EPERM),
        step(IF_ABOVE, newest, 2, 0),
        step(IF_EQUAL, libc::SYS_clone3 as u32, 1, 0),
        step(IF_EQUAL, libc::SYS_io_setup as u32, 0, 1),
        refuse(Errno::ENOSYS),
    ]
}

#[cfg(test)]
mod tests;
