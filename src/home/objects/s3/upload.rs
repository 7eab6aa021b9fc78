//! Uploads of files: in one request, or in parts that become an object in one step.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path as Key;
use object_store::{PutMultipartOptions, PutPayload};

use super::super::error::FailureKind;
use super::{Failure, ObjectError, ObjectErrorKind, ObjectName, PutOutcome, S3Store, parts, with_write};

/// Maximum number of parts of an S3 object.
const PARTS_MAX: u64 = 10_000;

impl S3Store {
    pub(crate) async fn put_file_new(&self, name: &ObjectName, path: &Path) -> Result<PutOutcome, ObjectError> {
        const ACTION: &str = "store";
        let failed = |failure: Failure| self.error(ACTION, name, failure);
        let source = SourceFile::open(path).await.map_err(failed)?;
        if source.size <= self.limits.part_bytes {
            let content = source.read(0..source.size).await.map_err(failed)?;
            return self.put_new(name, content).await;
        }
        let write = self.write_id(ACTION, name)?;
        let key = self.key(&name.to_string());
        self.put_parts(&key, &source, &write).await.map_err(failed)
    }

    async fn put_parts(&self, key: &Key, source: &SourceFile, write: &str) -> Result<PutOutcome, Failure> {
        if self.find(key).await?.is_some() {
            return Ok(PutOutcome::Exists);
        }
        let create = || async {
            let options = PutMultipartOptions { attributes: with_write(write), ..PutMultipartOptions::default() };
            self.client.create_multipart_opts(key, options).await.map_err(|error| self.classify(&error))
        };
        let id = self.attempts(create).await?;
        let mut upload = StartedUpload { client: self.client.clone(), key: key.clone(), id: Some(id.clone()) };
        let part_bytes = self.limits.part_bytes.max(source.size.div_ceil(PARTS_MAX));
        let put = |(index, range): (usize, Range<u64>)| {
            let id = &id;
            async move {
                let content = source.read(range).await?;
                let put = || async {
                    let payload = PutPayload::from_bytes(content.clone());
                    self.client.put_part(key, id, index, payload).await.map_err(|error| self.classify(&error))
                };
                self.attempts(put).await
            }
        };
        let ranges = parts(source.size, part_bytes).enumerate();
        let uploaded = futures::stream::iter(ranges).map(put).buffered(self.limits.parts_at_once_max);
        let uploaded: Vec<PartId> = uploaded.try_collect().await?;
        let complete = || async {
            let completed = self.client.complete_multipart(key, &id, uploaded.clone()).await;
            completed.map(drop).map_err(|error| self.classify(&error))
        };
        match self.attempts(complete).await {
            Ok(()) => {
                upload.id = None;
                Ok(PutOutcome::Created)
            }
            // An upload that does not exist was completed by a request whose answer was lost.
            Err(failure) if failure.is_missing() => match self.outcome(key, write).await? {
                PutOutcome::Created => {
                    upload.id = None;
                    Ok(PutOutcome::Created)
                }
                PutOutcome::Exists => Err(Failure {
                    kind: FailureKind::Transient,
                    ..Failure::transient("the upload was aborted by another program or a rule of the bucket")
                }),
            },
            Err(failure) => Err(failure),
        }
    }
}

/// An upload that is aborted when it is dropped before its end, so that no parts remain.
struct StartedUpload {
    client: AmazonS3,
    key: Key,
    /// `None` after the end.
    id: Option<String>,
}

impl Drop for StartedUpload {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else { return };
        let (client, key) = (self.client.clone(), self.key.clone());
        // One attempt, bounded by the timeouts of the connection. The bucket's rule removes what remains.
        runtime.spawn(async move {
            if let Err(error) = client.abort_multipart(&key, &id).await {
                tracing::debug!(%error, %key, "cannot abort an upload");
            }
        });
    }
}

/// A file that is being sent.
struct SourceFile {
    file: Arc<File>,
    path: Arc<Path>,
    size: u64,
}

impl SourceFile {
    async fn open(path: &Path) -> Result<Self, Failure> {
        let path: Arc<Path> = path.into();
        let opened = path.clone();
        let open = move || {
            let file = File::open(&opened)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, size) = blocking(&path, open).await?;
        Ok(Self { file: Arc::new(file), path, size })
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        let file = self.file.clone();
        let length = usize::try_from(range.end - range.start).map_err(|error| Failure::local(&self.path, error))?;
        let read = move || {
            let mut content = vec![0; length];
            file.read_exact_at(&mut content, range.start)?;
            Ok(Bytes::from(content))
        };
        blocking(&self.path, read).await
    }
}

async fn blocking<T, F>(path: &Path, work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> std::io::Result<T> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            let why = format!("{} became shorter while it was sent", path.display());
            Failure::with(ObjectErrorKind::Local, why, "do not change a file while it is stored")
        }
        _ => Failure::local(path, error),
    })
}
