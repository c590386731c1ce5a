//! The one place that prints: data on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::CliError;

/// Where results and messages go, and in which form.
#[derive(Clone)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether machines read along.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches stderr: only then bars and colours make sense.
    pub(crate) fn is_interactive(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// The result of a command: `text` for people, `value` for machines.
    ///
    /// A reader that went away (a closed pipe) is no failure of ours.
    pub(crate) fn result(&self, text: &str, value: &impl Serialize) {
        if self.json {
            self.json_line(value);
        } else {
            let _ = writeln!(io::stdout().lock(), "{text}");
        }
    }

    /// One JSON object on stdout; nothing for people.
    pub(crate) fn json_line(&self, value: &impl Serialize) {
        if self.json
            && let Ok(line) = serde_json::to_string(value)
        {
            let _ = writeln!(io::stdout().lock(), "{line}");
        }
    }

    /// A sentence for a person; machines do not see it.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// A failure: one JSON object, or the message with its causes and a hint.
    pub(crate) fn error(&self, error: &CliError) {
        if self.json {
            self.json_line(&error.to_json());
            return;
        }
        let mut err = io::stderr().lock();
        let _ = write!(err, "{error}");
    }
}
