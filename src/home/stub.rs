#![allow(missing_docs, clippy::unused_async)]
use std::collections::BTreeMap;
use std::time::Duration;
use crate::model::{Channel, EntryId, TaskId, Timestamp};
#[derive(Clone, Debug)] pub struct Engine;
#[derive(Clone, Debug, thiserror::Error)] #[error("x")] pub struct EngineError;
impl EngineError { pub fn is_retryable(&self) -> bool { true } }
#[derive(Clone, Copy, Debug, PartialEq, Eq)] pub enum SharedStatus { Running, Ended, Sealed }
#[derive(Clone, Debug)] pub struct TaskState { pub birth: u64, pub status: SharedStatus, pub last_line: u64, pub last_id: EntryId, pub bytes: u64, pub skipped: u64, pub sessions: Vec<(String,u64)>, pub archived: u64, pub segments: Vec<String>, pub fence: u64, pub record: BTreeMap<String,String>, pub workers: Vec<(String,u64)>, pub epoch: u64, pub epochs: Vec<(u64,u64)> }
#[derive(Debug)] pub enum CreateReply { Created, Exists(TaskState) }
#[derive(Debug)] pub enum AppendReply { Stored { first_line: u64, last_line: u64, last_id: EntryId, count: u64, acked_seq: Option<u64> }, Ended { acked_seq: u64 }, Removed, Full }
#[derive(Debug)] pub enum PatchReply { Patched, Removed }
#[derive(Debug)] pub enum EndReply { Ended { last_line: u64 }, AlreadyEnded(TaskState), Removed }
#[derive(Debug)] pub enum SegmentReply { Done, Stale }
#[derive(Debug)] pub enum SealReply { Done, Stale }
#[derive(Clone, Copy, Debug)] pub struct Fence(u64);
impl Fence { pub fn number(&self) -> u64 { self.0 } }
#[derive(Clone, Copy, Debug)] pub enum LineNumbering { Next, Continuation, Unnumbered }
#[derive(Debug, Clone)] pub struct SharedLine { pub channel: Channel, pub timestamp: Timestamp, pub text: String, pub partial: bool, pub lossy: bool, pub numbering: LineNumbering }
#[derive(Debug, Clone)] pub struct SharedBatch { pub session: Option<(String,u64)>, pub ends_session: bool, pub over_limit: Option<String>, pub lines: Vec<SharedLine> }
impl SharedBatch { pub fn numbered(&self) -> u64 { 0 } pub fn last_seq(&self) -> Option<u64> { None } }
#[derive(Debug)] pub struct SharedOrigin { pub session: String, pub seq: u64, pub piece: u32 }
#[derive(Debug)] pub struct SharedEntry { pub id: EntryId, pub n: u64, pub origin: Option<SharedOrigin>, pub is_own_form: bool, pub partial: bool, pub lossy: bool, pub fields: Vec<(Vec<u8>,Vec<u8>)> }
#[derive(Debug)] pub enum TailEvent { Entries(Vec<SharedEntry>), State(Box<TaskState>), Truncated { last_line: u64 }, Gone }
#[derive(Debug)] pub struct Tail;
impl Tail { pub async fn next(&mut self) -> Result<TailEvent, EngineError> { Err(EngineError) } }
#[derive(Debug)] pub struct IndexWatch;
impl IndexWatch { pub async fn next(&mut self) -> Vec<TaskId> { vec![] } }
#[derive(Debug)] pub struct Leases;
impl Leases { pub async fn renew(&mut self) -> Result<(), EngineError> { Ok(()) } pub fn fence_of(&self, _: &TaskId) -> Option<Fence> { None } pub async fn release(self) {} }
type R<T> = Result<T, EngineError>;
impl Engine {
 pub fn server(&self) -> &str { "" }
 pub fn epoch(&self, _: &TaskId) -> u64 { 0 }
 pub async fn open(&self, _: &TaskId) -> R<Option<TaskState>> { Err(EngineError) }
 pub async fn last_line(&self, _: &TaskId) -> R<Option<u64>> { Err(EngineError) }
 pub async fn create(&self, _: &TaskId, _: u64, _: u64, _: &[(String,String)]) -> R<CreateReply> { Err(EngineError) }
 pub async fn append(&self, _: &TaskId, _: u64, _: &SharedBatch) -> R<AppendReply> { Err(EngineError) }
 pub async fn patch(&self, _: &TaskId, _: u64, _: &[(String,String)]) -> R<PatchReply> { Err(EngineError) }
 pub async fn end(&self, _: &TaskId, _: u64, _: &[(String,String)], _: Option<&(String,u64)>) -> R<EndReply> { Err(EngineError) }
 pub async fn attach(&self, _: &TaskId, _: u64, _: Duration) -> R<()> { Err(EngineError) }
 pub async fn detach(&self, _: &TaskId, _: u64) -> R<()> { Err(EngineError) }
 pub async fn archived(&self, _: &TaskId, _: u64, _: u64, _: u64, _: &str, _: EntryId, _: Fence) -> R<SegmentReply> { Err(EngineError) }
 pub async fn sealed(&self, _: &TaskId, _: u64, _: u64, _: &[(String,String)], _: Fence) -> R<SealReply> { Err(EngineError) }
 pub async fn remove(&self, _: &TaskId, _: u64) -> R<()> { Err(EngineError) }
 pub async fn read(&self, _: &TaskId, _: u64, _: EntryId, _: usize) -> R<Vec<SharedEntry>> { Err(EngineError) }
 pub async fn index(&self) -> R<Vec<(TaskId, u64)>> { Err(EngineError) }
 pub async fn watch_index(&self) -> R<IndexWatch> { Err(EngineError) }
 pub fn leases(&self) -> Leases { Leases }
 pub fn tail(&self, _: &TaskId, _: u64, _: EntryId, _: u64) -> Tail { Tail }
}

#[derive(Clone, Debug, PartialEq, Eq)] pub struct JournalUrl;
impl std::str::FromStr for JournalUrl { type Err = EngineError; fn from_str(_: &str) -> Result<Self, EngineError> { Ok(Self) } }
#[derive(Clone, Debug, Default)] pub struct EngineOptions { pub acks: Option<u32>, pub ca_file: Option<std::path::PathBuf>, pub server: String }
impl Engine { pub async fn connect(_: &JournalUrl, _: EngineOptions) -> R<Engine> { Err(EngineError) } pub fn warnings(&self) -> Vec<String> { vec![] } }
#[derive(Clone, Debug, PartialEq, Eq)] pub struct StoreUrl;
impl std::str::FromStr for StoreUrl { type Err = EngineError; fn from_str(_: &str) -> Result<Self, EngineError> { Ok(Self) } }
