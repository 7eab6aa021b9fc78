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
use super::calls::{missing, settle_append, settle_end};
use super::error::EngineError;
use super::keys::LogKeys;
use super::limits::{LANE_IDLE, ROUND_CALLS_MAX};
use super::node::{LinkUse, RequestError};
use super::round::{Job, JobKind, answer, build_round};
use super::router::{Router, asking};
use super::sessions::LaneSessions;
use super::state::{OWN_SESSION, hex};
use super::url::NodeAddress;
use super::value::ScriptReply;
use crate::model::TaskId;

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
    keys: LogKeys,
    task: LaneTask,
    requests: mpsc::Receiver<LaneRequest>,
    waiting: VecDeque<Job>,
    /// Number of the last request.
    accepted: u64,
    sessions: LaneSessions,
    /// The server to ask in the next round, which imports the slot of the task.
    ask_at: Option<NodeAddress>,
    /// Whether the next round contains the text of the scripts.
    whole: bool,
}

/// What the answers of a round have in common.
#[derive(Debug)]
struct RoundContext {
    /// The reason why what was stored is not confirmed by enough replicas, if so.
    unconfirmed: Option<String>,
    /// Whether an earlier job of the round must be sent again.
    has_unfinished: bool,
}

impl AppendLane {
    pub(super) fn new(router: Arc<Router>, task: LaneTask, requests: mpsc::Receiver<LaneRequest>) -> Self {
        let keys = LogKeys::of_task(&task.id);
        Self {
            router,
            keys,
            task,
            requests,
            waiting: VecDeque::new(),
            accepted: 0,
            sessions: LaneSessions::default(),
            ask_at: None,
            whole: false,
        }
    }

