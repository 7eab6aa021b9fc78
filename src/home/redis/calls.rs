//! The script calls of a lane: their arguments, and what their answers mean.

use std::collections::VecDeque;
use std::ops::Range;

use super::batch::{SharedAck, SharedBatch, SharedNumbering, StoreReply};
use super::error::EngineError;
use super::node::RequestError;
use super::router::Router;
use super::state::{OWN_SESSION, SharedTask};
use super::url::NodeAddress;
use super::value::ScriptReply;

/// The end of a task.
#[derive(Debug)]
pub(super) struct EndCall {
    /// Recognizes the call if it is sent again.
    pub(super) token: String,
    pub(super) session: Option<(String, u64)>,
    pub(super) fields: Vec<(String, String)>,
}

/// The answer to the end of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReply {
    /// The task has ended with this call.
    Ended {
        /// Number of the last line.
        last_line: u64,
    },
    /// It had ended before.
    AlreadyEnded(Box<SharedTask>),
    /// It was removed, or another task has its id.
    Removed,
    /// Confirmed lines of the session are not stored, see [`StoreReply::Behind`]; the task has not ended.
    Behind {
        /// Last stored number of the session.
        acked_seq: Option<u64>,
    },
}

/// A part of a batch that one script call appends.
#[derive(Clone, Debug)]
pub(super) struct AppendCall {
    lines: Range<usize>,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) is_first: bool,
}

/// The outcome of one call.
#[derive(Debug)]
pub(super) enum Settled<T> {
    Done(T),
    /// It must be sent again, after a step.
    Again(NextStep),
}

impl Settled<StoreReply> {
    /// Returns the outcome of a call in a batch that ends with a number: a full stream does not refuse what it has.
    pub(super) fn or_stored(self, last_seq: u64) -> Self {
        match self {
            Settled::Done(StoreReply::Full { acked_seq: Some(acked) }) if acked >= last_seq => {
                Settled::Done(StoreReply::Stored(SharedAck { acked_seq: Some(acked), ..SharedAck::default() }))
            }
            other => other,
        }
    }
}

/// What to do before the next round.
#[derive(Debug)]
pub(super) enum NextStep {
    Continue,
    /// The server does not know the script.
    SendWhole,
    Account,
    Reopen(String),
    Pause(String),
    /// Another server has the task while its slot moves.
    Ask(NodeAddress),
}

impl AppendCall {
    /// Returns the calls of a batch, at least one.
    pub(super) fn split(batch: &SharedBatch) -> VecDeque<Self> {
        let mut next = batch.session.as_ref().map_or(1, |(_, first)| *first);
        let calls = batch.calls().into_iter().enumerate().map(|(at, lines)| {
            let part = batch.lines[lines.clone()].iter();
            let first_seq = next;
            next += part.filter(|line| line.numbering == SharedNumbering::Next).count() as u64;
            AppendCall { lines, first_seq, last_seq: next - 1, is_first: at == 0 }
        });
        calls.collect()
    }
}

/// Returns the arguments of `append.lua`.
pub(super) fn append_args<'b>(
    head: &'b [String; 2],
    marker_time: &'b str,
    batch: &'b SharedBatch,
    call: &AppendCall,
    needed: u64,
    bound: u64,
) -> Vec<std::borrow::Cow<'b, [u8]>> {
    use std::borrow::Cow;
    let name = batch.session.as_ref().map_or("", |(name, _)| name.as_str());
    let mut flags = String::new();
    flags.extend(name.starts_with(OWN_SESSION).then_some('u'));
    if call.is_first {
        flags.extend(batch.ends_session.then_some('e'));
        flags.extend(batch.over_limit.is_some().then_some('o'));
    }
    let owned = |text: String| Cow::Owned(text.into_bytes());
    let lines = &batch.lines[call.lines.clone()];
    let mut args = Vec::with_capacity(9 + lines.len() * 4);
    args.extend([head[0].as_bytes(), head[1].as_bytes(), name.as_bytes()].map(Cow::Borrowed));
    args.extend([flags, call.first_seq.to_string(), needed.to_string()].map(owned));
    args.push(Cow::Borrowed(batch.over_limit.as_deref().unwrap_or("").as_bytes()));
    args.push(owned(bound.to_string()));
    args.push(Cow::Borrowed(marker_time.as_bytes()));
    for line in lines {
        args.push(Cow::Borrowed(&line.text));
        args.push(Cow::Borrowed(line.timestamp.as_bytes()));
        args.push(Cow::Borrowed(line.channel.as_str().as_bytes()));
        args.push(owned(line.mark()));
    }
    args
}

