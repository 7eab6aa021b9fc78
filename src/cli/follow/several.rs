//! Follows several tasks on one connection; tasks that match `--label` or `--all` join when they start.
//!
//! Tasks that run are followed at once. Tasks that have ended are printed one after another, oldest first.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use anyhow::bail;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::locate::Locator;
use super::join::{Chosen, choose, newest, watch_for_new};
use super::session::{FollowSession, status_code};
use super::single::LAST_MESSAGE_TIMEOUT;
use super::view::TaskView;
use super::{FollowArgs, TailCount, deadline, relocate, start};
use crate::client::HttpClient;
use crate::client::many::{ManyFollower, ManyUpdate};
use crate::model::TaskId;

/// Maximum number of tasks that are followed at the same time; more wait for one to end. It is below the server's
/// default of `connection_subscriptions_max`.
const FOLLOWED_MAX: usize = 200;

/// Prints the lines of the chosen tasks until all have ended and returns the exit code: with `--exit-status` the
/// highest of their codes.
///
/// # Errors
/// A task does not exist, there is no response, or stdout is closed.
pub(super) async fn follow(
    args: &FollowArgs,
    client: &HttpClient,
    locator: &Arc<Locator>,
    explicit: bool,
    session: &mut FollowSession,
) -> anyhow::Result<u8> {
    let chosen = choose(args, client).await?;
    if chosen.is_empty() && !args.wait {
        bail!("no task matches; use --wait to wait for one");
    }
    let mut follower = ManyFollower::new(client.endpoint().clone());
    if !explicit {
        follower = follower.with_relocate(relocate(locator));
    }
    let joins = args.joins() && !args.no_follow;
    let mut several = Several::new(args, client, session, follower);
    several.add(chosen);
    let mut new_tasks = joins.then(|| watch_for_new(args, locator, client));
    let result = tokio::select! {
        result = several.run(new_tasks.as_mut()) => result,
        () = deadline(args.until) => Ok(()),
    };
    for view in several.views.values_mut() {
        several.session.finish(view)?;
    }
    result?;
    Ok(if args.exit_status { several.code } else { 0 })
}

/// The followed tasks, and those that wait for their turn.
struct Several<'a> {
    args: &'a FollowArgs,
    client: &'a HttpClient,
    session: &'a mut FollowSession,
    follower: ManyFollower,
    views: HashMap<TaskId, TaskView>,
    /// Tasks that run and wait for a place.
    live: VecDeque<Chosen>,
    /// Tasks that are printed one after another.
    ended: VecDeque<Chosen>,
    /// The one of them that is being printed.
    active_ended: Option<TaskId>,
    /// Keys of all tasks so far.
    known: HashSet<TaskId>,
    /// Number of followed tasks so far.
    places: usize,
    /// Highest exit code so far.
    code: u8,
}

impl<'a> Several<'a> {
    fn new(
        args: &'a FollowArgs,
        client: &'a HttpClient,
        session: &'a mut FollowSession,
        follower: ManyFollower,
    ) -> Self {
        Self {
            args,
            client,
            session,
            follower,
            views: HashMap::new(),
            live: VecDeque::new(),
            ended: VecDeque::new(),
            active_ended: None,
            known: HashSet::new(),
            places: 0,
            code: 0,
        }
    }

    /// Adds the tasks that are not known yet.
    fn add(&mut self, chosen: Vec<Chosen>) {
        for chosen in chosen {
            if !self.known.insert(chosen.key.clone()) {
                continue;
            }
            self.session.printer.fit(chosen.id.as_str());
            let queue = if chosen.has_ended || self.args.no_follow { &mut self.ended } else { &mut self.live };
            queue.push_back(chosen);
        }
    }

    async fn run(&mut self, mut new_tasks: Option<&mut mpsc::Receiver<Vec<Chosen>>>) -> anyhow::Result<()> {
        loop {
            self.subscribe().await?;
            let idle = self.views.is_empty();
            let waits_for_new = self.args.wait && new_tasks.is_some();
            if idle && !waits_for_new {
                // One that started as the last one ended joins as well.
                let known = self.known.len();
                if new_tasks.is_some() {
                    self.add(newest(self.client, &self.args.labels).await?);
                }
                if self.known.len() == known {
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                update = next(&mut self.follower, self.args.no_follow) => match update? {
                    Some(update) => self.handle(update)?,
                    None => return Ok(()),
                },
                Some(chosen) = receive(new_tasks.as_deref_mut()) => self.add(chosen),
            }
        }
    }

    /// Subscribes to tasks as long as there are places.
    async fn subscribe(&mut self) -> anyhow::Result<()> {
        while self.views.len() < FOLLOWED_MAX
            && let Some(chosen) = self.live.pop_front()
        {
            self.begin(chosen).await?;
        }
        while self.active_ended.is_none()
            && let Some(chosen) = self.ended.pop_front()
        {
            let id = chosen.id.clone();
            if self.begin(chosen).await? {
                self.active_ended = Some(id);
            }
        }
        Ok(())
    }

    /// Starts to follow a task. Returns false if nothing of it is to be printed.
    async fn begin(&mut self, chosen: Chosen) -> anyhow::Result<bool> {
        if chosen.has_ended && self.args.lines == Some(TailCount::Last(0)) && !self.args.exit_status {
            return Ok(false);
        }
        let begin = match chosen.is_new {
            true => start::StartPoint::at(crate::client::follow::TaskFollowStart::Beginning),
            false => start::find(self.args, self.session.printer.grep(), &chosen.id, self.client).await?,
        };
        if begin.is_empty {
            return Ok(false);
        }
        self.follower.subscribe(chosen.id.clone(), begin.start.clone(), self.args.wait);
        let view = TaskView::new(chosen.id.clone(), self.places, begin, self.args.until, self.args.no_follow);
        self.places += 1;
        self.views.insert(chosen.id, view);
        Ok(true)
    }

    fn handle(&mut self, update: ManyUpdate) -> anyhow::Result<()> {
        match update {
            ManyUpdate::Task(id, update) => {
                let Some(view) = self.views.get_mut(&id) else { return Ok(()) };
                if self.session.handle(view, *update)? {
                    self.follower.unsubscribe(&id);
                    self.end(&id)?;
                }
            }
            ManyUpdate::Refused { task, message, .. } => {
                self.session.printer.settle()?;
                self.session.output.note(format_args!("{task}: {message}"));
                self.end(&task)?;
            }
            ManyUpdate::Disconnected(why) => self.session.disconnected(&why)?,
            ManyUpdate::Reconnected => self.session.reconnected()?,
        }
        Ok(())
    }

    fn end(&mut self, id: &TaskId) -> anyhow::Result<()> {
        if let Some(mut view) = self.views.remove(id) {
            self.session.finish(&mut view)?;
            self.code = self.code.max(status_code(view.details.as_ref()));
        }
        self.active_ended.take_if(|active| active == id);
        Ok(())
    }
}

/// Returns the next item; with `--no-follow` within a bounded time, since all lines are there.
async fn next(follower: &mut ManyFollower, no_follow: bool) -> anyhow::Result<Option<ManyUpdate>> {
    if !no_follow {
        return Ok(Some(follower.next().await?));
    }
    match timeout(LAST_MESSAGE_TIMEOUT, follower.next()).await {
        Ok(update) => Ok(Some(update?)),
        Err(_) => Ok(None),
    }
}

async fn receive(new_tasks: Option<&mut mpsc::Receiver<Vec<Chosen>>>) -> Option<Vec<Chosen>> {
    match new_tasks {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}
