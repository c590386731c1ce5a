//! What the store tells, as messages; programs that have a store open themselves use them too.

use stc::Coded;
use stt_store::{ChamberStats, Collected, ContentInfo, Problem, Removed, Swept};

use crate::proto::v1;

impl From<ContentInfo> for v1::StoredContent {
    fn from(info: ContentInfo) -> Self {
        Self {
            id: info.id.to_string(),
            bytes: info.len,
            stored_bytes: info.stored,
            pinned: info.pinned,
            names: info.names,
        }
    }
}

impl From<&Problem> for v1::StoreProblem {
    fn from(problem: &Problem) -> Self {
        Self {
            text: problem.to_string(),
            code: problem.error.code().to_owned(),
            id: problem.id.map(|id| id.to_string()).unwrap_or_default(),
            names: problem.names.clone(),
            blob: problem.blob.clone().unwrap_or_default(),
        }
    }
}

impl From<Removed> for v1::RemoveContentResponse {
    fn from(removed: Removed) -> Self {
        Self { name_only: removed.name_only, freed_bytes: removed.freed }
    }
}

impl From<&stt_store::VerifyReport> for v1::VerifyReport {
    fn from(report: &stt_store::VerifyReport) -> Self {
        Self {
            contents: report.contents,
            damaged: report.damaged,
            bytes: report.bytes,
            names: report.names,
            problems: report.problems_found,
            leftovers: Some(report.leftovers.into()),
        }
    }
}

impl From<Swept> for v1::Leftovers {
    fn from(swept: Swept) -> Self {
        Self { files: swept.files, bytes: swept.bytes }
    }
}

impl From<Collected> for v1::CollectStoreResponse {
    fn from(collected: Collected) -> Self {
        Self {
            contents: collected.contents,
            bytes: collected.bytes,
            leftovers: Some(collected.leftovers.into()),
        }
    }
}

/// Without the place, which the figures do not know.
impl From<ChamberStats> for v1::StoreStats {
    fn from(stats: ChamberStats) -> Self {
        let uses = stats.places.into_iter();
        Self {
            place: String::new(),
            contents: stats.contents,
            content_bytes: stats.content_bytes,
            names: stats.names,
            stored_bytes: stats.stored_bytes,
            collectable: stats.collectable,
            collectable_bytes: stats.collectable_bytes,
            leftovers: Some(stats.leftovers.into()),
            uses: uses.map(|(what, bytes)| v1::SpaceUse { what: what.into(), bytes }).collect(),
        }
    }
}
