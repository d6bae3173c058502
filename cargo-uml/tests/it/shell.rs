//! `cargo uml shell` on a terminal, as somebody sits at it.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::termios::{LocalFlags, tcgetattr};
use rexpect::process::{Signal, WaitStatus};
use rexpect::session::{PtySession, spawn_command};

use crate::package::{becomes_empty, output, text, uml};

/// In milliseconds: a busy machine is slow, and a wait that is met ends at once.
const PATIENCE: u64 = 60_000;

/// A shell that has shown its first prompt. What is typed is echoed: what is looked for must not be in it.
fn shell(run_dir: &str) -> PtySession {
    shell_after("true", run_dir)
}

/// The same, after a command that sets this terminal.
fn shell_after(set: &str, run_dir: &str) -> PtySession {
    let uml = uml(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{set} && exec \"$0\" shell")]).arg(uml.get_program());
    for (name, value) in uml.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("SHELL", "/bin/sh").env("PS1", "ready> ").env("TERM", "xterm").env("ENV", "");
    command.env("UML_TEST_RUN_DIR", run_dir);
    let mut session = spawn_command(command, Some(PATIENCE)).unwrap();
    session.exp_string("ready> ").unwrap();
    session
}

/// Types a command, and waits until its output begins with `shows`.
fn run(session: &mut PtySession, command: &str, shows: &str) {
    session.send_line(command).unwrap();
    session.exp_string(shows).unwrap_or_else(|error| panic!("{command}: {error}"));
}

#[expect(unsafe_code, reason = "ioctls have no safe wrapper")]
fn resize(session: &PtySession, rows: u16, columns: u16) {
    let size = nix::libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = session.process().get_file_handle().unwrap();
    let request = nix::libc::TIOCSWINSZ;
    // SAFETY: the call reads the structure.
    let code = unsafe { nix::libc::ioctl(terminal.as_fd().as_raw_fd(), request, &raw const size) };
    assert_eq!(code, 0);
}

/// The guest's terminal comes to have this size.
fn has_size(session: &mut PtySession, rows: u16, columns: u16) {
    let deadline = Instant::now() + Duration::from_millis(PATIENCE);
    let wanted = format!("{rows} {columns}");
    loop {
        session.send_line("echo si''ze $(stty size) en''d").unwrap();
        let (_, found) = session.exp_regex("size [0-9]+ [0-9]+ end").unwrap();
        if found == format!("size {wanted} end") {
            return;
        }
        assert!(Instant::now() < deadline, "{found}, expected {wanted}");
    }
}

#[test]
fn a_terminal_with_job_control_and_sizes() {
    let dir = tempfile::Builder::new().prefix("shell-").tempdir_in("/dev/shm").unwrap();
    let mut session = shell(dir.path().to_str().unwrap());
    run(&mut session, "cat /proc/sys/kernel/hostname; tty", "uml-test");
    session.exp_string("/dev/pts/").unwrap();
    // The session and the terminal's foreground group are its own.
    let leads =
        "set -- $(sed 's/.*) //' /proc/$$/stat); [ $4 = $$ ] && [ $6 = $$ ] && echo le''ads";
    run(&mut session, leads, "leads");

    run(&mut session, "echo be''gun; sleep 1000", "begun");
    session.send_control('c').unwrap();
    session.exp_string("ready> ").unwrap();
    run(&mut session, "echo co''de $?", "code 130");

    run(&mut session, "echo be''gun again; sleep 1000", "begun again");
    session.send_control('z').unwrap();
    session.exp_string("Stopped").unwrap();
    run(&mut session, "jobs; echo li''sted", "listed");
    run(&mut session, "(sleep 0.1; echo in the ba''ckground) & fg %1", "in the background");
    session.send_control('c').unwrap();
    run(&mut session, "[ -z \"$(jobs)\" ] && echo no''ne left", "none left");

    resize(&session, 33, 111);
    has_size(&mut session, 33, 111);
    for rows in 1..500 {
        resize(&session, rows, 80);
    }
    resize(&session, 44, 99);
    has_size(&mut session, 44, 99);

    // A program that takes single keys gets them, the end of input too.
    run(&mut session, "stty raw -echo; echo no''w; dd bs=1 count=2 2>/dev/null | od -c", "now");
    session.send("q\u{3}").unwrap();
    session.flush().unwrap();
    session.exp_string("q 003").unwrap();
    run(&mut session, "stty sane; echo he''re; cat; echo en''ded", "here");
    session.send_control('d').unwrap();
    session.exp_string("ended").unwrap();

    session.send_line("exit 7").unwrap();
    session.exp_eof().unwrap();
    match session.process().wait().unwrap() {
        WaitStatus::Exited(_, code) => assert_eq!(code, 7),
        other => panic!("{other:?}"),
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 0, "{left:?}");
}