    /// Serves requests until there were none for a while, or the engine was dropped.
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
        self.accepted += 1;
        let kind = match request {
            LaneRequest::End(end, reply) => JobKind::End { end, reply },
            LaneRequest::Append(mut batch, reply) => {
                if batch.session.is_none() {
                    // Sending them again after a broken connection must be exact for these lines too.
                    let count = batch.numbered().max(1);
                    let first = OWN_SEQ.fetch_add(count, Ordering::Relaxed) + 1;
                    batch.session = Some((self.task.own_session.to_string(), first));
                }
                let calls = AppendCall::split(&batch);
                JobKind::Append { batch, calls, ack: SharedAck::default(), reply }
            }
        };
        self.waiting.push_back(Job { number: self.accepted, kind });
    }

    /// Finishes every waiting job.
    async fn work(&mut self) {
        let mut attempts = self.router.attempts();
        while !self.waiting.is_empty() {
            let before = self.waiting.len();
            let step = self.round().await;
            if self.waiting.len() < before {
                attempts = self.router.attempts();
            }
            let done = match step {
                NextStep::Continue => Ok(()),
                NextStep::Pause(reason) => attempts.next(reason).await,
                NextStep::Ask(address) => {
                    let reason = format!("the task is moving to {address}");
                    self.ask_at = Some(address);
                    attempts.next(reason).await
                }
                NextStep::SendWhole => {
                    self.whole = true;
                    Ok(())
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
        self.refuse_followers();
        if self.waiting.is_empty() {
            return NextStep::Continue;
        }
        let asked = self.ask_at.take();
        let link = match &asked {
            Some(address) => self.router.link_at(address, LinkUse::Scripts).await,
            None => self.router.link(&self.keys.stream, LinkUse::Scripts).await,
        };
        let (node, link) = match link {
            Ok(link) => link,
            Err(error) => return self.failed_round(error),
        };
        let whole = std::mem::take(&mut self.whole);
        let head = [hex(self.task.birth), link.epoch.to_string()];
        let (mut pipeline, counts) =
            build_round(&self.waiting, &self.sessions, &self.keys, &head, self.task.bound, whole);
        if asked.is_some() {
            pipeline = asking(&pipeline);
        }
        let calls = pipeline.len();
        self.router.append_wait(&mut pipeline);
        let mut answers = match link.send(&pipeline).await {
            Ok(answers) => answers,
            Err(error) => return self.failed_round(error),
        };
        let unconfirmed = self.router.check_wait(&mut answers, pipeline.len() > calls).err();
        let mut context = RoundContext { unconfirmed, has_unfinished: false };
        // Each call comes after an ASKING.
        let per_call = if asked.is_some() { 2 } else { 1 };
        let mut answers = answers.into_iter().skip(per_call - 1).step_by(per_call);
        let mut step = NextStep::Continue;
        let mut unfinished = VecDeque::new();
        for count in counts {
            let Some(job) = self.waiting.pop_front() else { break };
            let own: Vec<_> = answers.by_ref().take(count).collect();
            let (router, key) = (self.router.clone(), self.keys.stream.clone());
            let mut replies = own.into_iter().map(|answer| match answer {
                Value::ServerError(error) => {
                    let error = RequestError::of_server(&error, &node.address);
                    router.learn(&key, &link, &error);
                    Err(error)
                }
                answer => ScriptReply::parse(answer).map_err(RequestError::Fatal),
            });
            let (rest, next) = self.settle(job, &mut replies, &context);
            context.has_unfinished |= rest.is_some();
            unfinished.extend(rest);
            if matches!(step, NextStep::Continue) {
                step = next;
            }
        }
        while let Some(job) = unfinished.pop_back() {
            self.waiting.push_front(job);
        }
        if matches!(step, NextStep::SendWhole) {
            self.ask_at = asked;
        }
        step
    }

    /// Answers the requests that follow a failed batch of their session.
    fn refuse_followers(&mut self) {
        for Job { number, kind } in std::mem::take(&mut self.waiting) {
            let kind = match kind {
                JobKind::Append { batch, calls, ack, reply } => match self.sessions.refusal(&batch, number) {
                    Some(acked_seq) => {
                        answer(reply, Ok(StoreReply::Behind { acked_seq }));
                        continue;
                    }
                    None => JobKind::Append { batch, calls, ack, reply },
                },
                JobKind::End { end, reply } => match self.sessions.end_refusal(&end) {
                    Some(acked_seq) => {
                        answer(reply, Ok(EndReply::Behind { acked_seq }));
                        continue;
                    }
                    None => JobKind::End { end, reply },
                },
            };
            self.waiting.push_back(Job { number, kind });
        }
    }

    /// Handles the answers to one job. Returns the job if it is not finished, and what to do next.
    fn settle(
        &mut self,
        job: Job,
        replies: &mut dyn Iterator<Item = Result<ScriptReply, RequestError>>,
        context: &RoundContext,
    ) -> (Option<Job>, NextStep) {
        let number = job.number;
        let (batch, mut calls, mut ack, reply) = match job.kind {
            JobKind::End { end, reply } => {
                let (rest, step) = self.settle_end(end, reply, replies.next(), context);
                return (rest.map(|kind| Job { number, kind }), step);
            }
            JobKind::Append { batch, calls, ack, reply } => (batch, calls, ack, reply),
        };
        let session = batch.session.as_ref().map(|(name, _)| name.as_str());
        let is_own = session.is_some_and(|name| name.starts_with(OWN_SESSION));
        let mut unconfirmed = 0;
        while unconfirmed < calls.len() {
            let settled = replies.next().map_or_else(missing, |answer| settle_append(answer, &self.router, session));
            let last_seq = calls.back().map_or(0, |call| call.last_seq);
            match settled.map(|settled| settled.or_stored(last_seq)) {
                Ok(Settled::Done(StoreReply::Stored(stored))) => {
                    ack.merge(stored);
                    if let (Some(name), Some(acked)) = (session, stored.acked_seq) {
                        self.sessions.confirm(name, acked);
                    }
                    match context.unconfirmed {
                        None => drop(calls.pop_front()),
                        Some(_) => unconfirmed += 1,
                    }
                }
                // An earlier call is sent again, and this one after it.
                Ok(Settled::Done(StoreReply::Behind { .. })) if context.has_unfinished || is_own => {
                    let step = NextStep::Pause("an earlier batch is not stored".to_owned());
                    return (Some(Job { number, kind: JobKind::Append { batch, calls, ack, reply } }), step);
                }
                Ok(Settled::Done(refused)) => {
                    self.sessions.refused(&batch, &refused, number);
                    answer(reply, Ok(refused));
                    return (None, NextStep::Continue);
                }
                Ok(Settled::Again(step)) => {
                    return (Some(Job { number, kind: JobKind::Append { batch, calls, ack, reply } }), step);
                }
                Err(error) => {
                    self.sessions.failed(&batch, number);
                    answer(reply, Err(error));
                    return (None, NextStep::Continue);
                }
            }
        }
        if let Some(reason) = &context.unconfirmed {
            // Sent again, it stores nothing, and waits for the replicas again.
            let job = Job { number, kind: JobKind::Append { batch, calls, ack, reply } };
            return (Some(job), NextStep::Pause(reason.clone()));
        }
        answer(reply, Ok(StoreReply::Stored(ack)));
        (None, NextStep::Continue)
    }

    fn settle_end(
        &self,
        end: EndCall,
        reply: oneshot::Sender<Result<EndReply, EngineError>>,
        answered: Option<Result<ScriptReply, RequestError>>,
        context: &RoundContext,
    ) -> (Option<JobKind>, NextStep) {
        let step = match answered.map_or_else(missing, |answer| settle_end(answer, &self.router)) {
            Ok(Settled::Again(step)) => step,
            Ok(Settled::Done(done)) => match (&done, &context.unconfirmed) {
                (EndReply::Ended { .. }, Some(reason)) => NextStep::Pause(reason.clone()),
                _ => {
                    answer(reply, Ok(done));
                    return (None, NextStep::Continue);
                }
            },
            Err(error) => {
                answer(reply, Err(error));
                return (None, NextStep::Continue);
            }
        };
        (Some(JobKind::End { end, reply }), step)
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
        for Job { number, kind } in std::mem::take(&mut self.waiting) {
            match kind {
                JobKind::End { reply, .. } => answer(reply, Err(error.clone())),
                JobKind::Append { batch, reply, .. } => {
                    self.sessions.failed(&batch, number);
                    answer(reply, Err(error.clone()));
                }
            }
        }
    }
}
