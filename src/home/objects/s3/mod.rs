//! A store in a bucket of an S3 service.

mod credentials;
mod failure;
mod http;
mod profile;
mod retry;
mod upload;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use hyper::Uri;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, BackoffConfig, GetOptions, GetRange, ObjectMeta, ObjectStore as _, ObjectStoreExt as _,
    PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::io::AsyncWriteExt as _;

pub use credentials::AwsEnvironment;

use super::error::FailureKind;
use super::{
    Failure, ObjectCounters, ObjectError, ObjectErrorKind, ObjectLimits, ObjectName, ObjectOptions, ObjectPrefix,
    PutOutcome, StoredObject, bad_range, random_u64, too_large,
};
use failure::{RemedyContext, classify};
use http::S3Connector;

/// Metadata of an object: the id of the write that created it.
const WRITE: &str = "write";
/// Region of a bucket of which none is configured, as in the AWS tools.
const REGION: &str = "us-east-1";

/// A store in a bucket.
#[derive(Debug)]
pub(super) struct S3Store {
    client: AmazonS3,
    prefix: String,
    limits: ObjectLimits,
    counters: Arc<ObjectCounters>,
    context: RemedyContext,
    /// The service rejected a conditional write as unknown.
    unconditional: AtomicBool,
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{} at {}", self.context.bucket, self.prefix, self.context.endpoint)
    }
}