/// As over ssh: what somebody has set with `stty` here is set there.
#[test]
fn the_terminals_settings_are_those_of_this_one() {
    let dir = tempfile::Builder::new().prefix("shell-").tempdir_in("/dev/shm").unwrap();
    let here = "stty intr ^X erase ^H -ixon iutf8 tostop -echoctl";
    let mut session = shell_after(here, dir.path().to_str().unwrap());
    run(&mut session, "stty -a | tr '\\n' ' '", "intr = ^X;");
    for setting in ["erase = ^H;", " -ixon ", " iutf8 ", " tostop ", " -echoctl "] {
        session.exp_string(setting).unwrap_or_else(|error| panic!("{setting}: {error}"));
    }
    // One key erases one letter, of however many bytes.
    run(&mut session, "echo li''stens; head -n 1 | od -An -tx1", "listens");
    session.send("a\u{e9}\u{8}b\n").unwrap();
    session.flush().unwrap();
    session.exp_string("61 62 0a").unwrap();
    session.send_line("exit").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn a_terminal_that_nobody_had_open_is_there_again() {
    let dir = tempfile::Builder::new().prefix("shell-").tempdir_in("/dev/shm").unwrap();
    let mut session = shell(dir.path().to_str().unwrap());
    let closes = "exec sh -c 'exec </dev/null >/dev/null 2>&1; sleep 0.3; exec >/dev/tty; echo back $((40 + 2))'";
    run(&mut session, closes, "back 42");
    session.exp_eof().unwrap();
    match session.process().wait().unwrap() {
        WaitStatus::Exited(_, code) => assert_eq!(code, 0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signal_from_elsewhere_leaves_the_terminal_as_it_was() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let dir = tempfile::Builder::new().prefix("shell-").tempdir_in("/dev/shm").unwrap();
        let mut session = shell(dir.path().to_str().unwrap());
        let terminal = session.process().get_file_handle().unwrap();
        let is_raw = || {
            let flags = tcgetattr(terminal.as_fd()).unwrap().local_flags;
            !flags.contains(LocalFlags::ICANON)
        };
        assert!(is_raw());
        session.process_mut().signal(signal).unwrap();
        match session.process().wait().unwrap() {
            WaitStatus::Signaled(_, by, _) => assert_eq!(by as i32, signal as i32),
            other => panic!("{other:?}"),
        }
        assert!(!is_raw());
        becomes_empty(dir.path(), signal);
    }
}

#[test]
fn without_a_terminal_it_is_a_program_like_others() {
    let run = |script: &str| {
        let mut shell = uml(&["shell", "--", "-c", script]);
        output(shell.env("SHELL", "/bin/sh"))
    };
    let said = run("tty; echo err >&2; exit 3");
    assert_eq!(said.status.code(), Some(3), "{}", text(&said));
    assert_eq!((&said.stdout[..], &said.stderr[..]), (&b"not a tty\n"[..], &b"err\n"[..]));
    assert_eq!(ExitStatus::from_raw(9), run("kill -9 $$").status);
}
