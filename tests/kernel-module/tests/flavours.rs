//! The flavours have what they are there for. Each test is for kernels of its module's flavour; README.md says how to
//! run them.

mod smp {
    use std::fs;
    use std::path::Path;
    use std::thread::available_parallelism;

    use nix::errno::Errno;
    use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
    use nix::unistd::Pid;
    use uml_test::uml_test;

    const SELF: Pid = Pid::from_raw(0);

    fn only(cpu: usize) -> CpuSet {
        let mut set = CpuSet::new();
        set.set(cpu).unwrap();
        set
    }

    #[uml_test(config = ["CONFIG_SMP"], cmdline = "ncpus=2")]
    #[ignore = "needs the flavour smp: see README.md"]
    fn there_are_as_many_processors_as_ncpus_says() {
        let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
        assert_eq!(online.trim(), "0-1");
        assert_eq!(available_parallelism().unwrap().get(), 2);
    }

    #[uml_test(config = ["CONFIG_SMP"], cmdline = "ncpus=2")]
    #[ignore = "needs the flavour smp: see README.md"]
    fn a_thread_runs_on_the_processor_that_it_is_bound_to() {
        for cpu in [1, 0, 1] {
            sched_setaffinity(SELF, &only(cpu)).unwrap();
            assert_eq!(sched_getcpu(), Ok(cpu));
        }
        assert_eq!(sched_setaffinity(SELF, &only(2)), Err(Errno::EINVAL));
    }

    #[uml_test(config = ["CONFIG_SMP", "CONFIG_CPUSETS"], cmdline = "ncpus=2")]
    #[ignore = "needs the flavour smp: see README.md"]
    fn a_cpuset_confines_its_processes() {
        let group = Path::new("/sys/fs/cgroup/confined");
        fs::create_dir(group).unwrap();
        fs::write(group.join("cpuset.cpus"), "1").unwrap();
        fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        assert_eq!(sched_getaffinity(SELF), Ok(only(1)));
        assert_eq!(sched_getcpu(), Ok(1));
        assert_eq!(sched_setaffinity(SELF, &only(0)), Err(Errno::EINVAL));
    }
}

mod coverage {
    use std::env;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use serde_json::Value;
    use uml_test::uml_test;

    #[uml_test(config = ["CONFIG_GCOV_KERNEL"])]
    #[ignore = "needs the flavour coverage and its build: see README.md"]
    fn gcov_reads_what_the_kernel_counted() {
        let build = env::var("KERNEL_BUILD").expect("KERNEL_BUILD names the kernel's build");
        let counts = find(Path::new("/sys/kernel/debug/gcov"), "fs/pipe.gcda");
        let work = Path::new("/tmp/gcov");
        fs::create_dir(work).unwrap();
        fs::copy(Path::new(&build).join("fs/pipe.gcno"), work.join("pipe.gcno")).unwrap();
        let pipes_made = || {
            fs::write(work.join("pipe.gcda"), fs::read(&counts).unwrap()).unwrap();
            calls(&gcov(work, "pipe.gcda"), "create_pipe_files")
        };
        let before = pipes_made();
        for _ in 0..1000 {
            std::io::pipe().unwrap();
        }
        let made = pipes_made() - before;
        // Starting gcov takes some too.
        assert!((1000..1100).contains(&made), "1000 pipes were made, {made} counted");
    }

    /// The file below `directory` whose path has this end.
    fn find(directory: &Path, end: &str) -> PathBuf {
        fn look(directory: &Path, end: &str) -> Option<PathBuf> {
            let mut paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            paths.find_map(|path| match path.is_dir() {
                true => look(&path, end),
                false => Some(path).filter(|path| path.ends_with(end)),
            })
        }
        look(directory, end).unwrap_or_else(|| panic!("no {end} below {}", directory.display()))
    }

    /// What gcov says of a file of counts.
    fn gcov(directory: &Path, counts: &str) -> Value {
        let output = Command::new("gcov")
            .args(["--json-format", "--stdout", counts])
            .current_dir(directory)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    fn calls(report: &Value, function: &str) -> u64 {
        let files = report["files"].as_array().unwrap();
        let mut functions = files.iter().flat_map(|file| file["functions"].as_array().unwrap());
        let found = functions.find(|found| found["name"] == function);
        found.unwrap_or_else(|| panic!("no {function} in {report}"))["execution_count"]
            .as_u64()
            .unwrap()
    }
}

mod debug {
    use std::fs::{self, File};
    use std::io::Write;

    use nix::errno::Errno;
    use nix::sys::eventfd::EventFd;
    use uml_test::uml_test;

    #[uml_test(config = ["CONFIG_FAILSLAB", "CONFIG_FAULT_INJECTION_DEBUG_FS"])]
    #[ignore = "needs the flavour debug: see README.md"]
    fn an_allocation_fails_on_demand() {
        // Allocations that may wait fail too.
        fs::write("/sys/kernel/debug/failslab/ignore-gfp-wait", "N").unwrap();
        // The next one; nothing may come between, not even the file's end.
        let mut fail_nth = File::create("/proc/thread-self/fail-nth").unwrap();
        fail_nth.write_all(b"1").unwrap();
        assert_eq!(EventFd::new().map(drop), Err(Errno::ENOMEM));
        assert_eq!(EventFd::new().map(drop), Ok(()));
    }
}
