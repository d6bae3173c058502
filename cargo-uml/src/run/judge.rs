//! What came of a test that ran alone: from its binary's end, and from what the harness in it said last.

use std::os::unix::process::ExitStatusExt;

use super::ended::{Ended, How};
use super::isolate::{Listed, Outcome, skipped_itself};
use super::libtest::Verdict;
use super::watch::Found;

/// What a test's run says. Its harness has to have said so too: a body that ends its process with code 0 has not passed.
/// libtest-mimic's may have more tests in it than are listed by this name, as its tests have kinds.
pub(super) fn judge(
    test: &Listed,
    ended: &Ended,
    verdict: Option<Verdict>,
    found: &Found,
) -> Outcome {
    let failed_for =
        |reasons: Vec<String>| Outcome::Failed { word: ended.word(), reason: reasons.join("\n") };
    let How::Itself { status, .. } = &ended.how else { return failed_for(ended.explain()) };
    let failed = |reason: String| failed_for([vec![reason], ended.explain()].concat());
    if let Some(signal) = status.signal() {
        return failed(format!("the test binary was killed by signal {signal}"));
    }
    let good = match &verdict {
        // By its own decision, as it was not listed so.
        Some(Verdict { passed: 0, failed: 0, ignored }) if *ignored >= test.times => {
            Some(Outcome::Ignored)
        }
        Some(Verdict { passed, failed: 0, ignored })
            if passed.saturating_add(*ignored) >= test.times =>
        {
            Some(Outcome::Passed)
        }
        _ => None,
    };
    match (status.code(), good, verdict) {
        (Some(0), Some(good), _) => match found.skips.first() {
            Some(line) => failed(skipped_itself(line)),
            None => good,
        },
        (Some(0), None, Some(verdict)) if verdict == Verdict::default() => {
            failed("the test binary listed this test and did not run it".to_owned())
        }
        (Some(101), _, Some(verdict)) if verdict.failed > 0 => match found.panic_of(&test.name) {
            Some(panic) => failed(panic.message.clone()),
            None => failed("the test failed".to_owned()),
        },
        (code, ..) => {
            let code = code.unwrap_or_default();
            failed(format!("the test binary exited with code {code} before the test's end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use uml_test::OutputStream;

    use super::super::listener::{Listener, Said};
    use super::super::watch::Watch;
    use super::*;

    fn ended(raw: i32) -> Ended {
        let status = ExitStatus::from_raw(raw);
        Ended::of(How::Itself { status, is_out_of_memory: false })
    }

    fn judged(raw: i32, stdout: &str) -> Outcome {
        judged_of(1, raw, stdout)
    }

    fn judged_of(times: u32, raw: i32, stdout: &str) -> Outcome {
        let test = Listed { name: "a".to_owned(), times, is_ignored: false };
        let mut listener = Listener::new("a", Watch::new(Some("")).unwrap(), false);
        listener.hear(OutputStream::Stdout, stdout.as_bytes());
        let Said { verdict, found, .. } = listener.finish();
        judge(&test, &ended(raw), verdict, &found)
    }

    #[test]
    fn only_what_the_harness_saw_to_its_end_has_passed() {
        const PASSED: &str = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s\n\n";
        assert_eq!(judged(0, PASSED), Outcome::Passed);
        let failed = |raw: i32, stdout: &str, says: &str| match judged(raw, stdout) {
            Outcome::Failed { reason, .. } => assert!(reason.contains(says), "{reason}"),
            other => panic!("{stdout}: {other:?}"),
        };
        failed(0, "running 1 test\ntest a ... ", "code 0 before");
        assert_eq!(judged(0, &format!("{PASSED}and more\n")), Outcome::Passed, "a daemon's");
        let ignored = PASSED.replace("1 passed", "0 passed").replace("0 ignored", "1 ignored");
        assert_eq!(judged(0, &ignored), Outcome::Ignored, "by its own decision");
        let two = PASSED.replace("1 passed", "2 passed");
        assert_eq!(judged_of(2, 0, &two), Outcome::Passed);
        assert!(matches!(judged_of(2, 0, PASSED), Outcome::Failed { .. }), "one has not run");
        let said = ignored.replace("... ok", "... ignored (requires root)");
        failed(0, &said, "requires root");
        failed(11, PASSED, "signal 11");
        failed(7 << 8, PASSED, "code 7");
        failed(0, &PASSED.replace("1 passed", "0 passed"), "did not run it");
        failed(0, &PASSED.replace("... ok", "... skipping: requires root\nok"), "requires root");
        failed(
            101 << 8,
            "thread 'a' panicked at x.rs:1:1:\nno good\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out",
            "no good",
        );
        // Not a panic that it has caught, nor one of another thread.
        failed(
            101 << 8,
            "thread 'b' panicked at x.rs:1:1:\nfirst\nthread 'a' panicked at x.rs:2:1:\ncaught\n\
             thread 'a' panicked at x.rs:3:1:\nmeant\nthread 'b' panicked at x.rs:1:1:\nlast\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out",
            "meant",
        );
    }
}
