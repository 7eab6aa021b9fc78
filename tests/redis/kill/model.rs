//! What the server has to have of one connection: its streams, its group, and what each command changes.

use std::collections::BTreeSet;

use crate::kill::Dice;
use crate::wire::{Client, Frame};

/// An entry's id.
pub(crate) type Id = (u64, u64);

/// Entries that `MAXLEN ~` leaves at least.
const ABOUT_LEN: u64 = 150;

/// Entries with the server's ids that a round begins with, at most.
const STAR_LEN: usize = 100;

/// A command, or a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// An id of ours.
    AddExact(u64),
    DelExact(u64),
    TrimExact(u64),
    /// An id of half ours, and a trim by whole nodes.
    AddAbout(u64),
    /// An id of the server's.
    AddStar,
    DelStar(Id),
    /// The same, to the stream of all.
    AddAll(u64),
    AddWork(u64),
    ReadWork(u64),
    AckWork(Vec<u64>),
    /// MULTI, two of them, EXEC.
    AddBoth(u64, u64),
}

/// What a connection's commands have made.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) writer: usize,
    exact: BTreeSet<u64>,
    pub(crate) exact_last: u64,
    /// The last id of the stream that is trimmed.
    pub(crate) about: u64,
    /// Ids that are known to be there.
    star: BTreeSet<Id>,
    star_deleted: BTreeSet<Id>,
    star_last: Id,
    star_added: u64,
    /// How many entries of the group's stream, the last that was read, and what is not acknowledged.
    work: u64,
    delivered: u64,
    pending: BTreeSet<u64>,
    all: u64,
}

/// What the server has.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) exact: BTreeSet<u64>,
    pub(crate) exact_last: u64,
    pub(crate) about: Vec<u64>,
    pub(crate) star: BTreeSet<Id>,
    pub(crate) star_added: u64,
    pub(crate) work: Vec<u64>,
    pub(crate) delivered: u64,
    pub(crate) pending: BTreeSet<u64>,
    pub(crate) all: u64,
}

impl Op {
    /// How many replies it has.
    pub(crate) fn replies(&self) -> usize {
        if matches!(self, Self::AddBoth(..)) { 4 } else { 1 }
    }

    /// Its requests.
    pub(crate) fn encode(&self, writer: usize, out: &mut Vec<u8>) {
        let lines = match self {
            Self::AddExact(n) => vec![format!("XADD exact:{writer} {n}-1 f v")],
            Self::DelExact(n) => vec![format!("XDEL exact:{writer} {n}-1")],
            Self::TrimExact(len) => vec![format!("XTRIM exact:{writer} MAXLEN {len}")],
            Self::AddAbout(n) => vec![format!("XADD about:{writer} MAXLEN ~ {ABOUT_LEN} {n}-* f v")],
            Self::AddStar => vec![format!("XADD star:{writer} * f v")],
            Self::DelStar((ms, seq)) => vec![format!("XDEL star:{writer} {ms}-{seq}")],
            Self::AddAll(n) => vec![format!("XADD all * n {writer}:{n}")],
            Self::AddWork(n) => vec![format!("XADD work:{writer} {n}-1 f v")],
            Self::ReadWork(count) => vec![format!("XREADGROUP GROUP g c COUNT {count} STREAMS work:{writer} >")],
            Self::AckWork(ids) => {
                let ids: String = ids.iter().map(|id| format!(" {id}-1")).collect();
                vec![format!("XACK work:{writer} g{ids}")]
            }
            Self::AddBoth(exact, work) => vec![
                "MULTI".to_owned(),
                format!("XADD exact:{writer} {exact}-1 f v"),
                format!("XADD work:{writer} {work}-1 f v"),
                "EXEC".to_owned(),
            ],
        };
        for line in lines {
            let words: Vec<Frame> = line.split(' ').map(bulk).collect();
            out.extend(Frame::Many(b'*', Some(words)).bytes());
        }
    }
}

impl State {
    /// Makes the streams; each has an entry.
    pub(crate) fn begin(writer: usize, client: &mut Client) -> Self {
        let mut state = Self {
            writer,
            exact: BTreeSet::new(),
            exact_last: 0,
            about: 0,
            star: BTreeSet::new(),
            star_deleted: BTreeSet::new(),
            star_last: (0, 0),
            star_added: 0,
            work: 0,
            delivered: 0,
            pending: BTreeSet::new(),
            all: 0,
        };
        let made = client.ask(&["XGROUP", "CREATE", &format!("work:{writer}"), "g", "0", "MKSTREAM"]).unwrap();
        assert_eq!(made.text(), Some(b"OK".as_slice()));
        for op in [Op::AddExact(1), Op::AddAbout(1), Op::AddStar, Op::AddAll(1), Op::AddWork(1)] {
            let mut bytes = Vec::new();
            op.encode(writer, &mut bytes);
            client.send_raw(&bytes);
            state.answer(&op, &[client.reply().unwrap()]);
        }
        state
    }

