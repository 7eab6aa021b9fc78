//! Creating and opening the log of a task or a run, and its place in the index.

use super::engine::{Engine, random};
use super::error::EngineError;
use super::keys::{LogKeys, LogName, bucket_key};
use super::limits::BUCKET_CHANGES_MAX;
use super::node::LinkUse;
use super::script;
use super::state::{SharedTask, hex};
use super::value::{into_fields, into_number, into_text, into_values};
use crate::model::EntryId;

/// Name of a consumer group that exists while a stream is made.
const MAKING_GROUP: &str = "tt:making";

/// Returns facts as arguments of a script.
pub(super) fn field_args(fields: &[(String, String)]) -> impl Iterator<Item = Vec<u8>> + '_ {
    fields.iter().flat_map(|(name, value)| [name.clone().into_bytes(), value.clone().into_bytes()])
}

impl Engine {
    /// Returns the facts of a log. A stream that another client made gets some here, once it has an entry.
    pub(super) async fn open_log(&self, name: LogName<'_>, keys: &LogKeys) -> Result<Option<SharedTask>, EngineError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(&keys.hash).cmd("XLEN").arg(&keys.stream);
        let mut answers = self.router().all(&keys.stream, LinkUse::Scripts, &pipeline).await?.into_iter();
        if let Some(state) = SharedTask::parse(into_fields(answers.next().unwrap_or_default())?)? {
            return Ok(Some(state));
        }
        if answers.next().and_then(into_number).unwrap_or(0) == 0 {
            return Ok(None);
        }
        let created_ms = self.oldest_ms(keys).await?;
        let (state, _) = self.create_log(keys, created_ms, random()?, &[]).await?;
        self.list(name, state.created_ms).await?;
        self.announce(name).await?;
        // Its entries get their numbers now, so that the number of the last one is known.
        self.router().account(keys, state.birth).await?;
        let mut command = redis::cmd("HGETALL");
        command.arg(&keys.hash);
        SharedTask::parse(into_fields(self.router().command(&keys.hash, LinkUse::Scripts, command).await?)?)
    }

    /// Creates the facts of a task or run, unless there are some. Returns them, and whether they are new.
    pub(super) async fn create_log(
        &self,
        keys: &LogKeys,
        created_ms: u64,
        birth: u64,
        fields: &[(String, String)],
    ) -> Result<(SharedTask, bool), EngineError> {
        let LogKeys { stream, hash, foreign } = keys;
        // All keys of a task exist from the start: a cluster refuses scripts with a missing key while their slot
        // moves. One key a command, for the same reason.
        self.make_stream(stream).await?;
        let mut command = redis::cmd("ZADD");
        command.arg(foreign).arg(0).arg("");
        self.router().command(foreign, LinkUse::Scripts, command).await?;
        let args = |epoch: &str| {
            let head = [hex(birth), created_ms.to_string(), epoch.to_owned()];
            head.into_iter().map(String::into_bytes).chain(field_args(fields)).collect()
        };
        let mut reply = self.router().script(&script::CREATE, std::slice::from_ref(hash), args).await?;
        let state = SharedTask::parse(reply.fields()?)?.unwrap_or_default();
        Ok((state, reply.word == "OK"))
    }

    /// Creates an empty stream, unless there is one.
    async fn make_stream(&self, stream: &str) -> Result<(), EngineError> {
        let group = |words: &[&str]| {
            let mut command = redis::cmd("XGROUP");
            command.arg(words[0]).arg(stream).arg(MAKING_GROUP).arg(&words[1..]);
            self.router().command(stream, LinkUse::Scripts, command)
        };
        match group(&["CREATE", "0", "MKSTREAM"]).await {
            // Another server makes it at this moment.
            Err(EngineError::Protocol(text)) if text.starts_with("BUSYGROUP") => {}
            created => drop(created?),
        }
        match group(&["DESTROY"]).await {
            // Another client deleted the stream at this moment.
            Err(EngineError::Protocol(_)) => Ok(()),
            destroyed => destroyed.map(drop),
        }
    }

    /// Returns the time in the id of the first entry of a stream, or the present.
    async fn oldest_ms(&self, keys: &LogKeys) -> Result<u64, EngineError> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&keys.stream).arg("-").arg("+").arg("COUNT").arg(1);
        let oldest = into_values(self.router().command(&keys.stream, LinkUse::Scripts, command).await?)?.pop();
        let id = oldest.and_then(|entry| into_values(entry).ok()?.into_iter().next()).and_then(into_text);
        match id.and_then(|id| id.parse::<EntryId>().ok()) {
            Some(id) => Ok(id.ms),
            None => self.now_ms().await,
        }
    }

    /// Adds a task or run to the index.
    pub(super) async fn list(&self, name: LogName<'_>, created_ms: u64) -> Result<(), EngineError> {
        let key = bucket_key(name.bucket(), name.index());
        let mut command = redis::cmd("ZADD");
        command.arg(&key).arg(created_ms).arg(name.as_str());
        self.router().command(&key, LinkUse::Scripts, command).await.map(drop)
    }

    /// Reports to all servers that the facts of a task changed, or that a run has new events.
    pub(super) async fn announce(&self, name: LogName<'_>) -> Result<(), EngineError> {
        let key = bucket_key(name.bucket(), "changes");
        let mut command = redis::cmd("XADD");
        command.arg(&key).arg("MAXLEN").arg("~").arg(BUCKET_CHANGES_MAX).arg("*");
        command.arg(name.kind()).arg(name.as_str());
        self.router().command(&key, LinkUse::Scripts, command).await.map(drop)
    }

    /// Removes all keys of a log and its place in the index. Returns whether it existed.
    pub(super) async fn remove_log(&self, name: LogName<'_>, keys: &[String], birth: u64) -> Result<bool, EngineError> {
        let mut reply = self.router().script(&script::REMOVE, keys, |_| vec![hex(birth).into_bytes()]).await?;
        let (index, changes) = (bucket_key(name.bucket(), name.index()), bucket_key(name.bucket(), "changes"));
        let created = match reply.word.as_str() {
            "OK" => reply.text()?,
            // A server died between listing it and creating it.
            "NONE" => {
                let mut command = redis::cmd("ZSCORE");
                command.arg(&index).arg(name.as_str());
                match into_text(self.router().command(&index, LinkUse::Scripts, command).await?) {
                    Some(created) => created,
                    None => return Ok(false),
                }
            }
            _ => return Ok(false),
        };
        let args = |_: &str| {
            let args = [name.as_str(), &created, &BUCKET_CHANGES_MAX.to_string(), name.kind()];
            args.map(|arg| arg.as_bytes().to_vec()).into()
        };
        self.router().script(&script::UNLIST, &[index, changes], args).await?;
        Ok(reply.word == "OK")
    }
}
