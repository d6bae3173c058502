//! Every test changes its own machine: its name, its clock, its limits, its rights.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

use caps::{CapSet, Capability};
use example_privileged::{Cgroup, become_user, give_up, jail, set_clock, sysctl};
use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, gethostname, sethostname, setuid};
use uml_test::uml_test;

uml_test::main!();

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const USER: Uid = Uid::from_raw(1234);
const GROUP: Gid = Gid::from_raw(1234);

#[uml_test]
fn the_machine_can_be_renamed() -> Result {
    sethostname("renamed")?;
    let output = Command::new("uname").arg("-n").output()?;
    assert_eq!(String::from_utf8(output.stdout)?, "renamed\n");
    Ok(())
}

#[uml_test]
fn a_capability_given_up_is_gone() -> Result {
    sethostname("before")?;
    give_up(Capability::CAP_SYS_ADMIN)?;
    assert_eq!(sethostname("after"), Err(Errno::EPERM));
    assert_eq!(gethostname()?, "before");

    let regained = caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN);
    assert!(regained.is_err());
    // A program it starts is root too, and has it neither.
    let mut mount = Command::new("mount");
    assert!(!mount.args(["-t", "tmpfs", "none", "/mnt"]).status()?.success());
    Ok(())
}

#[uml_test]
fn the_clock_can_pass_2038() -> Result {
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 32);
    set_clock(late)?;
    assert!(SystemTime::now() >= late);
    fs::write("/tmp/late", "")?;
    assert!(fs::metadata("/tmp/late")?.modified()? >= late);
    Ok(())
}

// Not every kernel has time namespaces. Where this one lacks them the test is ignored, and says so.
#[uml_test(config = ["CONFIG_TIME_NS"])]
fn a_time_namespace_has_an_uptime_of_its_own() -> Result {
    let day = 86_400.0;
    let mut unshare = Command::new("unshare");
    unshare.args(["--fork", "--time", "--boottime", "86400", "cat", "/proc/uptime"]);
    let inside = seconds_up(&String::from_utf8(unshare.output()?.stdout)?)?;
    let outside = seconds_up(&fs::read_to_string("/proc/uptime")?)?;
    assert!(inside >= day && outside < day, "{inside} s inside, {outside} s outside");
    Ok(())
}

fn seconds_up(uptime: &str) -> Result<f64> {
    Ok(uptime.split_whitespace().next().ok_or("empty")?.parse()?)
}

#[uml_test]
fn there_is_no_way_back_to_root() -> Result {
    fs::write("/root-only", "secret")?;
    fs::set_permissions("/root-only", std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    become_user(USER, GROUP)?;
    assert_eq!(fs::read("/root-only").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(setuid(Uid::from_raw(0)), Err(Errno::EPERM));
    assert_eq!(set_clock(SystemTime::now()), Err(Errno::EPERM));
    Ok(())
}

#[uml_test]
fn a_jail_shows_nothing_of_the_outside() -> Result {
    fs::create_dir("/jail")?;
    fs::write("/jail/inside", "all there is")?;
    jail(Path::new("/jail"))?;
    assert_eq!(fs::read_to_string("/inside")?, "all there is");
    assert_eq!(fs::read_to_string("../../inside")?, "all there is");
    assert_eq!(fs::read_dir("/")?.count(), 1);
    Ok(())
}

#[uml_test]
fn a_cgroup_limits_processes() -> Result {
    let group = Cgroup::create("four", &["pids"])?;
    group.set("pids.max", "4")?;
    group.enter()?;
    let present: usize = group.get("pids.current")?.parse()?;
    let sleep = || Command::new("sleep").arg("60").spawn();
    let children = (present..4).map(|_| sleep()).collect::<std::io::Result<Vec<Child>>>()?;
    assert!(!children.is_empty());

    assert_eq!(sleep().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(group.get("pids.current")?, "4");
    assert_eq!(group.get("pids.events")?, "max 1");
    Ok(())
}

#[uml_test]
fn a_sysctl_opens_low_ports() -> Result {
    // As root, while that is still so; the second takes effect for every user.
    sysctl("net.ipv4.ip_unprivileged_port_start", "80")?;
    become_user(USER, GROUP)?;
    assert_eq!(TcpListener::bind("127.0.0.1:79").unwrap_err().kind(), ErrorKind::PermissionDenied);
    TcpListener::bind("127.0.0.1:80")?;
    let refused = sysctl("net.ipv4.ip_unprivileged_port_start", "0").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    Ok(())
}

#[uml_test]
fn a_key_is_there_until_it_is_revoked() -> Result {
    let ring = match KeyRing::from_special_id(KeyRingIdentifier::Process, true) {
        // Another kernel than the project's own may have been named.
        Err(KeyError::OperationNotSupported) => uml_test::skip!("a kernel without CONFIG_KEYS"),
        ring => ring?,
    };
    let key = ring.add_key("example:token", "s3cret")?;
    assert_eq!(ring.search("example:token")?.read_to_vec()?, b"s3cret");
    assert!(fs::read_to_string("/proc/keys")?.contains("example:token"));

    key.revoke()?;
    assert!(matches!(key.read_to_vec(), Err(KeyError::KeyRevoked)));
    Ok(())
}
