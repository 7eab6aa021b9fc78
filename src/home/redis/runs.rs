//! Runs: events, each stored once whichever server receives it. Their order and numbers are those of the stream.

use super::engine::{Engine, random};
use super::error::EngineError;
use super::keys::{LogKeys, LogName};
use super::limits::{CALL_BYTES_MAX, CALL_LINES_MAX, EVENT_FIELDS_MAX};
use super::node::LinkUse;
use super::script;
use super::state::{SharedTask, hex};
use super::tail::Tail;
use super::task::PatchReply;
use super::value::FieldBytes;
use crate::model::{EntryId, RunId};

/// An event to append to a run.
#[derive(Clone, Debug)]
pub struct SharedEventRow {
    /// Print of its identity: equal for equal events.
    pub print: Vec<u8>,
    /// Fields of its entry, at least one.
    pub fields: FieldBytes,
}

/// The outcome of an append of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunAck {
    /// Birth of the run.
    pub birth: u64,
    /// Number of new events.
    pub appended: u64,
    /// Number of the last event of the run.
    pub last_line: u64,
    /// Id of that event.
    pub last_id: EntryId,
}

impl Engine {
    /// Appends the events that are new to a run, in order; a run that does not exist is created. Sending them again is
    /// safe: after an error, some of them may be stored.
    pub async fn run_append(&self, id: &RunId, events: &[SharedEventRow]) -> Result<RunAck, EngineError> {
        if events.iter().any(|event| event.print.is_empty() || event.fields.len() > EVENT_FIELDS_MAX) {
            return Err(EngineError::Invalid(format!(
                "an event has no identity or more than {EVENT_FIELDS_MAX} fields"
            )));
        }
        let mut done = RunAck::default();
        let mut rest = events;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take(CALL_LINES_MAX).take_while(|event| {
                let size: usize = event.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
                bytes += size;
                bytes == size || bytes <= CALL_BYTES_MAX
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            let appended = done.appended;
            done = self.run_append_call(id, now).await?;
            done.appended += appended;
            rest = later;
        }
        if done.appended > 0 {
            self.announce(LogName::Run(id)).await?;
        }
        Ok(done)
    }

    async fn run_append_call(&self, id: &RunId, events: &[SharedEventRow]) -> Result<RunAck, EngineError> {
        let keys = LogKeys::of_run(id);
        let all = [keys.stream.clone(), keys.hash.clone(), keys.foreign.clone(), keys.prints()];
        let mut attempts = self.router().attempts();
        loop {
            let args = |epoch: &str| {
                let mut args = vec![epoch.as_bytes().to_vec()];
                for SharedEventRow { print, fields } in events {
                    args.extend([print.clone(), fields.len().to_string().into_bytes()]);
                    args.extend(fields.iter().flat_map(|(name, value)| [name.clone(), value.clone()]));
                }
                args
            };
            let mut reply = self.router().script(&script::RUN_APPEND, &all, args).await?;
            let reason = match reply.word.as_str() {
                "OK" => {
                    let birth = reply.hex()?;
                    let (last_line, last_id) = (reply.number()?, reply.text()?);
                    let last_id = last_id.parse().map_err(|_| reply.unexpected())?;
                    return Ok(RunAck { birth, last_line, last_id, appended: reply.number()? });
                }
                "NONE" => {
                    self.run_create(id, &keys).await?;
                    "the run was removed"
                }
                "EPOCH" => {
                    let found = reply.text()?;
                    self.router().reopen(&keys, reply.hex()?, &found).await?;
                    "the journal has another primary"
                }
                "ACCOUNT" => {
                    self.router().account(&keys, reply.hex()?).await?;
                    "another client adds events"
                }
                "EXHAUSTED" => {
                    return Err(EngineError::Refused("another client used the greatest id of the stream".to_owned()));
                }
                _ => return Err(reply.unexpected()),
            };
            attempts.next(reason.to_owned()).await?;
        }
    }

    async fn run_create(&self, id: &RunId, keys: &LogKeys) -> Result<(), EngineError> {
        let created_ms = self.now_ms().await?;
        self.list(LogName::Run(id), created_ms).await?;
        let prints = keys.prints();
        let mut command = redis::cmd("HSETNX");
        command.arg(&prints).arg("").arg(0);
        self.router().command(&prints, LinkUse::Scripts, command).await?;
        let (state, _) = self.create_log(keys, created_ms, random()?, &[]).await?;
        if state.created_ms != created_ms {
            self.list(LogName::Run(id), state.created_ms).await?;
        }
        Ok(())
    }

    /// Returns the facts of a run: birth, number and id of the last event, epochs. A stream that another client made
    /// becomes a run here.
    pub async fn run_open(&self, id: &RunId) -> Result<Option<SharedTask>, EngineError> {
        let keys = LogKeys::of_run(id);
        let prints = keys.prints();
        let state = self.open_log(LogName::Run(id), &keys).await?;
        if state.is_some() {
            let mut command = redis::cmd("HSETNX");
            command.arg(&prints).arg("").arg(0);
            self.router().command(&prints, LinkUse::Scripts, command).await?;
        }
        Ok(state)
    }

    /// Records the prints of events that other clients added, by their numbers, so that they are not appended again.
    pub async fn run_prints(
        &self,
        id: &RunId,
        birth: u64,
        prints: &[(Vec<u8>, u64)],
    ) -> Result<PatchReply, EngineError> {
        let keys = LogKeys::of_run(id);
        let all = [keys.hash.clone(), keys.prints()];
        for prints in prints.chunks(CALL_LINES_MAX) {
            let args = |_: &str| {
                let pairs = prints.iter().flat_map(|(print, n)| [print.clone(), n.to_string().into_bytes()]);
                std::iter::once(hex(birth).into_bytes()).chain(pairs).collect()
            };
            let reply = self.router().script(&script::RUN_PRINTS, &all, args).await?;
            if reply.word == "REMOVED" {
                return Ok(PatchReply::Removed);
            }
        }
        Ok(PatchReply::Patched)
    }

    /// Follows a run from after an event. Its entries are the events.
    pub fn run_tail(&self, id: &RunId, birth: u64, after: EntryId, after_line: u64) -> Tail {
        self.tail_log(LogKeys::of_run(id), birth, after, after_line)
    }

    /// Removes a run. Returns whether it existed.
    pub async fn run_remove(&self, id: &RunId, birth: u64) -> Result<bool, EngineError> {
        let keys = LogKeys::of_run(id);
        let all = [keys.hash.clone(), keys.stream.clone(), keys.foreign.clone(), keys.prints()];
        self.remove_log(LogName::Run(id), &all, birth).await
    }
}
