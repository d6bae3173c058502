//! Starts the real binary, as root, in a kernel of its own where nobody else has port 80.

use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uml_test::{Vm, uml_test};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const DAEMON: &str = env!("CARGO_BIN_EXE_example-daemon");

fn start(port: u16, log: &Path) -> std::io::Result<Child> {
    Command::new(DAEMON).args([&port.to_string(), "1234"]).arg(log).spawn()
}

/// What the daemon says, as soon as it is there to say it.
fn greeting(port: u16) -> std::io::Result<String> {
    let mut text = String::new();
    let mut connection = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            // The test's time limit ends this, should it never come up.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                std::thread::sleep(Duration::from_millis(2));
            }
            connected => break connected?,
        }
    };
    connection.read_to_string(&mut text)?;
    Ok(text)
}

/// Its variables come from the manifest, as its memory and time limit do.
#[uml_test]
fn serves_a_privileged_port_without_privileges() -> Result {
    let mut daemon = start(80, Path::new("/run/daemon.log"))?;
    assert_eq!(greeting(80)?, "hello from the manifest\n");

    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
    assert!(status.contains("\nUid:\t1234\t1234\t1234\t1234\n"), "{status}");
    assert!(status.contains("\nGroups:\t \n"), "{status}");
    assert!(status.contains("\nCapEff:\t0000000000000000\n"), "{status}");

    kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM)?;
    assert_eq!(daemon.wait()?.signal(), Some(Signal::SIGTERM as i32));
    Ok(())
}

#[uml_test(env(GREETING = "good day"))]
fn greets_as_it_is_told() -> Result {
    start(80, Path::new("/run/daemon.log"))?;
    assert_eq!(greeting(80)?, "good day\n");
    Ok(())
}

#[uml_test]
fn says_which_port_is_taken() -> Result {
    let _taken = std::net::TcpListener::bind("127.0.0.1:80")?;
    let mut second = Command::new(DAEMON);
    let output = second.args(["80", "1234", "/run/log"]).stderr(Stdio::piped()).output()?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr)?;
    assert!(said.contains("bind port 80: Address already in use"), "{said}");
    Ok(())
}

/// What a test writes vanishes with its kernel. Not in an `rw_dir`: the figures stay in
/// `profiles/` for whoever ran the test.
#[uml_test(rw_dir = "profiles", mem = "128M", timeout = "30s")]
fn profile_of_a_thousand_greetings() -> Result {
    const COUNT: u32 = 1000;
    start(80, Path::new("/run/daemon.log"))?;
    greeting(80)?;
    let began = Instant::now();
    for _ in 0..COUNT {
        greeting(80)?;
    }
    let each = began.elapsed() / COUNT;
    fs::write("profiles/greetings.txt", format!("{COUNT} greetings, {each:?} each\n"))?;
    Ok(())
}

/// An ordinary test, on the host: the log of a daemon in a guest arrives in a directory here.
#[test]
fn its_log_reaches_the_host() -> Result {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let log = dir.join("daemon.log");
    let vm = Vm::builder().rw_dir(dir).boot()?;
    let mut daemon = vm.command(DAEMON).args(["80", "1234"]).arg(&log).spawn()?;
    let mut serving = vm.command("sh");
    serving.args(["-c", "until grep serving $LOG; do sleep 0.01; done"]).env("LOG", &log);
    assert!(serving.status()?.success());
    daemon.kill()?;
    assert_eq!(daemon.wait()?.signal(), Some(9));
    vm.shutdown()?;
    assert_eq!(fs::read_to_string(log)?, "serving port 80 as user 1234\n");
    Ok(())
}
