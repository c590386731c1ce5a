//! The one place that prints: data on stdout, everything else on stderr.
//!
//! A thread of its own writes, behind a bounded queue: a reader that stops reading holds up nobody
//! who moves data. What goes to people is made harmless here; a line feed ends a line, so paths and
//! names go through [`shown`](crate::path_text::shown) before they become part of one.

mod queue;

use std::{
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use self::queue::{Line, Queue, Stream};
use crate::{error::CliError, signals};

/// How long a reader that does not read can delay the end of a command that a signal ended.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where results and messages go, and in which form.
#[derive(Clone)]
pub(crate) struct Output {
    json: bool,
    queue: Arc<Queue>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, queue: Queue::start() }
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
    /// A reader that went away (a closed pipe) is no failure of ours; any other makes
    /// [`Self::finish`] fail.
    pub(crate) fn result(&self, text: &str, value: &impl Serialize) {
        if self.json {
            self.json_line(value);
        } else {
            self.queue.push(Line::new(Stream::Out, text));
        }
    }

    /// One JSON object on stdout; nothing for people.
    pub(crate) fn json_line(&self, value: &impl Serialize) {
        if self.json
            && let Ok(line) = serde_json::to_string(value)
        {
            self.queue.push(Line::json(&line));
        }
    }

    /// As [`Self::json_line`], for what is worth nothing later: not said when lines wait already.
    pub(crate) fn passing_json_line(&self, value: &impl Serialize) {
        if self.queue.is_idle() {
            self.json_line(value);
        }
    }

    /// Something that everybody should hear: a line for people, `{"warning": …}` for machines.
    pub(crate) fn warning(&self, text: &str) {
        self.note(&format!("warning: {text}"));
        self.json_line(&serde_json::json!({ "warning": text }));
    }

    /// A sentence for a person; machines do not see it.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            self.queue.push(Line::new(Stream::Err, text));
        }
    }

    /// A sentence that belongs to no result and must not get lost: on stderr, beside JSON as well.
    pub(crate) fn notice(&self, text: &str) {
        self.queue.push(Line::new(Stream::Err, text));
    }

    /// A line of the log, on stderr, which is left out while too many wait.
    pub(crate) fn log(&self, text: &str) {
        self.queue.push_if_room(Line::new(Stream::Err, text));
    }

    /// A failure: one JSON object, or the message with its causes and a hint.
    pub(crate) fn error(&self, error: &CliError) {
        self.queue.push(self.failure(error));
    }

    fn failure(&self, error: &CliError) -> Line {
        if self.json {
            Line::json(&error.to_json().to_string())
        } else {
            Line::new(Stream::Err, error.to_string().trim_end())
        }
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// A result could not be written, so nobody has it.
    pub(crate) fn finish(&self) -> Result<(), CliError> {
        let patience = signals::seen().then_some(PATIENCE);
        let failed = self.queue.drain(patience);
        failed.map_or(Ok(()), |error| {
            Err(CliError::file("could not write to", "standard output".as_ref(), &error))
        })
    }

    /// The last words of a process that ends now, if somebody reads them.
    pub(crate) fn last(&self, error: &CliError) {
        self.queue.push_at_once(self.failure(error));
        self.queue.drain(Some(PATIENCE));
    }

    /// The failure of [`Self::finish`], which standard output did not take.
    pub(crate) fn unwritten(&self, error: &CliError) {
        self.queue.push(Line::new(Stream::Err, error.to_string().trim_end()));
        self.queue.drain(None);
    }
}
