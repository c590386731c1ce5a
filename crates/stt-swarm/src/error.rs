//! Why a ticket or a content could not be used.

use std::{io, path::PathBuf};

use stc::{Cause, Coded};

use crate::{ProviderFailure, SwarmError, content::ManifestError, failure::listed};

/// Why a text is no ticket, or something does not fit into one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The text is not a ticket, or a part of it is missing or mistyped.
    #[error("the text is no ticket, or not all of it")]
    Malformed,
    /// It is a ticket for something else.
    #[error("this is a ticket for '{kind}', not for content")]
    Kind {
        /// What it is for.
        kind: String,
    },
    /// Two tickets that were to be one are for different contents.
    #[error("the tickets are for different contents")]
    Different,
    /// More than a ticket holds.
    #[error("a ticket holds {max} {what} at most")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many of it.
        max: u64,
    },
}

impl Coded for TicketError {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "ticket.malformed",
            Self::Kind { .. } => "ticket.kind",
            Self::Different => "ticket.different",
            Self::TooMuch { .. } => "ticket.too_much",
        }
    }

    fn retry_helps(&self) -> bool {
        false
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Malformed => Some("copy the whole line that `stt share` printed"),
            Self::Different => Some("fetch them one by one"),
            Self::Kind { .. } | Self::TooMuch { .. } => None,
        }
    }
}

/// Why content could not be offered or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Only regular files and folders are offered.
    #[error("{} is neither a regular file nor a folder", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// The file is longer than a content may be.
    #[error("it has {size} bytes, and {max} are the most")]
    TooLarge {
        /// Its length.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// A setting is outside its range.
    #[error("{what} is {got}; {min} to {max} are allowed")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// As many contents are offered as may be.
    #[error("a library offers {max} contents at most")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The operating system refused.
    #[error("could not {what} {}: {cause}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        #[source]
        cause: io::Error,
    },
    /// There is a file of that name already.
    #[error("{} exists already", path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// Another fetch writes the same file.
    #[error("another fetch is writing {name}")]
    Busy {
        /// Its name.
        name: String,
    },
    /// The name in the ticket cannot be used on this machine.
    #[error("the ticket's name for the file cannot be used")]
    Name,
    /// The node has a handler for content already.
    #[error(transparent)]
    Protocol(#[from] stt::ProtocolError),
    /// The list of a folder's files breaks a rule.
    #[error("the folder's list of files cannot be used: {cause}")]
    Manifest {
        /// Which one.
        #[source]
        cause: Cause,
    },
    /// Nobody who was asked has it.
    #[error("none of the {members} members that were asked has it")]
    NotFound {
        /// How many were asked.
        members: usize,
    },
    /// It is published, but the swarm's table does not say so.
    #[error("it is published, but the swarm's table does not say so: {0}")]
    NotAnnounced(#[source] SwarmError),
    /// The swarm did not take the message whose content it is.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// The ticket names nobody.
    #[error("the ticket names no provider")]
    NoProvider,
    /// No provider gave the rest. What arrived before is kept.
    #[error("no provider gave all of it: {}", listed(causes, "; "))]
    Unavailable {
        /// Why, for each provider; an error with its `source()`.
        causes: Vec<ProviderFailure>,
    },
    /// A worker ended without saying why.
    #[error("a task of the fetch was ended")]
    Ended,
}

impl ContentError {
    /// Whether a setting is from 1 to `max`.
    pub(crate) fn within(what: &'static str, got: usize, max: usize) -> Result<(), Self> {
        if (1..=max).contains(&got) {
            return Ok(());
        }
        Err(Self::OutOfRange { what, min: 1, max, got })
    }

    pub(crate) fn file(what: &'static str, path: &std::path::Path, cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::AlreadyExists {
            return Self::Exists { path: path.to_owned() };
        }
        Self::File { what, path: path.to_owned(), cause }
    }
}

impl From<ManifestError> for ContentError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest { cause: error.into() }
    }
}

impl Coded for ContentError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotAFile { .. } => "content.not_a_file",
            Self::TooLarge { .. } => "content.too_large",
            Self::OutOfRange { .. } => "content.out_of_range",
            Self::TooMany { .. } => "content.too_many",
            Self::File { .. } => "content.file",
            Self::Exists { .. } => "content.exists",
            Self::Busy { .. } => "content.busy",
            Self::Name => "content.name",
            Self::Protocol(error) => error.code(),
            Self::Manifest { .. } => "content.manifest",
            Self::NotFound { .. } => "content.not_found",
            Self::NotAnnounced(_) => "content.not_announced",
            Self::Swarm(error) => error.code(),
            Self::NoProvider => "content.no_provider",
            Self::Unavailable { .. } => "content.unavailable",
            Self::Ended => "content.ended",
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Swarm(error) => error.retry_helps(),
            Self::Busy { .. }
            | Self::NotFound { .. }
            | Self::NotAnnounced(_)
            | Self::Unavailable { .. }
            | Self::Ended => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Swarm(error) => error.hint(),
            Self::NotAFile { .. } => Some("share a file or a folder"),
            Self::OutOfRange { .. } => Some("see the range in the message"),
            Self::TooMany { .. } => Some("offer some of them no longer"),
            Self::Exists { .. } => Some("choose another directory, or move the file"),
            Self::NotFound { .. } => Some("connect to a member that has it"),
            Self::NotAnnounced(_) => Some("members with a session get it; publish it again later"),
            Self::Unavailable { .. } => {
                Some("what arrived is kept: run the same again when a provider is there")
            }
            _ => None,
        }
    }
}
