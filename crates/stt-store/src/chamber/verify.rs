//! Finding damage.

use super::{Chamber, content_item, keys, page, pins::NAMES_MAX};
use crate::{BlobName, ContentId, Damage, DamagedPart, StoreError, Swept};

/// Problems that a report lists; more are only counted.
const PROBLEMS_MAX: usize = 10_000;

/// What a problem is about before anything else is known.
const ITEM: &str = "a content";

/// Something that is not as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The value it is about, when that is still known: from itself, or from a name.
    pub id: Option<ContentId>,
    /// Names that point to it, 64 at most.
    pub names: Vec<String>,
    /// The blob of the value, which [`Chamber::remove_unreadable`] takes.
    pub blob: Option<String>,
    /// What is wrong.
    pub error: StoreError,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

/// The result of [`Chamber::verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Values, as [`ChamberStats`](super::ChamberStats) counts them: the damaged ones too.
    pub contents: u64,
    /// Those of them that are not as they were stored, or cannot be read.
    pub damaged: u64,
    /// Bytes of the others.
    pub bytes: u64,
    /// Names, the damaged ones too.
    pub names: u64,
    /// What is wrong; the first 10,000.
    pub problems: Vec<Problem>,
    /// How many problems there are: with values, names, pins, and the backend's own structures.
    pub problems_found: u64,
    /// What crashes left behind. It takes space and does no harm; [`Chamber::collect`] removes it.
    pub leftovers: Swept,
}

impl VerifyReport {
    fn add(&mut self, problem: Problem) {
        self.problems_found += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Something that is wrong with no value that is known.
    fn add_error(&mut self, error: StoreError) {
        self.add(Problem { id: None, names: Vec::new(), blob: None, error });
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.problems_found == 0
    }
}

impl Chamber {
    /// Reads and verifies everything: each chunk, each hash, each name, and the backend's own
    /// structures. `progress` is called with the values looked at so far, and the bytes of the
    /// sound ones.
    ///
    /// # Errors
    /// Errors that are not about a single item. Damage is no error here but a row of the report.
    pub async fn verify(
        &self,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        for error in self.provider().check().await? {
            report.add_error(error);
        }
        self.verify_contents(&mut report, &mut progress).await?;
        self.verify_entries(&mut report).await?;
        self.verify_roots(&mut report).await?;
        match self.provider().sweep(true).await {
            Ok(leftovers) => report.leftovers = leftovers,
            Err(error) => report.add_error(error),
        }
        Ok(report)
    }

    async fn verify_contents(
        &self,
        report: &mut VerifyReport,
        progress: &mut impl FnMut(u64, u64),
    ) -> Result<(), StoreError> {
        let mut after = None;
        while let Some(rows) = page(self.provider(), &[keys::CONTENT], &mut after).await? {
            for (name, _) in rows {
                match self.verify_content(name).await {
                    // Removed since the page was read.
                    Err(StoreError::NotFound { .. }) => continue,
                    Ok(len) => report.bytes += len,
                    Err(error) => {
                        report.damaged += 1;
                        report.add(self.problem(name, error).await);
                    }
                }
                report.contents += 1;
                progress(report.contents, report.bytes);
            }
        }
        Ok(())
    }

    async fn verify_content(&self, name: BlobName) -> Result<u64, StoreError> {
        let item = format!("the content in blob {name}");
        let mut reader = self.open_content(name, &item).await?;
        reader.verify().await?;
        Ok(reader.len())
    }

    /// What is wrong with the content in the blob `content`, told by its id and its names: they
    /// know it also when the content itself cannot be read any more.
    pub(super) async fn problem(&self, content: BlobName, error: StoreError) -> Problem {
        let item = format!("the content in blob {content}");
        let opened = self.open_content(content, &item).await;
        let mut id = opened.ok().map(|reader| reader.id());
        let mut names = Vec::new();
        for (_, entry) in self.roots(&content).await.unwrap_or_default() {
            let Some(Ok(Some(entry))) = entry else { continue };
            if self.shared.keys.content_name(&entry.id).is_ok_and(|name| name == content) {
                id.get_or_insert(entry.id);
                names.push(entry.name);
            }
        }
        names.truncate(NAMES_MAX);
        let item = match (id, names.first()) {
            (Some(id), Some(name)) => format!("{}, named {name:?},", content_item(&id)),
            (Some(id), None) => content_item(&id),
            (None, _) => item,
        };
        Problem { id, names, blob: Some(content.to_hex()), error: error.about(&item) }
    }

    async fn verify_entries(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let mut after = None;
        while let Some(rows) = page(self.provider(), &[keys::ENTRY], &mut after).await? {
            for (at, _) in rows {
                match self.read_entry(at).await {
                    Ok(Some(entry)) => {
                        report.names += 1;
                        let content = self.shared.keys.content_name(&entry.id)?;
                        let root = keys::entry_root(&content, &at)?;
                        let item = format!("the entry {:?}", entry.name);
                        let damage = if !self.provider().exists(content).await? {
                            Damage::Missing(DamagedPart::Content(entry.id))
                        } else if !self.provider().exists(root).await? {
                            Damage::KeepsNothing
                        } else {
                            continue;
                        };
                        report.add(Problem {
                            id: Some(entry.id),
                            names: vec![entry.name],
                            blob: None,
                            error: StoreError::damaged(item, damage),
                        });
                    }
                    Ok(None) => {}
                    Err(error) => {
                        report.names += 1;
                        report.add_error(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// A root without its content means that a content went missing.
    async fn verify_roots(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let mut after = None;
        while let Some(rows) = page(self.provider(), &[keys::ROOT], &mut after).await? {
            for (root, _) in rows {
                let item = format!("the root in blob {root}");
                let Some((content, entry)) = keys::parse_root(&root) else {
                    report
                        .add_error(StoreError::damaged(item, Damage::Malformed(DamagedPart::Name)));
                    continue;
                };
                // The second look: both may have been removed since the page was read.
                let lost =
                    !self.provider().exists(content).await? && self.provider().exists(root).await?;
                if lost && entry.is_none() {
                    let error = StoreError::damaged(ITEM, Damage::Missing(DamagedPart::Whole));
                    report.add(self.problem(content, error).await);
                }
            }
        }
        Ok(())
    }
}
