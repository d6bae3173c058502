//! Standard streams that somebody else has made non-blocking: node does so, tmux, and others that share them.

use std::io::{Read, Write, pipe};
use std::os::fd::AsFd;
use std::thread::{sleep, spawn};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::package::uml;

/// An input that has nothing yet is not at its end, and an output that is full for the moment is not gone.
#[test]
fn they_are_waited_for() {
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let ((stdin, mut input), (output, stdout), (errors, stderr)) =
        (pipe().unwrap(), pipe().unwrap(), pipe().unwrap());
    for stream in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        fcntl(stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    }
    let mut copy = uml(&["exec", "tee", "/dev/stderr"])
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .unwrap();
    let (given, readers) = (sent.clone(), [output, errors].map(|stream| spawn(|| slowly(stream))));
    let writer = spawn(move || {
        sleep(Duration::from_secs(1));
        input.write_all(&given)
    });
    assert!(copy.wait().unwrap().success());
    writer.join().unwrap().unwrap();
    for read in readers {
        let read = read.join().unwrap();
        assert!(read == sent, "{} bytes, ends with {:?}", read.len(), tail(&read));
    }
}

/// All that comes, so that it has to wait for a while.
fn slowly(mut stream: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        sleep(Duration::from_millis(5));
        match stream.read(&mut buffer).unwrap() {
            0 => return all,
            length => all.extend(&buffer[..length]),
        }
    }
}

/// An error's text, if one came.
fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(200)..]).into_owned()
}
