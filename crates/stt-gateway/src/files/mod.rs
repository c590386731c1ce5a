//! `FileService`: files in the store, by key.

pub(crate) mod metadata;
mod record;

use std::{collections::BTreeSet, sync::Arc};

use stt_store::{ContentId, Keep, StoreError};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status, Streaming};

use self::{metadata::Metadata, record::Record};
use crate::{
    RequestError,
    answers::Answers,
    download,
    proto::v1::{
        CollectGarbageRequest, CollectGarbageResponse, DeleteFileRequest, DownloadFileRequest,
        File, FileChunk, FileEvent, FileOperation, GetFileRequest, ListFilesRequest,
        ListFilesResponse, UpdateFileMetadataRequest, UploadFileRequest, UploadHeader,
        download_file_request, file_service_server::FileService, upload_file_request::Part,
    },
    state::{Shared, now_ms},
    status::ToStatus,
    upload::Upload,
};

pub(crate) use record::PREFIX;

/// Longest key, and longest media type, in bytes.
const KEY_MAX: usize = 960;
const TYPE_MAX: usize = 256;
/// Files in an answer: the default and the most.
const PAGE: (usize, usize) = (100, 1000);
/// Files that a page may stand behind.
const PAGES_MAX: usize = 100_000;

/// The service.
pub(crate) struct FilesOver {
    pub(crate) state: Shared,
    /// A key and its record are changed together.
    pub(crate) changing: Mutex<()>,
}

fn check_key(key: &str) -> Result<(), Status> {
    let invalid = |what: String| Err(RequestError::Invalid { field: "key", what }.to_status());
    if !(1..=KEY_MAX).contains(&key.len()) {
        return invalid(format!("it has {} bytes, and 1 to {KEY_MAX} are allowed", key.len()));
    }
    if key.starts_with(PREFIX) {
        return invalid(format!("{PREFIX} begins the names of the gateway's own entries"));
    }
    Ok(())
}

fn store_status(error: StoreError) -> Status {
    error.to_status()
}

impl FilesOver {
    async fn file(&self, key: &str) -> Result<(File, ContentId), StoreError> {
        let chamber = &self.state.chamber;
        let id = chamber.resolve(key).await?;
        let size = chamber.reader(&id).await?.len();
        let record = Record::load(chamber, key, id).await?.unwrap_or_default();
        Ok((record.describe(key, id, size), id))
    }

    fn emit(&self, operation: FileOperation, file: &File) {
        self.state.events.files.emit(FileEvent {
            header: None,
            operation: operation.into(),
            key: file.key.clone(),
            hash: file.hash.clone(),
            size: file.size,
        });
    }

    /// Lets the key point to content that has just been stored.
    async fn name(&self, header: UploadHeader, id: ContentId, size: u64) -> Result<File, Status> {
        let chamber = &self.state.chamber;
        let _alone = self.changing.lock().await;
        let before = Record::any(chamber, &header.key).await.map_err(store_status)?;
        let existed = match chamber.resolve(&header.key).await {
            Ok(_) => true,
            Err(StoreError::NotFound { .. }) => false,
            Err(error) => return Err(store_status(error)),
        };
        chamber.set_name(&header.key, &id).await.map_err(|error| match error {
            // Collected between the two: nothing kept it yet.
            StoreError::NotFound { .. } => {
                RequestError::Conflict { key: header.key.clone() }.to_status()
            }
            error => store_status(error),
        })?;
        let now = now_ms();
        let created = before.filter(|_| existed).map_or(now, |record| record.created_at_ms);
        let mut record = Record::default();
        record.media_type = header.r#type;
        record.metadata = header.metadata;
        (record.created_at_ms, record.updated_at_ms) = (created, now);
        let record = record.store(chamber, &header.key, id).await.map_err(store_status)?;
        Ok(record.describe(&header.key, id, size))
    }
}

/// The header of an upload, if it can be used.
fn header(first: Option<UploadFileRequest>) -> Result<(UploadHeader, Option<ContentId>), Status> {
    let invalid = |field, what: String| RequestError::Invalid { field, what }.to_status();
    let Some(Part::Header(header)) = first.and_then(|first| first.part) else {
        return Err(invalid("part", "the first message is the header".into()));
    };
    check_key(&header.key)?;
    if header.r#type.len() > TYPE_MAX {
        return Err(invalid("type", format!("it has more than {TYPE_MAX} bytes")));
    }
    metadata::check(&header.metadata).map_err(|error| error.to_status())?;
    let expected = match header.expected_hash.as_str() {
        "" => None,
        text => Some(text.parse::<ContentId>().map_err(|error| error.to_status())?),
    };
    Ok((header, expected))
}

#[tonic::async_trait]
impl FileService for Arc<FilesOver> {
    async fn upload_file(
        &self,
        request: Request<Streaming<UploadFileRequest>>,
    ) -> Result<Response<File>, Status> {
        let mut requests = request.into_inner();
        let (header, expected) = header(requests.message().await?)?;
        let mut upload = Upload::new(requests, false, |request| match request.part {
            Some(Part::Chunk(chunk)) => Some(chunk),
            _ => None,
        });
        let stored = self.state.chamber.put_reader(&mut upload, Keep::Cached).await;
        if let Some(status) = upload.failure.take() {
            return Err(status);
        }
        let id = stored.map_err(store_status)?;
        if expected.is_some_and(|expected| expected != id) {
            return Err(RequestError::Checksum { what: header.key }.to_status());
        }
        let file = self.name(header, id, upload.size).await?;
        self.emit(FileOperation::Upload, &file);
        Ok(Response::new(file))
    }

