//! The lane of a task: its appends from this server, in the order of the calls.
//!
//! A round sends all waiting calls together on one connection and waits for the answers. Calls that got none are
//! sent again, in order: the script drops what was stored. A later call of the same session carries the number that
//! the one before it must have stored, so that it cannot overtake a call that has to be sent again.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use redis::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::batch::{SharedAck, SharedBatch, StoreReply};
use super::calls::{AppendCall, EndCall, EndReply, NextStep, Settled};
use super::calls::{append_args, end_args, missing, settle_append, settle_end};
use super::error::EngineError;
use super::keys::TaskKeys;
use super::limits::{LANE_IDLE, LANE_SESSIONS_MAX, ROUND_CALLS_MAX};
use super::node::{LinkUse, RequestError};
use super::router::{Attempts, Router};
use super::script;
use super::state::{OWN_SESSION, hex};
use super::value::ScriptReply;
use crate::model::{TaskId, Timestamp};

/// A request to a lane.
#[derive(Debug)]
pub(super) enum LaneRequest {
    Append(SharedBatch, oneshot::Sender<Result<StoreReply, EngineError>>),
    End(EndCall, oneshot::Sender<Result<EndReply, EngineError>>),
}

/// The lanes of an engine, by task and birth. Held for a few instructions.
pub(super) type LaneMap = Mutex<HashMap<(TaskId, u64), mpsc::Sender<LaneRequest>>>;

/// The task of a lane.
#[derive(Debug)]
pub(super) struct LaneTask {
    pub(super) id: TaskId,
    pub(super) birth: u64,
    /// Lines of the stream above which appends are refused.
    pub(super) bound: u64,
    /// Session of lines without numbers.
    pub(super) own_session: Arc<str>,
}

/// Last number that any lane of this process gave to a line of its own session. A lane that is started again must
/// not use numbers of the one before it.
static OWN_SEQ: AtomicU64 = AtomicU64::new(0);

/// The owner of a lane's state; it runs as a task of its own.
#[derive(Debug)]
pub(super) struct AppendLane {
    router: Arc<Router>,
    keys: TaskKeys,
    task: LaneTask,
    requests: mpsc::Receiver<LaneRequest>,
    waiting: VecDeque<Job>,
    /// What is known of each session, by name.
    sessions: HashMap<String, LaneSession>,
}

#[derive(Debug, Default)]
struct LaneSession {
    /// Last number that was confirmed.
    acked: u64,
    /// First number of the batch that failed; later ones are refused until it is sent again.
    failed_first: Option<u64>,
}

/// A request that is not finished.
#[derive(Debug)]
enum Job {
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

impl AppendLane {
    pub(super) fn new(router: Arc<Router>, task: LaneTask, requests: mpsc::Receiver<LaneRequest>) -> Self {
        let keys = TaskKeys::new(&task.id);
        Self { router, keys, task, requests, waiting: VecDeque::new(), sessions: HashMap::new() }
    }

    /// Serves requests until there were none for a while, or no one can send any.
    pub(super) async fn run(mut self, lanes: Weak<LaneMap>) {
        loop {
            match timeout(LANE_IDLE, self.requests.recv()).await {
                Ok(Some(request)) => {
                    self.accept(request);
                    self.accept_more();
                    self.work().await;
                }
                Ok(None) => return,
                Err(_) => {
                    let Some(lanes) = lanes.upgrade() else { return };
                    let mut lanes = lanes.lock();
                    // Senders are only cloned under the lock: with one left, that of the map, no request is coming.
                    if self.requests.is_empty() && self.requests.sender_strong_count() <= 1 {
                        lanes.remove(&(self.task.id.clone(), self.task.birth));
                        return;
                    }
                }
            }
        }
    }

    fn accept_more(&mut self) {
        while self.waiting.len() < ROUND_CALLS_MAX {
            let Ok(request) = self.requests.try_recv() else { return };
            self.accept(request);
        }
    }

    fn accept(&mut self, request: LaneRequest) {
        let job = match request {
            LaneRequest::End(end, reply) => Job::End { end, reply },
            LaneRequest::Append(mut batch, reply) => {
                if batch.session.is_none() {
                    // Sending them again after a broken connection must be exact for these lines too.
                    let count = batch.numbered().max(1);
                    let first = OWN_SEQ.fetch_add(count, Ordering::Relaxed) + 1;
                    batch.session = Some((self.task.own_session.to_string(), first));
                }
                if let Some(refused) = self.refused(&batch) {
                    return answer(reply, Ok(refused));
                }
                let calls = AppendCall::split(&batch);
                Job::Append { batch, calls, ack: SharedAck::default(), reply }
            }
        };
        self.waiting.push_back(job);
    }

