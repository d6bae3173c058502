//! What a check found, and how all of it is shown.

use std::fmt::Write as _;

use serde::Serialize;

/// What a check's finding means for running guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Guests run, with less than they could have.
    Warning,
    /// Guests can't run because of this.
    Failed,
    /// Not looked at, because of another finding.
    Skipped,
}

/// One line of the doctor's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    check: &'static str,
    state: State,
    found: String,
    /// What the user can do; only where something is amiss.
    remedy: Option<String>,
}

/// The whole report; its JSON form.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether a guest booted and answered.
    guest_runs: bool,
    checks: Vec<Finding>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Finding { check, state: State::Ok, found: found.into(), remedy: None }
    }

    pub(crate) fn warning(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Finding { check, state: State::Warning, found, remedy }
    }

    pub(crate) fn failed(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Finding { check, state: State::Failed, found, remedy }
    }

    pub(crate) fn skipped(check: &'static str, because: impl Into<String>) -> Self {
        Finding { check, state: State::Skipped, found: because.into(), remedy: None }
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.state == State::Ok
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// All of it, for an error.
    pub(crate) fn in_full(&self) -> String {
        let remedy = self.remedy.as_ref();
        let remedy = remedy.map_or_else(String::new, |remedy| format!("\nremedy: {remedy}"));
        format!("{}: {}{remedy}", self.check, self.found)
    }

    /// The same with less weight: guests run without what is missing.
    pub(crate) fn tolerated(mut self) -> Self {
        if self.state == State::Failed {
            self.state = State::Warning;
        }
        self
    }
}

impl Report {
    pub(crate) fn new(guest_runs: bool, checks: Vec<Finding>) -> Self {
        Report { guest_runs, checks }
    }

    pub(crate) fn guest_runs(&self) -> bool {
        self.guest_runs
    }

    pub(crate) fn text(&self) -> String {
        let width = self.checks.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut text = String::new();
        let indent = " ".repeat("warning".len() + 2 + width + 2);
        for finding in &self.checks {
            let state = match finding.state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Failed => "FAILED",
                State::Skipped => "skipped",
            };
            let found = finding.found.replace('\n', &format!("\n{indent}"));
            let _ = writeln!(text, "{state:<7}  {:<width$}  {found}", finding.check);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(
                    text,
                    "{indent}remedy: {}",
                    remedy.replace('\n', &format!("\n{indent}"))
                );
            }
        }
        text.push('\n');
        text.push_str(&self.verdict());
        text.push('\n');
        text
    }

    fn verdict(&self) -> String {
        if self.guest_runs {
            return "Guests run here.".to_owned();
        }
        let failed: Vec<&str> =
            self.checks.iter().filter(|f| f.is_failed()).map(|f| f.check).collect();
        format!("No guest runs here, because of: {}.", failed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_every_line_with_its_remedy() {
        let checks = vec![
            Finding::ok("host", "x86-64"),
            Finding::warning("tools", "no flex\nno bison", "install them"),
            Finding::failed("kernel", "none", "build one"),
            Finding::skipped("guest", "no kernel"),
        ];
        let report = Report::new(false, checks);
        assert_eq!(
            report.text(),
            "ok       host    x86-64\n\
             warning  tools   no flex\n                 no bison\n                 remedy: install them\n\
             FAILED   kernel  none\n                 remedy: build one\n\
             skipped  guest   no kernel\n\n\
             No guest runs here, because of: kernel.\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["guest_runs"], false);
        assert_eq!(json["checks"][1]["state"], "warning");
        assert_eq!(json["checks"][1]["remedy"], "install them");
        assert_eq!(json["checks"][0]["remedy"], serde_json::Value::Null);
    }
}
