//! A round of a lane: the calls that are sent together.

use std::collections::{HashMap, VecDeque};

use redis::Pipeline;
use tokio::sync::oneshot;

use super::batch::{SharedAck, SharedBatch, StoreReply};
use super::calls::{AppendCall, EndCall, EndReply, append_args, end_args};
use super::error::EngineError;
use super::keys::LogKeys;
use super::limits::ROUND_CALLS_MAX;
use super::script;
use super::sessions::LaneSessions;
use super::state::OWN_SESSION;
use crate::model::Timestamp;

/// A request that is not finished.
#[derive(Debug)]
pub(super) struct Job {
    /// Its place among the requests of the lane.
    pub(super) number: u64,
    pub(super) kind: JobKind,
}

#[derive(Debug)]
pub(super) enum JobKind {
    Append {
        batch: SharedBatch,
        calls: VecDeque<AppendCall>,
        ack: SharedAck,
        reply: oneshot::Sender<Result<StoreReply, EngineError>>,
    },
    End {
        end: EndCall,
        reply: oneshot::Sender<Result<EndReply, EngineError>>,
    },
}

/// Builds the calls of the first waiting jobs. Returns the number of calls of each.
pub(super) fn build_round(
    waiting: &VecDeque<Job>,
    sessions: &LaneSessions,
    keys: &LogKeys,
    head: &[String; 2],
    bound: u64,
    whole: bool,
) -> (Pipeline, Vec<usize>) {
    let mut pipeline = redis::pipe();
    let mut counts = Vec::new();
    let mut sent: HashMap<&str, u64> = HashMap::new();
    let keys = keys.stream_first();
    let marker_time = Timestamp::now().to_string();
    for job in waiting {
        match &job.kind {
            // An end must not overtake an append that has to be sent again.
            JobKind::End { end, .. } if counts.is_empty() => {
                let acked = end.session.as_ref().map_or(0, |(name, _)| sessions.acked(name));
                let args = end_args(head, &marker_time, end, acked);
                pipeline.add_command(script::END.call(whole, &keys, &args));
                counts.push(1);
                break;
            }
            JobKind::End { .. } => break,
            JobKind::Append { batch, calls, .. } => {
                let name = batch.session.as_ref().map_or("", |(name, _)| name.as_str());
                for call in calls {
                    let before = sent.get(name).copied().unwrap_or(0);
                    let needed = match batch.resumes && call.is_first {
                        true => before,
                        false if name.starts_with(OWN_SESSION) => before,
                        false => sessions.acked(name).max(before).min(call.first_seq - 1),
                    };
                    let bound = if call.is_first { bound } else { 0 };
                    let args = append_args(head, &marker_time, batch, call, needed, bound);
                    pipeline.add_command(script::APPEND.call(whole, &keys, &args));
                    sent.insert(name, call.last_seq.max(before));
                }
                counts.push(calls.len());
            }
        }
        if pipeline.len() >= ROUND_CALLS_MAX {
            break;
        }
    }
    (pipeline, counts)
}

/// Answers a caller, which may have given up.
pub(super) fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}
