//! Writing a blob of any length to object storage.

use bytes::{Bytes, BytesMut};
use object_store::{MultipartUpload, PutPayload};
use tokio::task::JoinHandle;

use super::{ObjectProvider, failed};
use crate::{
    BlobName, BlobWriter, BoxFuture, Op, StoreError,
    provider::{Source, write_pieces},
};

/// Bytes of the first parts of an upload. Services allow 10,000 parts and want all of one size, or
/// at least 5 MiB; with parts of 8 MiB that would end at 80 GB, so after every 1,000 parts they get
/// twice as large (64 MiB at 64 GB, 512 MiB at 1 TB).
const FIRST_PART: usize = 8 << 20;
const PARTS_OF_A_SIZE: usize = 1000;
const ITEM: &str = "a new object";

pub(super) struct Writer {
    provider: ObjectProvider,
    data: [u8; 16],
    /// Begun when the first part is full: shorter blobs are one object and one request.
    upload: Option<Box<dyn MultipartUpload>>,
    buffer: BytesMut,
    len: u64,
    parts: usize,
    /// The part on its way; the next one is collected meanwhile.
    sending: Option<JoinHandle<object_store::Result<()>>>,
}

impl Writer {
    pub(super) fn new(provider: ObjectProvider, data: [u8; 16]) -> Self {
        let buffer = BytesMut::new();
        Self { provider, data, upload: None, buffer, len: 0, parts: 0, sending: None }
    }

    fn part_len(&self) -> usize {
        FIRST_PART << (self.parts / PARTS_OF_A_SIZE).min(9)
    }

    async fn send(&mut self, part: Bytes) -> Result<(), StoreError> {
        self.sent().await?;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.provider.begin_upload(&self.data).await?),
        };
        self.sending = Some(tokio::spawn(upload.put_part(PutPayload::from_bytes(part))));
        self.parts += 1;
        Ok(())
    }

    /// Waits for the part on its way.
    async fn sent(&mut self) -> Result<(), StoreError> {
        match self.sending.take() {
            None => Ok(()),
            Some(sending) => match sending.await {
                Ok(sent) => sent.map_err(|error| failed(ITEM, error)),
                Err(_) => Err(StoreError::Closed { item: ITEM.to_owned() }),
            },
        }
    }

    async fn complete(&mut self) -> Result<(), StoreError> {
        let rest = self.buffer.split().freeze();
        if !rest.is_empty() {
            self.send(rest).await?;
        }
        self.sent().await?;
        let Some(mut upload) = self.upload.take() else {
            return Err(StoreError::Closed { item: ITEM.to_owned() });
        };
        match upload.complete().await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.upload = Some(upload);
                Err(failed(ITEM, error))
            }
        }
    }
}

impl BlobWriter for Writer {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.len += data.len() as u64;
            self.buffer.extend_from_slice(&data);
            while self.buffer.len() >= self.part_len() {
                let part = self.buffer.split_to(self.part_len()).freeze();
                self.send(part).await?;
            }
            Ok(())
        })
    }

    fn write_all(
        self: Box<Self>,
        source: Source,
    ) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, StoreError>> {
        write_pieces(self, source)
    }

    fn commit(
        mut self: Box<Self>,
        name: BlobName,
        also: Vec<Op>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            if self.parts == 0 {
                let data = self.buffer.split().freeze();
                self.provider.apply_now(vec![Op::Put { name, data }]).await?;
                return self.provider.apply_now(also).await;
            }
            self.complete().await?;
            let (len, data) = (self.len, self.data);
            self.provider.point(name, len, data).await?;
            self.provider.apply_now(also).await
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.provider.landed(&self.data);
        let (sending, upload) = (self.sending.take(), self.upload.take());
        if let (Some(mut upload), Ok(runtime)) = (upload, tokio::runtime::Handle::try_current()) {
            // If this does not get through, the service's rule for incomplete uploads has to.
            runtime.spawn(async move {
                if let Some(sending) = sending {
                    let _ = sending.await;
                }
                let _ = upload.abort().await;
            });
        }
    }
}
