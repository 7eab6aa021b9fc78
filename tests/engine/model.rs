//! Random histories of the scripts against a model: sessions on two servers, resends, holes, other clients' commands,
//! two archivers, other epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tasktail::home::redis::{ArchivedLines, Engine, KeepReply, SharedBatch, SharedEntry, SharedEvent, StoreReply};
use tasktail::model::{EntryId, GapMarker, GapReason, TaskId};

use crate::server::{Server, batch, create, on_each, state, text};

/// Histories per kind of server (more with the variable `HISTORIES`, or one by `SEED`), and steps of each.
const HISTORIES: u64 = 12;
const STEPS: usize = 200;

/// A generator of numbers (splitmix64), so that a failed history can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A line: its text, and the session and number of its sender.
type ModelLine = (String, Option<(&'static str, u64)>);

/// What must hold of a task.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<&'static str, u64>,
    /// Lines of servers by number: text, session, seq.
    own: BTreeMap<u64, ModelLine>,
    /// Every entry that was ever read.
    seen: BTreeMap<u64, SharedEntry>,
    /// Ids that are no longer in the stream.
    gone: BTreeSet<EntryId>,
    archived: u64,
    fence: u64,
    bytes: u64,
    skipped: u64,
    last_line: u64,
    /// Entries of other clients that were added, and those deleted by them.
    added: u64,
    deleted: u64,
}

struct History {
    server: Server,
    engines: [Engine; 2],
    id: TaskId,
    model: Model,
    random: Random,
}

impl Model {
    /// Returns the lines that an append must add, and changes the sessions.
    fn append(&mut self, batch: &SharedBatch, session: &'static str) -> Vec<ModelLine> {
        let first = batch.session.as_ref().unwrap().1;
        let known = self.sessions.get(session).copied().unwrap_or(0);
        let closes = batch.ends_session || batch.over_limit.is_some();
        let mut lines = Vec::new();
        if first > known + 1 && (!batch.lines.is_empty() || closes) {
            let count = first - known - 1;
            let marker = match &batch.over_limit {
                Some(limit) => {
                    self.skipped += count;
                    GapMarker::over(count, limit)
                }
                None => GapMarker { reason: GapReason::LostInTransit, count }.to_string(),
            };
            lines.push((marker, None));
        }
        let floor = if closes { known.max(first - 1) } else { known };
        let mut last = floor;
        for (seq, line) in (first..).zip(&batch.lines) {
            if seq > floor {
                lines.push((String::from_utf8(line.text.clone()).unwrap(), Some((session, seq))));
                last = seq;
            }
        }
        self.sessions.insert(session, last.max(known));
        self.bytes += lines.iter().map(|(text, _)| text.len() as u64 + 1).sum::<u64>();
        lines
    }
}

impl History {
    async fn step(&mut self) {
        match self.random.below(20) {
            0..=8 => self.append().await,
            9..=11 => self.foreign_add().await,
            12 => self.foreign_remove().await,
            13..=15 => self.archive().await,
            16 => self.change_epoch().await,
            17 => self.server.run::<()>(&["SCRIPT", "FLUSH"]).await,
            _ => self.check().await,
        }
    }

    async fn append(&mut self) {
        let session = ["one", "two"][usize::try_from(self.random.below(2)).unwrap()];
        let known = self.model.sessions.get(session).copied().unwrap_or(0);
        let first = (known + 1 + self.random.below(8)).saturating_sub(5).max(1);
        let count = self.random.below(7);
        let mut batch = SharedBatch { resumes: true, ..batch(session, first, first + count - 1) };
        match self.random.below(8) {
            0 => batch.ends_session = true,
            1 => batch.over_limit = Some("7 lines/s".to_owned()),
            _ => {}
        }
        let lines = self.model.append(&batch, session);
        let engine = &self.engines[usize::try_from(self.random.below(2)).unwrap()];
        let StoreReply::Stored(ack) = engine.append(&self.id, 7, batch).await.unwrap() else { panic!() };
        assert_eq!(ack.count, lines.len() as u64);
        assert_eq!(ack.acked_seq, Some(self.model.sessions[session]));
        if !lines.is_empty() {
            assert!(ack.first_line > self.model.last_line && ack.last_line == ack.first_line + ack.count - 1);
            self.model.last_line = ack.last_line;
            self.model.own.extend((ack.first_line..).zip(lines));
        }
    }

    async fn foreign_add(&mut self) {
        for _ in 0..=self.random.below(3) {
            self.model.added += 1;
            let text = format!("foreign {}", self.model.added);
            self.server.run::<String>(&["XADD", "task:logs:t", "*", "line", &text]).await;
        }
    }

    async fn ids(&self) -> BTreeSet<EntryId> {
        let entries: Vec<(String, Vec<String>)> = self.server.run(&["XRANGE", "task:logs:t", "-", "+"]).await;
        entries.into_iter().map(|(id, _)| id.parse().unwrap()).collect()
    }

    async fn foreign_remove(&mut self) {
        let before = self.ids().await;
        match self.random.below(8) {
            0 => {
                self.server.run::<u64>(&["DEL", "task:logs:t"]).await;
                // The same millisecond would give ids again.
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            1..=2 => drop(
                self.server.run::<u64>(&["XTRIM", "task:logs:t", "MAXLEN", &self.random.below(9).to_string()]).await,
            ),
            _ => {
                let at = usize::try_from(self.random.below(before.len().max(1) as u64)).unwrap();
                let id = before.iter().nth(at).map_or("1-1".to_owned(), EntryId::to_string);
                self.server.run::<u64>(&["XDEL", "task:logs:t", &id]).await;
            }
        }
        let after = self.ids().await;
        let removed: Vec<_> = before.difference(&after).copied().collect();
        self.model.deleted += removed.len() as u64;
        self.model.gone.extend(removed);
    }

    async fn archive(&mut self) {
        self.check().await;
        let from = if self.random.below(4) == 0 { self.random.below(30) + 1 } else { self.model.archived + 1 };
        let to = from + self.random.below(20);
        let fence = (self.model.fence + 2).saturating_sub(self.random.below(4));
        let last = self.model.seen.range(..=to).next_back().map(|(_, entry)| entry.id);
        let object = format!("{from}-{to}.{fence}.{}", self.random.below(1_000_000));
        let lines = ArchivedLines { from, to, object: &object, last_id: last.unwrap_or_default() };
        let engine = &self.engines[usize::try_from(self.random.below(2)).unwrap()];
        let reply = engine.archived(&self.id, 7, &lines, fence).await.unwrap();
        let fits = from == self.model.archived + 1 && to <= self.model.last_line && fence >= self.model.fence;
        assert_eq!(reply == KeepReply::Done, fits, "{lines:?} {fence} {reply:?}");
        if fits {
            (self.model.archived, self.model.fence) = (to, fence);
            self.model.gone.extend(self.model.seen.range(..=to).map(|(_, entry)| entry.id));
        }
    }

    /// Makes the task look as if another primary had held it.
    async fn change_epoch(&mut self) {
        let epoch = format!("{:016x}", self.random.below(u64::MAX));
        self.server.run::<u64>(&["HSET", "{task:logs:t}:tt", "ep", &epoch]).await;
    }

    /// Reads everything and compares.
    async fn check(&mut self) {
        let present = self.ids().await;
        let entries = match present.last() {
            None => Vec::new(),
            Some(last) => self.read_through(*last).await,
        };
        assert_eq!(entries.iter().map(|entry| entry.id).collect::<BTreeSet<_>>(), present);
        assert!(entries.windows(2).all(|pair| pair[0].n < pair[1].n && pair[0].id < pair[1].id));
        for entry in entries {
            assert_eq!(self.model.own.contains_key(&entry.n), entry.own, "{entry:?}");
            if let Some((line, origin)) = self.model.own.get(&entry.n) {
                let found = entry.origin.as_ref().map(|origin| (origin.session.as_str(), origin.seq));
                assert_eq!((line.as_str(), *origin), (text(&entry).as_str(), found));
            }
            let before = self.model.seen.insert(entry.n, entry.clone());
            assert!(before.is_none_or(|before| before == entry), "a number is given once");
        }
        let ids: BTreeSet<_> = self.model.seen.values().map(|entry| entry.id).collect();
        assert_eq!(ids.len(), self.model.seen.len(), "an entry has one number");
        let state = state(&self.engines[0], &self.id).await;
        assert!(state.last_line >= self.model.last_line);
        self.model.last_line = state.last_line;
        assert_eq!(
            (state.bytes, state.skipped, state.archived),
            (self.model.bytes, self.model.skipped, self.model.archived)
        );
        let sessions: Vec<_> = self.model.sessions.iter().map(|(name, known)| ((*name).to_owned(), *known)).collect();
        assert_eq!(state.sessions, sessions);
        let unseen = self.model.last_line - self.model.seen.len() as u64;
        assert!(unseen <= self.model.deleted, "{unseen} numbers without a line, {} deleted", self.model.deleted);
    }

    async fn read_through(&self, last: EntryId) -> Vec<SharedEntry> {
        let mut tail = self.engines[1].tail(&self.id, 7, EntryId::MIN, 0);
        let mut all: Vec<SharedEntry> = Vec::new();
        while all.last().is_none_or(|entry| entry.id < last) {
            if let SharedEvent::Entries(entries) = crate::server::until(tail.next()).await.unwrap() {
                all.extend(entries);
            }
        }
        all
    }
}

on_each! {
    async fn random_histories_follow_the_model(kind) {
        let server = Server::start_with(kind, &["--appendonly", "yes", "--appendfsync", "everysec"]).await;
        let engines = [server.engine("a").await, server.engine("b").await];
        let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
        let all = 0..number("HISTORIES").unwrap_or(HISTORIES);
        let seeds = number("SEED").map_or(all, |seed| seed..seed + 1);
        let mut server = Some(server);
        for seed in seeds {
            let running = server.take().unwrap();
            running.run::<()>(&["FLUSHALL"]).await;
            let id = create(&engines[0], "t").await;
            let mut history = History { server: running, engines: engines.clone(), id, model: Model::default(), random: Random(seed) };
            for at in 0..STEPS {
                let step = std::panic::AssertUnwindSafe(history.step());
                if let Err(panic) = futures::FutureExt::catch_unwind(step).await {
                    std::panic::resume_unwind(Box::new(format!("SEED={seed}, step {at}: {:?}", panic.downcast_ref::<String>())));
                }
            }
            history.check().await;
            assert!(history.model.own.len() > STEPS / 2);
            engines[0].remove(&history.id, 7).await.unwrap();
            server = Some(history.server);
        }
    }
}
