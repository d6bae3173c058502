//! The end of this process where the results of isolated tests can't be shown: libtest-mimic panics then.

use std::io;
use std::panic;
use std::sync::Arc;

use libtest_mimic::{Arguments, Conclusion, Trial};

/// Runs trials. Where standard output fails, `end` is called at once, which is not to return: a panic would wait until
/// all of them have run.
pub(super) fn run(
    arguments: &Arguments,
    trials: Vec<Trial>,
    end: impl Fn(io::Error) + Send + Sync + 'static,
) -> Conclusion {
    let usual = Arc::new(panic::take_hook());
    let theirs = Arc::clone(&usual);
    panic::set_hook(Box::new(move |panic| {
        if let Some(error) =
            panic.payload().downcast_ref::<String>().and_then(|text| error_in(text))
        {
            end(error);
        }
        theirs(panic);
    }));
    let conclusion = libtest_mimic::run(arguments, trials);
    panic::set_hook(Box::new(move |panic| usual(panic)));
    conclusion
}

/// The system's error that a panic of `Result::unwrap` is about.
fn error_in(message: &str) -> Option<io::Error> {
    let error = message.strip_prefix("called `Result::unwrap()` on an `Err` value: Os { code: ")?;
    Some(io::Error::from_raw_os_error(error.split(',').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn the_error_is_the_one_that_was_unwrapped() {
        let panics = || std::fs::metadata("/nonexistent").map(drop).unwrap();
        let payload = panic::catch_unwind(panics).unwrap_err();
        let error = error_in(payload.downcast_ref::<String>().unwrap()).unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error_in("no").is_none());
    }
}
