//! Finding damage.

use super::{Chamber, content_item, keys, page};
use crate::{BlobName, ContentId, StoreError, Swept};

/// Problems that a report lists; more are only counted.
const PROBLEMS_MAX: usize = 10_000;

/// Something that is not as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The value it is about, when that is still known.
    pub id: Option<ContentId>,
    /// What is wrong.
    pub error: StoreError,
}

/// The result of [`Chamber::verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    fn add(&mut self, id: Option<ContentId>, error: StoreError) {
        self.problems_found += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { id, error });
        }
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
            report.add(None, error);
        }
        self.verify_contents(&mut report, &mut progress).await?;
        self.verify_entries(&mut report).await?;
        self.verify_roots(&mut report).await?;
        match self.provider().sweep(true).await {
            Ok(leftovers) => report.leftovers = leftovers,
            Err(error) => report.add(None, error),
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
                let (id, result) = self.verify_content(name).await;
                match result {
                    // Removed since the page was read.
                    Err(StoreError::NotFound { .. }) => continue,
                    Ok(len) => report.bytes += len,
                    Err(error) => {
                        report.damaged += 1;
                        report.add(id, error);
                    }
                }
                report.contents += 1;
                progress(report.contents, report.bytes);
            }
        }
        Ok(())
    }

    async fn verify_content(&self, name: BlobName) -> (Option<ContentId>, Result<u64, StoreError>) {
        let item = format!("the content in blob {name}");
        let mut reader = match self.open_content(name, &item).await {
            Ok(reader) => reader,
            Err(error) => return (None, Err(error)),
        };
        let id = reader.id();
        let checked = reader.verify().await.map_err(|error| error.about(&content_item(&id)));
        (Some(id), checked.map(|()| reader.len()))
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
                        if !self.provider().exists(content).await? {
                            let what = format!("its content {} is not in the store", entry.id);
                            report.add(Some(entry.id), StoreError::damaged(item, what));
                        } else if !self.provider().exists(root).await? {
                            let what = "it does not keep its content";
                            report.add(Some(entry.id), StoreError::damaged(item, what));
                        }
                    }
                    Ok(None) => {}
                    Err(error) => {
                        report.names += 1;
                        report.add(None, error);
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
                    report.add(None, StoreError::damaged(item, "its name makes no sense"));
                    continue;
                };
                // The second look: both may have been removed since the page was read.
                let lost =
                    !self.provider().exists(content).await? && self.provider().exists(root).await?;
                if lost && entry.is_none() {
                    let item = format!("the content in blob {content}");
                    report.add(None, StoreError::damaged(item, "it is pinned, but not there"));
                }
            }
        }
        Ok(())
    }
}