impl S3Store {
    /// Creates a client; it connects with the first request.
    pub(super) fn open(bucket: &str, prefix: String, options: ObjectOptions) -> Result<Self, ObjectError> {
        let ObjectOptions { endpoint, region, ca_file, environment, limits } = options;
        let store = format!("s3://{bucket}");
        let failed = |failure: Failure| ObjectError::new("open", "the bucket", &store, failure);
        let get = |name: &str| environment.get(name).map(str::to_owned);
        let no_credentials = |why: String| failed(Failure::with(ObjectErrorKind::Denied, why, credentials::REMEDY));
        let profile = environment.profile_files().read().map_err(no_credentials)?;
        let profile_region = profile.as_ref().and_then(|profile| profile.region.clone());
        let region = region.or_else(|| get("AWS_REGION")).or_else(|| get("AWS_DEFAULT_REGION")).or(profile_region);
        let region = region.unwrap_or_else(|| REGION.to_owned());
        let endpoint = endpoint.or_else(|| get("AWS_ENDPOINT_URL_S3")).or_else(|| get("AWS_ENDPOINT_URL"));
        let endpoint = endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned());
        // AWS serves a bucket under its own host name, but its certificate covers no name with another dot.
        let own_host = endpoint.is_none() && !bucket.contains('.');
        let host = if own_host { format!("{bucket}.s3") } else { "s3".to_owned() };
        let endpoint = endpoint.unwrap_or_else(|| format!("https://{host}.{region}.amazonaws.com"));
        let authority = authority_of(&endpoint).map_err(failed)?;
        let counters = Arc::new(ObjectCounters::default());
        let connector = S3Connector::new(authority, ca_file, &limits, counters.clone());
        let builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&region)
            .with_endpoint(&endpoint)
            .with_virtual_hosted_style_request(own_host)
            .with_disable_bulk_delete(true)
            .with_http_connector(connector)
            .with_retry(single_attempt());
        let (builder, from) =
            credentials::apply(&environment, profile, builder).map_err(|error| no_credentials(error.to_string()))?;
        let context = RemedyContext { bucket: bucket.to_owned(), endpoint, region, credentials: from };
        let client = builder.build().map_err(|error| failed(classify(&error, &context)))?;
        Ok(Self { client, prefix, limits, counters, context, unconditional: AtomicBool::new(false) })
    }

    pub(super) fn counters(&self) -> &ObjectCounters {
        &self.counters
    }

    pub(super) async fn put_new(&self, name: &ObjectName, content: Bytes) -> Result<PutOutcome, ObjectError> {
        const ACTION: &str = "store";
        let (key, write) = (self.key(&name.to_string()), self.write_id(ACTION, name)?);
        if !self.unconditional.load(Relaxed) {
            let put = self.attempts(|| self.put(&key, &content, &write, PutMode::Create)).await;
            match put {
                Ok(()) => return Ok(PutOutcome::Created),
                Err(failure) if failure.kind == FailureKind::Exists => {
                    return self.outcome(&key, &write).await.map_err(|failure| self.error(ACTION, name, failure));
                }
                Err(failure) if failure.kind == FailureKind::Unsupported => {
                    tracing::warn!(store = %self, "the object store has no conditional writes; the names are unique without them");
                    self.unconditional.store(true, Relaxed);
                }
                Err(failure) => return Err(self.error(ACTION, name, failure)),
            }
        }
        let put = async {
            if self.find(&key).await?.is_some() {
                return Ok(PutOutcome::Exists);
            }
            self.attempts(|| self.put(&key, &content, &write, PutMode::Overwrite)).await?;
            Ok(PutOutcome::Created)
        };
        put.await.map_err(|failure| self.error(ACTION, name, failure))
    }

    pub(super) async fn size(&self, name: &ObjectName) -> Result<u64, ObjectError> {
        let found = self.find(&self.key(&name.to_string())).await;
        let size = found.and_then(|found| Ok(found.ok_or_else(Failure::missing)?.meta.size));
        size.map_err(|failure| self.error("read", name, failure))
    }

    pub(super) async fn get(&self, name: &ObjectName) -> Result<Bytes, ObjectError> {
        let (key, limit) = (self.key(&name.to_string()), self.limits.get_bytes_max);
        let get = || async {
            let response = self.client.get_opts(&key, GetOptions::default()).await.map_err(|e| self.classify(&e))?;
            let size = response.meta.size;
            if size > limit {
                return Err(too_large(size, limit));
            }
            let content = response.bytes().await.map_err(|error| self.classify(&error))?;
            if content.len() as u64 == size { Ok(content) } else { Err(cut(content.len(), size)) }
        };
        self.attempts(get).await.map_err(|failure| self.error("read", name, failure))
    }

    pub(super) async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let limit = self.limits.get_bytes_max;
        let failed = |failure| self.error("read", name, failure);
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        if range.end - range.start > limit {
            return Err(failed(bad_range(&range, limit)));
        }
        let key = self.key(&name.to_string());
        self.attempts(|| self.range(&key, &range, None)).await.map_err(failed)
    }

    pub(super) async fn get_to_file(&self, name: &ObjectName, target: &Path) -> Result<u64, ObjectError> {
        self.download(&self.key(&name.to_string()), target).await.map_err(|failure| self.error("read", name, failure))
    }

    pub(super) async fn list(
        &self,
        prefix: &ObjectPrefix,
        after: Option<&ObjectName>,
        limit: usize,
    ) -> Result<Vec<StoredObject>, ObjectError> {
        let start = self.key(&prefix.to_string());
        let after = after.map(|name| self.key(&name.to_string()));
        let list = || async {
            let listed = match &after {
                Some(after) => self.client.list_with_offset(Some(&start), after),
                None => self.client.list(Some(&start)),
            };
            let names = listed
                .map_err(|error| self.classify(&error))
                .try_filter_map(|meta| async move { Ok(self.stored(&meta)) });
            names.take(limit).try_collect().await
        };
        self.attempts(list).await.map_err(|failure| self.error("list", prefix, failure))
    }

    pub(super) async fn delete(&self, name: &ObjectName) -> Result<(), ObjectError> {
        let key = self.key(&name.to_string());
        let delete = || async { self.client.delete(&key).await.map_err(|error| self.classify(&error)) };
        match self.attempts(delete).await {
            Err(failure) if !failure.is_missing() => Err(self.error("delete", name, failure)),
            _ => Ok(()),
        }
    }

    async fn put(&self, key: &Key, content: &Bytes, write: &str, mode: PutMode) -> Result<(), Failure> {
        let options = PutOptions { mode, attributes: with_write(write), ..PutOptions::default() };
        let put = self.client.put_opts(key, PutPayload::from_bytes(content.clone()), options).await;
        put.map(drop).map_err(|error| self.classify(&error))
    }

    /// Reports whether the object that exists was created by this write, of which an answer was lost.
    async fn outcome(&self, key: &Key, write: &str) -> Result<PutOutcome, Failure> {
        let found = self.find(key).await?;
        let is_own = found.is_some_and(|found| {
            let attribute = found.attributes.get(&Attribute::Metadata(WRITE.into()));
            attribute.is_some_and(|value| value.as_ref() == write)
        });
        Ok(if is_own { PutOutcome::Created } else { PutOutcome::Exists })
    }

    /// Returns the head of an object, if it exists.
    async fn find(&self, key: &Key) -> Result<Option<object_store::GetResult>, Failure> {
        let head = || async {
            let options = GetOptions { head: true, ..GetOptions::default() };
            self.client.get_opts(key, options).await.map_err(|error| self.classify(&error))
        };
        match self.attempts(head).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Returns a range, of the version of an object with this tag if there is one.
    async fn range(&self, key: &Key, range: &Range<u64>, tag: Option<&str>) -> Result<Bytes, Failure> {
        let if_match = tag.map(str::to_owned);
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), if_match, ..GetOptions::default() };
        let response = self.client.get_opts(key, options).await.map_err(|error| self.classify(&error))?;
        let content = response.bytes().await.map_err(|error| self.classify(&error))?;
        let expected = range.end - range.start;
        if content.len() as u64 == expected { Ok(content) } else { Err(cut(content.len(), expected)) }
    }

    async fn download(&self, key: &Key, target: &Path) -> Result<u64, Failure> {
        let found = self.find(key).await?.ok_or_else(Failure::missing)?.meta;
        let (size, tag) = (found.size, found.e_tag);
        let failed = |error: std::io::Error| Failure::local(target, error);
        let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        let (file, path) = temporary.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let part = |range: Range<u64>| {
            let tag = tag.as_deref();
            async move { self.attempts(|| self.range(key, &range, tag)).await }
        };
        let mut parts = futures::stream::iter(parts(size, self.limits.part_bytes))
            .map(part)
            .buffered(self.limits.parts_at_once_max);
        while let Some(content) = parts.try_next().await? {
            file.write_all(&content).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        path.persist(target).map_err(|error| failed(error.error))?;
        Ok(size)
    }

    /// Returns the object of a listed key; `None` for keys that are not tasktail's.
    fn stored(&self, meta: &ObjectMeta) -> Option<StoredObject> {
        let key = meta.location.as_ref();
        let name = if self.prefix.is_empty() { key } else { key.strip_prefix(&self.prefix)?.strip_prefix('/')? };
        let created_ms = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
        Some(StoredObject { name: name.parse().ok()?, bytes: meta.size, created_ms })
    }

    /// Returns the key of a name. Names and prefixes have only characters that a key may have.
    fn key(&self, name: &str) -> Key {
        let key = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Key::parse(&key).unwrap_or_else(|_| Key::from(key))
    }

    fn write_id(&self, action: &'static str, name: &ObjectName) -> Result<String, ObjectError> {
        let id = random_u64().map_err(|failure| self.error(action, name, failure))?;
        Ok(format!("{id:016x}"))
    }

    fn classify(&self, error: &object_store::Error) -> Failure {
        classify(error, &self.context)
    }

    fn error(&self, action: &'static str, name: impl fmt::Display, failure: Failure) -> ObjectError {
        ObjectCounters::add(&self.counters.failures, 1);
        ObjectError::new(action, name, self, failure)
    }
}