    /// What may come next.
    pub(crate) fn next_op(&self, dice: &mut Dice) -> Op {
        let near = |dice: &mut Dice| self.exact_last.saturating_sub(dice.roll(200));
        match dice.roll(24) {
            0..4 => Op::AddExact(self.exact_last + 1 + dice.roll(3)),
            4 => Op::DelExact(near(dice)),
            5 => Op::DelExact(self.exact_last),
            6 => Op::TrimExact(dice.roll(300)),
            7..11 => Op::AddAbout(self.about + 1),
            11..14 => Op::AddStar,
            14 => self.star.last().map_or(Op::AddStar, |id| Op::DelStar(*id)),
            15..18 => Op::AddAll(self.all + 1),
            18..20 => Op::AddWork(self.work + 1),
            20 => Op::ReadWork(1 + dice.roll(6)),
            21 => Op::AddBoth(self.exact_last + 1, self.work + 1),
            _ => match self.pending.iter().copied().filter(|_| dice.roll(3) == 0).take(5).collect::<Vec<_>>() {
                ids if ids.is_empty() => Op::AckWork(vec![self.delivered]),
                ids => Op::AckWork(ids),
            },
        }
    }

    /// What the command changes and the reply to it; none where the server chooses.
    pub(crate) fn apply(&mut self, op: &Op) -> Option<Frame> {
        let id = |n: u64| bulk(&format!("{n}-1"));
        let number = |n: u64| Frame::Line(b':', n.to_string().into_bytes());
        Some(match op {
            Op::AddExact(n) => {
                self.exact.insert(*n);
                self.exact_last = *n;
                id(*n)
            }
            Op::DelExact(n) => number(self.exact.remove(n).into()),
            Op::TrimExact(len) => {
                let gone = (self.exact.len() as u64).saturating_sub(*len);
                self.exact = self.exact.iter().copied().skip(usize::try_from(gone).unwrap()).collect();
                number(gone)
            }
            Op::AddAbout(n) => {
                self.about = *n;
                bulk(&format!("{n}-0"))
            }
            Op::AddStar => {
                self.star_added += 1;
                return None;
            }
            Op::DelStar(gone) => {
                self.star.remove(gone);
                number(self.star_deleted.insert(*gone).into())
            }
            Op::AddAll(n) => {
                self.all = *n;
                return None;
            }
            Op::AddWork(n) => {
                self.work = *n;
                id(*n)
            }
            Op::ReadWork(count) => {
                let new = self.delivered + 1..=self.work.min(self.delivered + count);
                if new.is_empty() {
                    return Some(Frame::Many(b'*', None));
                }
                self.delivered = *new.end();
                self.pending.extend(new.clone());
                let entry = |n: u64| many(vec![id(n), many(vec![bulk("f"), bulk("v")])]);
                many(vec![many(vec![bulk(&format!("work:{}", self.writer)), many(new.map(entry).collect())])])
            }
            Op::AckWork(ids) => number(ids.iter().filter(|id| self.pending.remove(id)).count() as u64),
            Op::AddBoth(exact, work) => {
                let added = [Op::AddExact(*exact), Op::AddWork(*work)].map(|op| self.apply(&op).unwrap());
                many(added.into())
            }
        })
    }

    /// The command was answered.
    pub(crate) fn answer(&mut self, op: &Op, frames: &[Frame]) {
        let told = frames.last().unwrap();
        match self.apply(op) {
            Some(wanted) => assert_eq!(*told, wanted, "{op:?} of {}", self.writer),
            None => {
                let id = id_of(told).unwrap_or_else(|| panic!("{op:?} was answered {told}"));
                if matches!(op, Op::AddStar) {
                    assert!(id > self.star_last, "{id:?} was given after {:?}", self.star_last);
                    self.learn(id);
                }
            }
        }
    }

    /// The server gave this id.
    pub(crate) fn learn(&mut self, id: Id) {
        self.star_last = id;
        self.star.insert(id);
    }

    /// The state after the kill: what was answered is in it, and of what was not any part. Panics where the
    /// server has less than `self`, which was answered, or more than all of `open` makes.
    pub(crate) fn settle(self, open: &[Op], seen: Seen) -> Self {
        let mut after = self.clone();
        for op in open {
            after.apply(op);
        }
        self.check_exact(&after, open, &seen);
        self.check_star(&after, open, &seen);
        self.check_work(&after, &seen);
        let (first, last) =
            (seen.about.first().copied().unwrap_or_default(), seen.about.last().copied().unwrap_or_default());
        assert!((self.about..=after.about).contains(&last), "trimmed stream: {last}");
        // Only the oldest may be trimmed, and not too many.
        assert!(seen.about.iter().copied().eq(first..=last), "trimmed stream: {:?}", seen.about);
        assert!(seen.about.len() as u64 >= last.min(ABOUT_LEN), "trimmed stream: {first} to {last}");
        assert!((self.all..=after.all).contains(&seen.all), "stream of all: {}", seen.all);
        Self {
            writer: self.writer,
            exact: seen.exact,
            exact_last: seen.exact_last,
            about: last,
            star_deleted: after.star_deleted.difference(&seen.star).copied().collect(),
            star_last: self.star_last.max(seen.star.last().copied().unwrap_or_default()),
            star: seen.star,
            star_added: seen.star_added,
            work: seen.work.len() as u64,
            delivered: seen.delivered,
            pending: seen.pending,
            all: seen.all,
        }
    }

