//! How a failure looks to a person and to a machine.

use std::{borrow::Cow, error::Error, fmt, path::Path};

use serde_json::json;
use stc::Coded;
use stt::transfer::printable;
use tonic_types::StatusExt;

use crate::{hints, path_text::shown};

/// A failed command: what could not be done, the stable code, the causes and a hint.
#[derive(Debug)]
pub(crate) struct CliError {
    message: String,
    code: Cow<'static, str>,
    retry_helps: bool,
    causes: Vec<String>,
    hint: Option<String>,
    exit: u8,
}

impl CliError {
    /// A failure that the command line itself found.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            message: printable(&message.into()),
            code: Cow::Borrowed(code),
            retry_helps: false,
            causes: Vec::new(),
            hint: hints::hint(code).map(str::to_owned),
            exit: 1,
        }
    }

    /// What was being done when `error` happened.
    pub(crate) fn doing(what: impl Into<String>, error: &(impl Coded + ?Sized)) -> Self {
        // A peer's words may be among them.
        let mut causes = vec![printable(&error.to_string())];
        let mut next = error.source();
        while let Some(cause) = next {
            let text = printable(&cause.to_string());
            // Most errors say what caused them at their end.
            if !causes.last().is_some_and(|last| last.ends_with(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        Self {
            message: printable(&what.into()),
            code: Cow::Borrowed(error.code()),
            retry_helps: error.retry_helps(),
            causes,
            hint: error.hint().map(str::to_owned),
            exit: 1,
        }
    }

    /// What was being done when the running node refused a call, with the code and the hint that it
    /// gave.
    pub(crate) fn refused(what: impl Into<String>, status: &tonic::Status) -> Self {
        let mut failed = CliError::new("up.call", what);
        failed.causes.push(printable(status.message()));
        let details = status.get_error_details();
        if let Some(info) = details.error_info() {
            failed.code = Cow::Owned(printable(&info.reason));
            failed.hint = info.metadata.get("hint").map(|hint| printable(hint));
            failed.retry_helps =
                info.metadata.get("retry_helps").is_some_and(|helps| helps == "true");
        }
        failed
    }

    /// A file operation that failed.
    pub(crate) fn file(what: &str, path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let code = match error.kind() {
            ErrorKind::NotFound => "file.not_found",
            ErrorKind::PermissionDenied => "file.permission",
            ErrorKind::AlreadyExists => "file.exists",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "file.disk_full",
            _ => "file.io",
        };
        let mut failed = Self::new(code, format!("{what} {}", shown(path)));
        failed.causes.push(printable(&error.to_string()));
        failed.retry_helps = code == "file.disk_full";
        failed
    }

    /// A command that a signal ended.
    pub(crate) fn interrupted(what: impl fmt::Display) -> Self {
        let mut failed = CliError::new("interrupted", format!("{what} was interrupted"));
        failed.retry_helps = true;
        failed
    }

    /// Whether this is its stable code.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.code == code
    }

    /// Whether a signal ended the command.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.has_code("interrupted")
    }

    /// Adds what another process said of the cause, each line by itself.
    pub(crate) fn with_causes(mut self, said: &str) -> Self {
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        self.causes.extend(lines.map(printable));
        self
    }

    /// Advice for this case, in place of what holds for all errors of its code.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Ends the process with this code instead of 1. 2 is taken: the command line was wrong.
    pub(crate) const fn with_exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// The code that the process ends with.
    pub(crate) const fn exit(&self) -> u8 {
        self.exit
    }

    /// The same for machines.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        json!({
            "error": {
                "code": self.code,
                "message": self.message,
                "causes": self.causes,
                "hint": self.hint,
                "retry_helps": self.retry_helps,
            }
        })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {} ({})", self.message, self.code)?;
        for cause in &self.causes {
            writeln!(f, "  cause: {cause}")?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "hint: {hint}")?;
        }
        Ok(())
    }
}

impl Error for CliError {}
