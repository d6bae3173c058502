//! What a terminal shows while something takes long, and a pipe does not.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

use crate::fixture::{Fixture, run, sha256};

/// In milliseconds: a busy machine is slow, and a wait that is met ends at once.
const PATIENCE: u64 = 60_000;

/// `cargo-uml` on a terminal.
fn on_terminal(mut command: Command) -> PtySession {
    command.env("TERM", "xterm");
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    spawn_command(command, Some(PATIENCE)).unwrap()
}

/// Waits for the end, which must be a good one.
#[track_caller]
fn succeeds(mut session: PtySession) -> String {
    let said = session.exp_eof().unwrap();
    match session.process().wait().unwrap() {
        WaitStatus::Exited(_, 0) => said,
        other => panic!("{other:?}: {said}"),
    }
}

#[test]
fn a_build_shows_its_steps_and_the_time_that_is_left() {
    let fixture = Fixture::new();
    let hold = fixture.at_home("hold");
    let tree = fixture.tree();
    let build = || fixture.uml(&["kernel", "build", tree.to_str().unwrap()]);
    fs::write(&hold, "").unwrap();
    let mut session = on_terminal(build());
    let shown = session.exp_regex(r"2/3, [^ ]+ left");
    fs::remove_file(&hold).unwrap();
    let (before, _) = shown.unwrap();
    let bar = before.rsplit('\r').next().unwrap();
    assert!(bar.contains("Compiling Linux 7.2.99 ["), "{bar:?}");
    let said = succeeds(session);
    let linux = fixture.kernel().join("linux");
    // Behind the last line that is wiped there is the result.
    let last = said.rsplit("\u{1b}[2K").next().unwrap();
    assert_eq!(last.trim_end(), linux.to_str().unwrap(), "{said:?}");
}

/// Of which it is not known how many there are.
#[test]
fn a_tree_that_is_built_again_shows_its_steps() {
    let fixture = Fixture::new();
    fixture.build(&[]);
    fixture.write("b.c", "int other(void) { return 0 * 2; }\n");
    let hold = fixture.at_home("hold");
    fs::write(&hold, "").unwrap();
    let tree = fixture.tree();
    let mut session = on_terminal(fixture.uml(&["kernel", "build", tree.to_str().unwrap()]));
    let shown = session.exp_regex(r"Compiling Linux 7.2.99 \[[^\]]+\] step 1 ");
    fs::remove_file(&hold).unwrap();
    shown.unwrap();
    succeeds(session);
}

#[test]
fn a_pipe_has_a_line_for_each_phase_and_no_bar() {
    let fixture = Fixture::new();
    let tree = fixture.tree();
    let said = run(&mut fixture.uml(&["kernel", "build", tree.to_str().unwrap()]));
    said.succeeds();
    let lines: Vec<&str> = said.stderr.lines().collect();
    let shown: Vec<&str> =
        lines.iter().copied().filter(|line| !line.starts_with("Build log: ")).collect();
    assert_eq!(
        shown,
        [
            "Configuring Linux 7.2.99",
            "Compiling Linux 7.2.99",
            "Preparing for modules outside the tree",
            "Installing the kernel",
            "Booting it"
        ]
    );
    assert!(!said.stderr.contains(['\r', '\u{1b}']), "{:?}", said.stderr);
}

/// Serves a file once: half of it, and the rest when it is told to.
fn serve_in_halves(file: PathBuf) -> (String, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (sender, go_on): (Sender<()>, Receiver<()>) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 2 {
            line.clear();
        }
        let body = fs::read(file).unwrap();
        let (first, rest) = body.split_at(body.len() / 2);
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(first).unwrap();
        let _ = go_on.recv();
        stream.write_all(rest).unwrap();
    });
    (base, sender)
}

#[test]
fn a_release_is_fetched_with_its_length_and_the_time_that_is_left() {
    let fixture = Fixture::new();
    // Of some kilobytes, whatever is compressed.
    let mut noise = vec![0; 200 << 10];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    fs::write(fixture.tree().join("noise"), noise).unwrap();
    let tarball = fixture.tarball();
    let hash = sha256(&tarball);
    let (base, go_on) = serve_in_halves(tarball);
    let mut build = fixture.uml(&["kernel", "build", "7.2.99", "--sha256", &hash]);
    build.env("CARGO_UML_KERNEL_ORG", base).env("no_proxy", "*").env("NO_PROXY", "*");
    let mut session = on_terminal(build);
    let shown = session.exp_regex(r"10[0-9]\.[0-9]+ KiB/20[0-9]\.[0-9]+ KiB, [^ ]+ left");
    go_on.send(()).unwrap();
    shown.unwrap();
    succeeds(session);
}