    /// Lets the oldest entries go, so that a long run does not grow.
    pub(crate) fn shorten(&mut self, client: &mut Client) {
        let trimmed =
            client.ask(&["XTRIM", &format!("star:{}", self.writer), "MAXLEN", &STAR_LEN.to_string()]).unwrap();
        let gone = self.star.len().saturating_sub(STAR_LEN);
        assert_eq!(trimmed, Frame::Line(b':', gone.to_string().into_bytes()));
        let gone: Vec<Id> = (0..gone).filter_map(|_| self.star.pop_first()).collect();
        self.star_deleted = gone.into_iter().collect();
    }

    fn check_exact(&self, after: &Self, open: &[Op], seen: &Seen) {
        let must: BTreeSet<u64> = &self.exact & &after.exact;
        assert!(must.is_subset(&seen.exact), "lost: {:?}", &must - &seen.exact);
        let added =
            |id: &u64| open.iter().any(|op| matches!(op, Op::AddExact(added) | Op::AddBoth(added, _) if added == id));
        let more = &seen.exact - &self.exact;
        assert!(more.iter().all(added), "deleted, trimmed or never added: {more:?}");
        assert!((self.exact_last..=after.exact_last).contains(&seen.exact_last), "the last id is {}", seen.exact_last);
    }

    fn check_star(&self, after: &Self, open: &[Op], seen: &Seen) {
        let must = &self.star & &after.star;
        assert!(must.is_subset(&seen.star), "lost: {:?}", &must - &seen.star);
        assert!(self.star_deleted.is_disjoint(&seen.star), "deleted: {:?}", &self.star_deleted & &seen.star);
        let more = seen.star.difference(&self.star).count();
        let adds = open.iter().filter(|op| matches!(op, Op::AddStar)).count();
        assert!(more <= adds, "{more} more entries, {adds} added");
        assert!((self.star_added..=after.star_added).contains(&seen.star_added), "added: {}", seen.star_added);
    }

    fn check_work(&self, after: &Self, seen: &Seen) {
        let work = seen.work.len() as u64;
        assert!(seen.work.iter().copied().eq(1..=work), "the group's stream: {:?}", seen.work);
        assert!((self.work..=after.work).contains(&work), "the group's stream: {work}");
        assert!((self.delivered..=after.delivered.min(work)).contains(&seen.delivered), "read: {}", seen.delivered);
        let must = &self.pending & &after.pending;
        assert!(must.is_subset(&seen.pending), "not pending any more: {:?}", &must - &seen.pending);
        let may = |id: &u64| self.pending.contains(id) || (self.delivered + 1..=after.delivered).contains(id);
        assert!(seen.pending.iter().all(may), "acknowledged, and pending again: {:?}", &seen.pending - &self.pending);
        let passed = self.delivered + 1..=seen.delivered;
        let held = |id: u64| seen.pending.contains(&id) || !after.pending.contains(&id);
        assert!(passed.clone().all(held), "the group has passed {passed:?}, and pending are {:?}", seen.pending);
    }
}

fn bulk(text: &str) -> Frame {
    Frame::Blob(b'$', Some(text.as_bytes().to_vec()))
}

fn many(inner: Vec<Frame>) -> Frame {
    Frame::Many(b'*', Some(inner))
}

/// The id that a reply is.
pub(crate) fn id_of(frame: &Frame) -> Option<Id> {
    let Frame::Blob(b'$', Some(text)) = frame else { return None };
    let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some((ms.parse().ok()?, seq.parse().ok()?))
}

/// The id that a reply begins with.
pub(crate) fn first_id(frame: &Frame) -> Id {
    let Frame::Many(_, Some(inner)) = frame else { panic!("{frame}") };
    id_of(&inner[0]).unwrap_or_else(|| panic!("{frame}"))
}

/// Ids and first values of entries.
pub(crate) fn entries(frame: &Frame) -> Vec<(Id, String)> {
    let Frame::Many(_, Some(all)) = frame else { panic!("{frame}") };
    let value = |entry: &Frame| match entry {
        Frame::Many(_, Some(parts)) => match &parts[1] {
            Frame::Many(_, Some(fields)) => String::from_utf8_lossy(fields[1].text().unwrap()).into_owned(),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    };
    all.iter().map(|entry| (first_id(entry), value(entry))).collect()
}

/// Keys and values of a reply, as text.
pub(crate) fn pairs(frame: &Frame) -> Vec<(String, String)> {
    let Frame::Many(_, Some(inner)) = frame else { panic!("{frame}") };
    let text = |frame: &Frame| frame.text().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
    inner.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

/// The value of a key.
pub(crate) fn field<'p>(pairs: &'p [(String, String)], name: &str) -> &'p str {
    pairs.iter().find_map(|(key, value)| (key == name).then_some(value)).unwrap_or_else(|| panic!("no {name}"))
}
