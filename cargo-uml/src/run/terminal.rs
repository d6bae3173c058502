//! This process's terminal in front of a guest's: raw while a program runs there, and as it was afterwards.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::channel;

use anyhow::Context;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;
use uml_test::{Command, Error, ProgramEnd, TerminalSettings, TerminalSize};

use super::ended::die_of;

/// Whether there is a terminal to be passed on.
pub(crate) fn is_here() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Runs a program on a terminal in its guest that this process's terminal shows.
pub(crate) fn run(command: &mut Command<'_>) -> anyhow::Result<Result<ProgramEnd, Error>> {
    let (sizes, resized) = channel();
    let mut signals = Signals::new([SIGWINCH, SIGCONT, SIGTERM, SIGHUP, SIGINT, SIGQUIT])
        .context("could not listen to signals")?;
    let raw = Raw::enter().context("could not prepare the terminal")?;
    let original = raw.original.clone();
    let settings = settings(&original);
    let handle = signals.handle();
    let listener = std::thread::spawn(move || {
        for number in signals.forever() {
            match number {
                SIGWINCH => drop(sizes.send(size())),
                // A shell that had stopped this has its own settings in place.
                SIGCONT => {
                    let _ = make_raw(&original);
                    let _ = sizes.send(size());
                }
                // Typed keys are the guest's business; this comes from elsewhere.
                deadly => {
                    let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &original);
                    die_of(deadly);
                }
            }
        }
    });
    let result = command.attach_terminal(size(), Some(settings), resized);
    // First: it makes the terminal raw again when this process is continued.
    handle.close();
    let _ = listener.join();
    drop(raw);
    // The signals' handlers stay, and would swallow them.
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        by_default(signal);
    }
    Ok(result)
}

#[expect(unsafe_code, reason = "signal handlers can be unsafe, this one is the default")]
fn by_default(number: Signal) {
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { signal(number, SigHandler::SigDfl) };
}

/// A terminal in raw mode, as long as this lives.
struct Raw {
    original: Termios,
}

impl Raw {
    fn enter() -> nix::Result<Self> {
        let original = tcgetattr(io::stdin())?;
        make_raw(&original)?;
        Ok(Raw { original })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.original);
    }
}

fn make_raw(original: &Termios) -> nix::Result<()> {
    let mut raw = original.clone();
    cfmakeraw(&mut raw);
    tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)
}

/// As a guest takes them.
fn settings(termios: &Termios) -> TerminalSettings {
    TerminalSettings {
        input: termios.input_flags.bits(),
        output: termios.output_flags.bits(),
        local: termios.local_flags.bits(),
        characters: termios.control_chars,
    }
}

/// The terminal's size; zeros where it has none.
#[expect(unsafe_code, reason = "ioctls have no safe wrapper")]
fn size() -> TerminalSize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call writes the structure.
    unsafe { libc::ioctl(io::stdin().as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    TerminalSize { rows: size.ws_row, columns: size.ws_col }
}