    type DownloadFileStream = Answers<FileChunk>;

    async fn download_file(
        &self,
        request: Request<DownloadFileRequest>,
    ) -> Result<Response<Self::DownloadFileStream>, Status> {
        let request = request.into_inner();
        let chamber = &self.state.chamber;
        let (key, id) = match request.file {
            Some(download_file_request::File::Key(key)) => {
                check_key(&key)?;
                let id = chamber.resolve(&key).await.map_err(store_status)?;
                (key, id)
            }
            Some(download_file_request::File::Hash(hash)) => {
                (String::new(), hash.parse::<ContentId>().map_err(|error| error.to_status())?)
            }
            None => {
                let what = "neither a key nor a hash was given".into();
                return Err(RequestError::Invalid { field: "file", what }.to_status());
            }
        };
        let reader = chamber.reader(&id).await.map_err(store_status)?;
        let (at, len) = (request.offset, reader.len());
        let end = request.length.map_or(len.max(at), |wanted| at.saturating_add(wanted));
        if at > len || end > len {
            let item = id.to_string();
            return Err(store_status(StoreError::Range { item, start: at, end, len }));
        }
        let file = Record::default().describe(&key, id, len);
        let files = Arc::clone(self);
        let done = move || files.emit(FileOperation::Download, &file);
        Ok(Response::new(Box::pin(download::chunks(reader, key, at..end, done))))
    }

    async fn get_file(&self, request: Request<GetFileRequest>) -> Result<Response<File>, Status> {
        let key = request.into_inner().key;
        check_key(&key)?;
        Ok(Response::new(self.file(&key).await.map_err(store_status)?.0))
    }

    async fn delete_file(
        &self,
        request: Request<DeleteFileRequest>,
    ) -> Result<Response<File>, Status> {
        let key = request.into_inner().key;
        check_key(&key)?;
        let _alone = self.changing.lock().await;
        let (file, _) = self.file(&key).await.map_err(store_status)?;
        self.state.chamber.remove_name(&key).await.map_err(store_status)?;
        Record::remove(&self.state.chamber, &key).await.map_err(store_status)?;
        self.emit(FileOperation::Delete, &file);
        Ok(Response::new(file))
    }

    async fn list_files(
        &self,
        request: Request<ListFilesRequest>,
    ) -> Result<Response<ListFilesResponse>, Status> {
        let request = request.into_inner();
        let page = usize::try_from(request.page).unwrap_or(usize::MAX).max(1);
        let size = match usize::try_from(request.page_size).unwrap_or(usize::MAX) {
            0 => PAGE.0,
            size => size.min(PAGE.1),
        };
        let Some(needed) = page.checked_mul(size).filter(|needed| *needed <= PAGES_MAX) else {
            let what = format!("it stands behind more than {PAGES_MAX} files: use `after`");
            return Err(RequestError::Invalid { field: "page", what }.to_status());
        };
        let mut total = 0_u64;
        let mut first = BTreeSet::new();
        let visited = self.state.chamber.names(|entry| {
            let Ok(entry) = entry else { return true };
            if !entry.name.starts_with(PREFIX) && entry.name.contains(&request.filter) {
                total += 1;
                if entry.name > request.after {
                    first.insert(entry.name);
                    if first.len() > needed {
                        first.pop_last();
                    }
                }
            }
            true
        });
        visited.await.map_err(store_status)?;
        let mut files = Vec::new();
        for key in first.iter().skip(needed - size) {
            match self.file(key).await {
                Ok((file, _)) => files.push(file),
                // Removed since the names were read.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(store_status(error)),
            }
        }
        Ok(Response::new(ListFilesResponse { files, total }))
    }

    async fn update_file_metadata(
        &self,
        request: Request<UpdateFileMetadataRequest>,
    ) -> Result<Response<File>, Status> {
        let request = request.into_inner();
        check_key(&request.key)?;
        let metadata: Metadata = request.metadata;
        metadata::check(&metadata).map_err(|error| error.to_status())?;
        let chamber = &self.state.chamber;
        let _alone = self.changing.lock().await;
        let (file, id) = self.file(&request.key).await.map_err(store_status)?;
        let found = Record::load(chamber, &request.key, id).await.map_err(store_status)?;
        let mut record = found.unwrap_or_default();
        (record.metadata, record.updated_at_ms) = (metadata, now_ms());
        let record = record.store(chamber, &request.key, id).await.map_err(store_status)?;
        let file = record.describe(&request.key, id, file.size);
        self.emit(FileOperation::Update, &file);
        Ok(Response::new(file))
    }

    async fn collect_garbage(
        &self,
        request: Request<CollectGarbageRequest>,
    ) -> Result<Response<CollectGarbageResponse>, Status> {
        let dry_run = request.get_ref().dry_run;
        let done = self.state.chamber.collect(dry_run).await.map_err(store_status)?;
        Ok(Response::new(CollectGarbageResponse { contents: done.contents, bytes: done.bytes }))
    }
}