    /// Returns the answer to a batch that follows a failed one of its session.
    fn refused(&mut self, batch: &SharedBatch) -> Option<StoreReply> {
        let (name, first) = batch.session.as_ref()?;
        let session = self.sessions.get_mut(name)?;
        let failed_first = session.failed_first?;
        if batch.resumes || *first <= failed_first {
            session.failed_first = None;
            return None;
        }
        Some(StoreReply::Behind { acked_seq: Some(session.acked).filter(|acked| *acked < failed_first) })
    }

    /// Finishes every waiting job.
    async fn work(&mut self) {
        let mut attempts = Attempts::start();
        while !self.waiting.is_empty() {
            let before = self.waiting.len();
            let step = self.round().await;
            if self.waiting.len() < before {
                attempts = Attempts::start();
            }
            let done = match step {
                NextStep::Continue => Ok(()),
                NextStep::Pause(reason) => attempts.next(reason).await,
                NextStep::Load => {
                    let loaded = async {
                        self.router.load(&self.keys.stream, &script::APPEND).await?;
                        self.router.load(&self.keys.stream, &script::END).await
                    };
                    match loaded.await.map_err(|error| self.router.retry_reason(error)) {
                        Ok(()) => Ok(()),
                        Err(Ok(reason)) => attempts.next(reason).await,
                        Err(Err(error)) => Err(error),
                    }
                }
                NextStep::Account => self.router.account(&self.keys, self.task.birth).await,
                NextStep::Reopen(found) => match self.router.reopen(&self.keys, self.task.birth, &found).await {
                    Ok(()) => attempts.next("the journal has another primary".to_owned()).await,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = done {
                self.fail_all(&error);
            }
            self.accept_more();
        }
    }

    /// Sends the first waiting calls together and handles their answers.
    async fn round(&mut self) -> NextStep {
        let link = match self.router.link(&self.keys.stream, LinkUse::Scripts).await {
            Ok(link) => link,
            Err(error) => return self.failed_round(error),
        };
        let (node, link) = link;
        let (mut pipeline, counts) = self.pipeline(&link.epoch);
        let calls = pipeline.len();
        self.router.append_wait(&mut pipeline);
        let mut answers = match link.send(&pipeline).await {
            Ok(answers) => answers,
            Err(error) => return self.failed_round(error),
        };
        if let Err(reason) = self.router.check_wait(&mut answers, pipeline.len() > calls) {
            return NextStep::Pause(reason);
        }
        let mut answers = answers.into_iter();
        let mut step = NextStep::Continue;
        let mut unfinished = VecDeque::new();
        for count in counts {
            let Some(job) = self.waiting.pop_front() else { break };
            let own: Vec<_> = answers.by_ref().take(count).collect();
            let mut replies = own.into_iter().map(|answer| match answer {
                Value::ServerError(error) => {
                    let error = RequestError::of_server(&error, &node.address);
                    self.router.learn(&self.keys.stream, &link, &error);
                    Err(error)
                }
                answer => ScriptReply::parse(answer).map_err(RequestError::Fatal),
            });
            let (rest, next) = Self::settle(&mut self.sessions, &self.router, job, &mut replies, unfinished.is_empty());
            unfinished.extend(rest);
            if matches!(step, NextStep::Continue) {
                step = next;
            }
        }
        while let Some(job) = unfinished.pop_back() {
            self.waiting.push_front(job);
        }
        step
    }

    /// Builds the calls of a round. Returns the number of calls of each job.
    fn pipeline(&self, epoch: &str) -> (redis::Pipeline, Vec<usize>) {
        let mut pipeline = redis::pipe();
        let mut counts = Vec::new();
        let mut sent: HashMap<&str, u64> = HashMap::new();
        let keys = self.keys.stream_first();
        let head = [hex(self.task.birth), epoch.to_owned()];
        let marker_time = Timestamp::now().to_string();
        for job in &self.waiting {
            match job {
                // An end must not overtake an append that has to be sent again.
                Job::End { end, .. } if counts.is_empty() => {
                    let session = end.session.as_ref().and_then(|(name, _)| self.sessions.get(name));
                    let args = end_args(&head, &marker_time, end, session.map_or(0, |session| session.acked));
                    pipeline.add_command(script::END.call(&keys, &args));
                    counts.push(1);
                    break;
                }
                Job::End { .. } => break,
                Job::Append { batch, calls, .. } => {
                    for call in calls {
                        let name = batch.session.as_ref().map_or("", |(name, _)| name.as_str());
                        let acked = self.sessions.get(name).map_or(0, |session| session.acked);
                        let before = sent.get(name).copied().unwrap_or(0);
                        let needed = match batch.resumes && call.is_first {
                            true => before,
                            false if name.starts_with(OWN_SESSION) => before,
                            false => acked.max(before).min(call.first_seq - 1),
                        };
                        let bound = if call.is_first { self.task.bound } else { 0 };
                        let args = append_args(&head, &marker_time, batch, call, needed, bound);
                        pipeline.add_command(script::APPEND.call(&keys, &args));
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

    /// Handles the answers to one job. Returns the job if it is not finished, and what to do next.
    fn settle(
        sessions: &mut HashMap<String, LaneSession>,
        router: &Router,
        job: Job,
        replies: &mut dyn Iterator<Item = Result<ScriptReply, RequestError>>,
        is_head: bool,
    ) -> (Option<Job>, NextStep) {
        let (batch, mut calls, mut ack, reply) = match job {
            Job::End { end, reply } => {
                return match replies.next().map_or_else(missing, |answer| settle_end(answer, router)) {
                    Ok(Settled::Done(done)) => {
                        answer(reply, Ok(done));
                        (None, NextStep::Continue)
                    }
                    Ok(Settled::Again(step)) => (Some(Job::End { end, reply }), step),
                    Err(error) => {
                        answer(reply, Err(error));
                        (None, NextStep::Continue)
                    }
                };
            }
            Job::Append { batch, calls, ack, reply } => (batch, calls, ack, reply),
        };
        let session = batch.session.as_ref().map(|(name, _)| name.as_str());
        let is_own = session.is_some_and(|name| name.starts_with(OWN_SESSION));
        while !calls.is_empty() {
            let settled = replies.next().map_or_else(missing, |answer| settle_append(answer, router, session));
            match settled {
                Ok(Settled::Done(StoreReply::Stored(stored))) => {
                    ack.merge(stored);
                    if let (Some(name), Some(acked)) = (session, stored.acked_seq) {
                        remember(sessions, name, acked);
                    }
                    calls.pop_front();
                }
                // An earlier call is sent again, and this one after it.
                Ok(Settled::Done(StoreReply::Behind { .. })) if !is_head || is_own => {
                    let step = NextStep::Pause("an earlier batch is not stored".to_owned());
                    return (Some(Job::Append { batch, calls, ack, reply }), step);
                }
                Ok(Settled::Done(refused)) => {
                    if let Some((name, first)) = &batch.session {
                        refuse_later(sessions, name, *first, &refused);
                    }
                    answer(reply, Ok(refused));
                    return (None, NextStep::Continue);
                }
                Ok(Settled::Again(step)) => return (Some(Job::Append { batch, calls, ack, reply }), step),
                Err(error) => {
                    if let Some((name, first)) = &batch.session {
                        sessions.entry(name.clone()).or_default().failed_first = Some(*first);
                    }
                    answer(reply, Err(error));
                    return (None, NextStep::Continue);
                }
            }
        }
        answer(reply, Ok(StoreReply::Stored(ack)));
        (None, NextStep::Continue)
    }

    fn failed_round(&mut self, error: RequestError) -> NextStep {
        match self.router.retry_reason(error) {
            Ok(reason) => NextStep::Pause(reason),
            Err(error) => {
                self.fail_all(&error);
                NextStep::Continue
            }
        }
    }

    /// Gives up everything that waits.
    fn fail_all(&mut self, error: &EngineError) {
        for job in std::mem::take(&mut self.waiting) {
            match job {
                Job::End { reply, .. } => answer(reply, Err(error.clone())),
                Job::Append { batch, reply, .. } => {
                    if let Some((name, first)) = batch.session {
                        let failed = &mut self.sessions.entry(name).or_default().failed_first;
                        *failed = Some(failed.map_or(first, |earlier| earlier.min(first)));
                    }
                    answer(reply, Err(error.clone()));
                }
            }
        }
    }
}

/// Raises the confirmed number of a session.
fn remember(sessions: &mut HashMap<String, LaneSession>, name: &str, acked: u64) {
    if sessions.len() >= LANE_SESSIONS_MAX && !sessions.contains_key(name) {
        // Forgetting only means that a loss in a failover is marked instead of resent.
        sessions.retain(|_, session| session.failed_first.is_some());
    }
    let session = sessions.entry(name.to_owned()).or_default();
    session.acked = session.acked.max(acked);
}

/// Makes later batches of a session wait until a refused one is sent again.
fn refuse_later(sessions: &mut HashMap<String, LaneSession>, name: &str, first: u64, refused: &StoreReply) {
    if name.starts_with(OWN_SESSION) {
        return;
    }
    let session = sessions.entry(name.to_owned()).or_default();
    session.failed_first = match refused {
        StoreReply::Behind { acked_seq } => {
            session.acked = acked_seq.unwrap_or(0);
            Some(session.acked + 1)
        }
        StoreReply::Full { .. } => Some(first),
        _ => None,
    };
}

/// Answers a caller, which may have given up.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}
