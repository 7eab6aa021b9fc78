//! Where the lines of a log come from: which session of a worker, under which number.
//!
//! Kept as runs, beside the lines: nearly always all lines of a block or a frame follow one another
//! in one session, which is one run.

use serde::{Deserialize, Serialize};

/// Sessions that one list of origins can name.
const SESSIONS_MAX: usize = 254;
/// In [`OriginRun::session`]: the lines are of no session.
const FOREIGN: u8 = 255;
/// In [`OriginRun::session`]: whose lines they are was not written down.
const UNKNOWN: u8 = 254;

/// Where one line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// It has no number: the server's own, or appended by someone who does not count.
    Foreign,
    /// An earlier version stored it and did not say.
    Unknown,
    /// A worker numbered it.
    Numbered {
        /// The session.
        session: &'a str,
        /// The line's number in it.
        seq: u64,
        /// 0 for the line, or for its first piece if the server had to cut it; the others count on.
        piece: u32,
    },
}

/// Lines that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginRun {
    /// How many.
    pub lines: u32,
    /// The place of their session in the list beside, or one of the two marks.
    session: u8,
    /// The number of the first. With a `piece` it is the number of all of them.
    seq: u64,
    /// 0, or which piece of its line the first is; the pieces count on.
    piece: u32,
}

/// Whose lines some consecutive lines are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origins {
    /// The sessions that the runs name by their place.
    pub sessions: Vec<String>,
    /// The runs, in the order of the lines.
    pub runs: Vec<OriginRun>,
}

impl OriginRun {
    fn takes(&self, session: u8, seq: u64, piece: u32) -> bool {
        let numbered = match self.piece {
            0 => piece == 0 && self.seq.checked_add(u64::from(self.lines)) == Some(seq),
            first => piece > 0 && self.seq == seq && first.checked_add(self.lines) == Some(piece),
        };
        self.session == session && (session >= UNKNOWN || numbered) && self.lines < u32::MAX
    }
}

/// Adds the origin of the next line to `runs`, whose sessions are found, or given a place, by `place_of`.
pub fn push_origin<'a>(runs: &mut Vec<OriginRun>, origin: Origin<'a>, place_of: impl FnOnce(&'a str) -> Option<u8>) {
    let (session, seq, piece) = match origin {
        Origin::Foreign => (FOREIGN, 0, 0),
        Origin::Unknown => (UNKNOWN, 0, 0),
        Origin::Numbered { session, seq, piece } => match place_of(session) {
            Some(place) => (place, seq, piece),
            None => (UNKNOWN, 0, 0),
        },
    };
    match runs.last_mut() {
        Some(last) if last.takes(session, seq, piece) => last.lines += 1,
        _ => runs.push(OriginRun { lines: 1, session, seq, piece }),
    }
}

/// The place of a session among `count` named ones, or the next one if it is not there.
pub fn place_of(at: Option<usize>, count: usize) -> Option<u8> {
    at.or((count < SESSIONS_MAX).then_some(count)).and_then(|at| u8::try_from(at).ok())
}

/// The origins that runs tell of, line by line. A session that is not in the list is unknown.
pub fn each_origin<'a, S>(
    sessions: &'a [S],
    runs: &'a [OriginRun],
    name: fn(&'a S) -> &'a str,
) -> impl Iterator<Item = Origin<'a>> + 'a {
    runs.iter().flat_map(move |run| {
        (0..run.lines).map(move |index| match run.session {
            FOREIGN => Origin::Foreign,
            place => match sessions.get(usize::from(place)) {
                Some(session) if place != UNKNOWN => {
                    let session = name(session);
                    if run.piece == 0 {
                        Origin::Numbered { session, seq: run.seq.saturating_add(u64::from(index)), piece: 0 }
                    } else {
                        Origin::Numbered { session, seq: run.seq, piece: run.piece.saturating_add(index) }
                    }
                }
                _ => Origin::Unknown,
            },
        })
    })
}

impl Origins {
    /// Adds the origin of the next line.
    pub fn push(&mut self, origin: Origin<'_>) {
        let Self { sessions, runs } = self;
        push_origin(runs, origin, |session| {
            let at = sessions.iter().position(|name| name == session);
            let place = place_of(at, sessions.len())?;
            if at.is_none() {
                sessions.push(session.to_owned());
            }
            Some(place)
        });
    }

    /// Lines it speaks of.
    pub fn lines(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.lines)).sum()
    }

    /// The origin of each line, in order.
    pub fn each(&self) -> impl Iterator<Item = Origin<'_>> {
        each_origin(&self.sessions, &self.runs, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin() -> impl Strategy<Value = (u8, u64, u32)> {
        (0u8..5, 1u64..6, 0u32..3)
    }

    fn of((kind, seq, piece): (u8, u64, u32)) -> Origin<'static> {
        match kind {
            0 => Origin::Foreign,
            1 => Origin::Unknown,
            kind => Origin::Numbered { session: ["a", "b", "c"][usize::from(kind) - 2], seq, piece },
        }
    }

    proptest! {
        #[test]
        fn runs_give_back_every_origin(lines in prop::collection::vec(origin(), 0..60)) {
            let wanted: Vec<Origin> = lines.into_iter().map(of).collect();
            let mut origins = Origins::default();
            wanted.iter().for_each(|origin| origins.push(*origin));
            prop_assert_eq!(origins.each().collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn a_log_of_one_worker_is_one_run() {
        let mut origins = Origins::default();
        (1..=1_000).for_each(|seq| origins.push(Origin::Numbered { session: "s", seq, piece: 0 }));
        assert_eq!((origins.runs.len(), origins.lines()), (1, 1_000));
    }
}