/// The client makes a single attempt: [`retry`] repeats it, with new credentials, a new signature and a bound.
fn single_attempt() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, ..RetryConfig::default() }
}

fn with_write(write: &str) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(WRITE.into()), write.to_owned())])
}

/// Returns the ranges of the parts of `size` bytes.
fn parts(size: u64, part_bytes: u64) -> impl Iterator<Item = Range<u64>> {
    let count = size.div_ceil(part_bytes);
    (0..count).map(move |index| index * part_bytes..((index + 1) * part_bytes).min(size))
}

fn cut(received: usize, expected: u64) -> Failure {
    Failure::transient(format!("received {received} of {expected} bytes"))
}

/// Returns host and port as they are written in an endpoint.
fn authority_of(endpoint: &str) -> Result<String, Failure> {
    let invalid = |why: String| {
        let remedy = "set archive_endpoint to an address such as https://s3.example.org or http://127.0.0.1:9000";
        Failure::with(ObjectErrorKind::Settings, format!("`{endpoint}` is not an endpoint: {why}"), remedy)
    };
    if endpoint.contains('@') {
        let remedy = "set archive_endpoint without them, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile";
        return Err(Failure::with(ObjectErrorKind::Settings, "the endpoint contains credentials", remedy));
    }
    let uri: Uri = endpoint.parse().map_err(|error: hyper::http::uri::InvalidUri| invalid(error.to_string()))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if uri.query().is_none() => Ok(authority.to_string()),
        _ => Err(invalid("it needs http:// or https:// and a host".to_owned())),
    }
}
