//! Errors as gRPC statuses: one code of gRPC, our stable code and a hint in the details.

use std::{collections::HashMap, io::ErrorKind, time::Duration};

use stc::Coded;
use stt::{ConnectError, StreamError};
use stt_store::{ContentIdError, StoreError};
use stt_swarm::{ContentError, SwarmError, TicketError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::RequestError;

/// Whose codes they are, in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "stt";
/// When to try again, where that helps.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Errors that callers get to see.
pub(crate) trait ToStatus: Coded {
    /// What gRPC calls it.
    fn grpc_code(&self) -> Code;

    /// Adds to the details.
    fn describe(&self, _details: &mut ErrorDetails) {}

    /// What ErrorInfo says beside the code.
    fn facts(&self) -> HashMap<String, String> {
        HashMap::new()
    }

    /// The status, with `google.rpc` details.
    fn to_status(&self) -> Status {
        let mut details = ErrorDetails::new();
        let mut facts = self.facts();
        facts.insert("retry_helps".into(), self.retry_helps().to_string());
        if let Some(hint) = self.hint() {
            facts.insert("hint".into(), hint.into());
        }
        details.set_error_info(self.code(), DOMAIN, facts);
        if self.retry_helps() {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        self.describe(&mut details);
        // A peer's words may be among them, and headers are short.
        let message: String = self.to_string().chars().take(512).collect();
        Status::with_error_details(self.grpc_code(), message, details)
    }
}

impl ToStatus for RequestError {
    fn grpc_code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Deadline { .. } => Code::DeadlineExceeded,
            Self::TooLarge { .. } | Self::Full { .. } => Code::ResourceExhausted,
            Self::Stopping | Self::NotConnected { .. } => Code::Unavailable,
            Self::Checksum { .. } => Code::DataLoss,
            Self::Conflict { .. } => Code::Aborted,
            Self::UnknownPeer { .. }
            | Self::NotShared { .. }
            | Self::UnknownComponent { .. }
            | Self::UnknownService { .. } => Code::NotFound,
            Self::SubscriberTaken { .. } => Code::AlreadyExists,
            Self::EventGap { .. } => Code::OutOfRange,
            Self::EventEpoch { .. } | Self::NoSwarm | Self::NoLog => Code::FailedPrecondition,
        }
    }

    fn describe(&self, details: &mut ErrorDetails) {
        if let Self::Invalid { field, what } = self {
            details.add_bad_request_violation(*field, what.clone());
        }
    }

    fn facts(&self) -> HashMap<String, String> {
        let mut facts = HashMap::new();
        let mut fact = |name: &str, value: String| {
            facts.insert(name.to_owned(), value);
        };
        match self {
            Self::TooLarge { size, limit } => {
                fact("size", size.to_string());
                fact("limit", limit.to_string());
            }
            Self::Full { limit, .. } => fact("limit", limit.to_string()),
            Self::EventGap { after, first } => {
                fact("after", after.to_string());
                fact("first", first.to_string());
            }
            Self::EventEpoch { current, .. } => fact("epoch", current.to_string()),
            _ => {}
        }
        facts
    }
}

impl ToStatus for StoreError {
    fn grpc_code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::EntryName { .. } | Self::NameIsId { .. } => Code::InvalidArgument,
            Self::Range { .. } => Code::OutOfRange,
            Self::Damaged { .. } | Self::IndexDamaged { .. } => Code::DataLoss,
            Self::DiskFull { .. } | Self::Quota { .. } | Self::TooLarge { .. } => {
                Code::ResourceExhausted
            }
            Self::WrongSeed { .. }
            | Self::ReadOnly { .. }
            | Self::Permission { .. }
            | Self::StillNamed { .. }
            | Self::Version { .. }
            | Self::SyncFailed { .. } => Code::FailedPrecondition,
            Self::InUse { .. } | Self::Service { .. } | Self::Closed { .. } => Code::Unavailable,
            _ => Code::Internal,
        }
    }
}

impl ToStatus for ContentIdError {
    fn grpc_code(&self) -> Code {
        Code::InvalidArgument
    }
}

impl ToStatus for stt::IdParseError {
    fn grpc_code(&self) -> Code {
        Code::InvalidArgument
    }
}

impl ToStatus for ConnectError {
    fn grpc_code(&self) -> Code {
        match self {
            Self::Address(_) => Code::InvalidArgument,
            Self::Refused(stt::Refusal::Denied) => Code::PermissionDenied,
            Self::Full { .. } => Code::ResourceExhausted,
            _ => Code::Unavailable,
        }
    }
}

impl ToStatus for stt_streams::StreamsError {
    fn grpc_code(&self) -> Code {
        // The numbers are those of gRPC.
        Code::from_i32(self.status() as i32)
    }
}

impl ToStatus for SwarmError {
    fn grpc_code(&self) -> Code {
        match self {
            Self::TooLarge { .. } | Self::OutOfRange { .. } => Code::InvalidArgument,
            Self::TooMany { .. } | Self::Busy { .. } => Code::ResourceExhausted,
            Self::Taken => Code::AlreadyExists,
            Self::Timeout { .. } => Code::DeadlineExceeded,
            Self::Chamber(error) => error.grpc_code(),
            Self::NotSaved { cause } => cause.grpc_code(),
            Self::Stopped
            | Self::NoBootstrap { .. }
            | Self::Unreachable { .. }
            | Self::NoSubscribers { .. } => Code::Unavailable,
            _ => Code::Internal,
        }
    }
}

impl ToStatus for TicketError {
    fn grpc_code(&self) -> Code {
        Code::InvalidArgument
    }
}

impl ToStatus for ContentError {
    fn grpc_code(&self) -> Code {
        match self {
            Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::OutOfRange { .. }
            | Self::Name
            | Self::NoProvider => Code::InvalidArgument,
            Self::TooMany { .. } => Code::ResourceExhausted,
            Self::File { cause, .. } => match cause.kind() {
                ErrorKind::NotFound => Code::NotFound,
                ErrorKind::PermissionDenied => Code::PermissionDenied,
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::ResourceExhausted,
                _ => Code::Internal,
            },
            Self::Exists { .. } => Code::AlreadyExists,
            Self::Busy { .. } => Code::Aborted,
            Self::NotFound { .. } => Code::NotFound,
            Self::NotAnnounced(error) => error.grpc_code(),
            Self::Unavailable { .. } => Code::Unavailable,
            Self::Manifest { .. } => Code::DataLoss,
            _ => Code::Internal,
        }
    }
}

impl ToStatus for StreamError {
    fn grpc_code(&self) -> Code {
        match self {
            Self::FrameTooLarge { .. } | Self::TooMany { .. } => Code::ResourceExhausted,
            Self::Closed { .. } => Code::Cancelled,
            Self::Reset { .. } => Code::Aborted,
            Self::Late { .. } => Code::DeadlineExceeded,
            Self::SessionEnded(_) => Code::Unavailable,
            _ => Code::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_stable_code_a_hint_and_when_to_try_again() {
        let status = RequestError::NotConnected { id: "ab".into() }.to_status();
        assert_eq!(status.code(), Code::Unavailable);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("request.not_connected", "stt"));
        assert_eq!(info.metadata["hint"], "add the peer again");
        assert!(details.retry_info().is_some());

        let invalid = RequestError::Invalid { field: "key", what: "it is empty".into() };
        let violations = invalid.to_status().get_error_details().bad_request().unwrap().clone();
        assert_eq!(violations.field_violations[0].field, "key");
    }
}