/// Returns the arguments of `end.lua`.
pub(super) fn end_args(head: &[String; 2], marker_time: &str, end: &EndCall, acked: u64) -> Vec<String> {
    let (name, end_seq) = end.session.clone().unwrap_or_default();
    let needed = acked.min(end_seq.saturating_sub(1));
    let [birth, epoch] = head.clone();
    let mut args = vec![birth, epoch, end.token.clone(), name, end_seq.to_string(), needed.to_string()];
    args.push(marker_time.to_owned());
    args.extend(end.fields.iter().flat_map(|(name, value)| [name.clone(), value.clone()]));
    args
}

/// Returns what an answer of `append.lua` means.
pub(super) fn settle_append(
    answer: Result<ScriptReply, RequestError>,
    router: &Router,
    session: Option<&str>,
) -> Result<Settled<StoreReply>, EngineError> {
    let mut answer = match settle_error(answer, router)? {
        Ok(answer) => answer,
        Err(step) => return Ok(Settled::Again(step)),
    };
    let is_numbered = session.is_some_and(|name| !name.starts_with(OWN_SESSION));
    let acked_seq = |answer: &mut ScriptReply| Ok::<_, EngineError>(Some(answer.number()?).filter(|_| is_numbered));
    Ok(Settled::Done(match answer.word.as_str() {
        "OK" => {
            let (first_line, last_line) = (answer.number()?, answer.number()?);
            let last_id = answer.text()?.parse().map_err(|_| answer.unexpected())?;
            let count = answer.number()?;
            StoreReply::Stored(SharedAck { first_line, last_line, last_id, count, acked_seq: acked_seq(&mut answer)? })
        }
        "ENDED" => StoreReply::Ended { acked_seq: acked_seq(&mut answer)? },
        "FULL" => StoreReply::Full { acked_seq: acked_seq(&mut answer)? },
        "BEHIND" => StoreReply::Behind { acked_seq: acked_seq(&mut answer)? },
        "REMOVED" => StoreReply::Removed,
        _ => return settle_common(answer).map(Settled::Again),
    }))
}

/// Returns what an answer of `end.lua` means.
pub(super) fn settle_end(
    answer: Result<ScriptReply, RequestError>,
    router: &Router,
) -> Result<Settled<EndReply>, EngineError> {
    let mut answer = match settle_error(answer, router)? {
        Ok(answer) => answer,
        Err(step) => return Ok(Settled::Again(step)),
    };
    Ok(Settled::Done(match answer.word.as_str() {
        "OK" => EndReply::Ended { last_line: answer.number()? },
        "ALREADY" => EndReply::AlreadyEnded(Box::new(SharedTask::parse(answer.fields()?)?.unwrap_or_default())),
        "BEHIND" => EndReply::Behind { acked_seq: Some(answer.number()?) },
        "REMOVED" => EndReply::Removed,
        _ => return settle_common(answer).map(Settled::Again),
    }))
}

/// Returns the outcome of a call without an answer.
pub(super) fn missing<T>() -> Result<Settled<T>, EngineError> {
    Err(EngineError::Protocol("fewer answers than calls".to_owned()))
}

fn settle_error(
    answer: Result<ScriptReply, RequestError>,
    router: &Router,
) -> Result<Result<ScriptReply, NextStep>, EngineError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(RequestError::NoScript) => Ok(Err(NextStep::SendWhole)),
        Err(RequestError::Ask(address)) => Ok(Err(NextStep::Ask(address))),
        Err(error) => router.retry_reason(error).map(|reason| Err(NextStep::Pause(reason))),
    }
}

fn settle_common(mut answer: ScriptReply) -> Result<NextStep, EngineError> {
    match answer.word.as_str() {
        "ACCOUNT" => Ok(NextStep::Account),
        "EPOCH" => Ok(NextStep::Reopen(answer.text()?)),
        "EXHAUSTED" => Err(EngineError::Refused("another client used the greatest id of the stream".to_owned())),
        _ => Err(answer.unexpected()),
    }
}
