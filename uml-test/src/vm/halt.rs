//! The ends of old kernels that had halted already.
//!
//! The last thing User Mode Linux does is to let interrupts that are pending fire (`main` in
//! arch/um/os-Linux/main.c), on its first stack. Before Linux 6.13, which moved `thread_info` off
//! the stack, that cannot be done there: a timer's interrupt that came in the last microseconds
//! makes the kernel process abort, as a panic does. The guest had halted in order; nothing that
//! runs in it had a part in that. Of 750 guests of 6.1 on a loaded host one ended so.

use crate::gates;

/// Whether a kernel process that aborted had halted before, by its release and what is on its
/// console.
///
/// A panic says so on the console, so the announcement that the kernel halts is not the last line
/// there. To write that line first hides no panic.
pub(super) fn had_halted(release: &str, console: &str) -> bool {
    const ANNOUNCED: [&str; 3] = ["System halted", "Power down", "Restarting system"];
    // What arch/um/os-Linux/irq.c says of serial lines that are /dev/null, at the end once more for
    // each that a test has had open.
    const OF_LINES: &str = "epollctl add err fd ";
    let lines = console.lines().map(str::trim).filter(|line| !line.is_empty());
    // With the time before it, or without.
    let mut texts = lines.map(|line| line.rsplit_once("] ").map_or(line, |(_, text)| text));
    let last = texts.rfind(|text| !text.starts_with(OF_LINES));
    let announced = last.and_then(|text| text.strip_prefix("reboot: "));
    aborts_late(release) && announced.is_some_and(|what| ANNOUNCED.contains(&what))
}

/// A guest that has not said its release yet has not halted in order.
fn aborts_late(release: &str) -> bool {
    !release.is_empty() && gates::unmet_version("<6.13", release).is_none()
}

#[cfg(test)]
mod tests {
    use super::had_halted;

    const HALTED: &str = "[    0.28] Run /init as init process\n[    0.29] reboot: System halted\n";

    #[test]
    fn only_an_old_kernel_and_only_after_its_last_words() {
        assert!(had_halted("6.1.192", HALTED));
        assert!(had_halted("6.12.117-um", &HALTED.replace('\n', "\r\n")));
        assert!(had_halted("6.1.192", "[    0.29] reboot: Restarting system\n\n"));
        assert!(had_halted("6.1.192", "reboot: Power down"), "CONFIG_PRINTK_TIME=n");
        let lines = "[    0.32] epollctl add err fd 41, Operation not permitted\n".repeat(20);
        assert!(had_halted("6.12.117", &format!("junk{HALTED}{lines}")));
        assert!(!had_halted("6.12.117", &lines));
        assert!(!had_halted("6.13.0", HALTED));
        assert!(!had_halted("7.2.12", HALTED));
        assert!(!had_halted("", HALTED), "a guest that never said what it is");
    }

    #[test]
    fn a_panic_is_one_also_where_the_line_was_forged() {
        let panic = "[    0.30] Kernel panic - not syncing: sysrq triggered crash\n";
        assert!(!had_halted("6.1.192", &format!("{HALTED}{panic}")));
        assert!(!had_halted("6.1.192", panic));
        let line = "[    0.30] epollctl add err fd 41, Operation not permitted\n";
        assert!(!had_halted("6.1.192", &format!("{HALTED}{panic}{line}")));
        assert!(!had_halted("6.1.192", ""));
        assert!(!had_halted("6.1.192", "[    0.29] reboot: Requested\n"));
    }
}
