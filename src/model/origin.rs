//! The origin of a log's lines: the worker's session, and the line's sequence number in it.
//!
//! Origins are stored as ranges, beside the lines: nearly always all lines of a block or a frame are
//! consecutive in one session, which is one range.

use serde::{Deserialize, Serialize};

/// Maximum number of sessions in one list of origins.
const SESSIONS_MAX: usize = 254;
/// Value of [`OriginRange::session`] for lines without a session.
const UNNUMBERED: u8 = 255;
/// Value of [`OriginRange::session`] for lines whose session was not recorded.
const UNKNOWN: u8 = 254;

/// The origin of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A line without a sequence number: the server's own, or from a client that does not number lines.
    Unnumbered,
    /// A line stored by an earlier version, which did not record origins.
    Unknown,
    /// A line that a worker numbered.
    Numbered {
        /// Id of the session.
        session: &'a str,
        /// Sequence number in the session.
        seq: u64,
        /// 0 for a whole line or the first piece of a split one; further pieces count up.
        piece: u32,
    },
}

/// Lines with consecutive origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginRange {
    /// Number of lines.
    pub lines: u32,
    /// Index into the list of sessions, or one of the two special values.
    session: u8,
    /// Sequence number of the first line, or of all of them if `piece` is not 0.
    seq: u64,
    /// 0, or the piece number of the first line; further pieces count up.
    piece: u32,
}

/// The origins of some consecutive lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineOrigins {
    /// Sessions that the ranges refer to by index.
    pub sessions: Vec<String>,
    /// Ranges, in the order of the lines.
    pub runs: Vec<OriginRange>,
}

impl OriginRange {
    fn extends_to(&self, session: u8, seq: u64, piece: u32) -> bool {
        let numbered = match self.piece {
            0 => piece == 0 && self.seq.checked_add(u64::from(self.lines)) == Some(seq),
            first => piece > 0 && self.seq == seq && first.checked_add(self.lines) == Some(piece),
        };
        self.session == session && (session >= UNKNOWN || numbered) && self.lines < u32::MAX
    }
}

/// Appends the origin of the next line to `runs`; `index_of` finds or adds the session's index.
pub fn push_origin<'a>(
    runs: &mut Vec<OriginRange>,
    origin: Origin<'a>,
    session_index: impl FnOnce(&'a str) -> Option<u8>,
) {
    let (session, seq, piece) = match origin {
        Origin::Unnumbered => (UNNUMBERED, 0, 0),
        Origin::Unknown => (UNKNOWN, 0, 0),
        Origin::Numbered { session, seq, piece } => match session_index(session) {
            Some(place) => (place, seq, piece),
            None => (UNKNOWN, 0, 0),
        },
    };
    match runs.last_mut() {
        Some(last) if last.extends_to(session, seq, piece) => last.lines += 1,
        _ => runs.push(OriginRange { lines: 1, session, seq, piece }),
    }
}

/// Returns the index of a session, or the next free one for `None`; `count` is the number of sessions.
pub fn session_index(at: Option<usize>, count: usize) -> Option<u8> {
    at.or((count < SESSIONS_MAX).then_some(count)).and_then(|at| u8::try_from(at).ok())
}

/// Returns the origin of each line. A session missing from the list is unknown.
pub fn iter_origins<'a, S>(
    sessions: &'a [S],
    runs: &'a [OriginRange],
    name: fn(&'a S) -> &'a str,
) -> impl Iterator<Item = Origin<'a>> + 'a {
    runs.iter().flat_map(move |run| {
        (0..run.lines).map(move |index| match run.session {
            UNNUMBERED => Origin::Unnumbered,
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

impl LineOrigins {
    /// Appends the origin of the next line.
    pub fn push(&mut self, origin: Origin<'_>) {
        let Self { sessions, runs } = self;
        push_origin(runs, origin, |session| {
            let at = sessions.iter().position(|name| name == session);
            let place = session_index(at, sessions.len())?;
            if at.is_none() {
                sessions.push(session.to_owned());
            }
            Some(place)
        });
    }

    /// Returns the number of lines covered.
    pub fn lines(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.lines)).sum()
    }

    /// Returns the origin of each line, in order.
    pub fn each(&self) -> impl Iterator<Item = Origin<'_>> {
        iter_origins(&self.sessions, &self.runs, String::as_str)
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
            0 => Origin::Unnumbered,
            1 => Origin::Unknown,
            kind => Origin::Numbered { session: ["a", "b", "c"][usize::from(kind) - 2], seq, piece },
        }
    }

    proptest! {
        #[test]
        fn ranges_return_every_origin(lines in prop::collection::vec(origin(), 0..60)) {
            let wanted: Vec<Origin> = lines.into_iter().map(of).collect();
            let mut origins = LineOrigins::default();
            wanted.iter().for_each(|origin| origins.push(*origin));
            prop_assert_eq!(origins.each().collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn log_of_one_worker_is_one_range() {
        let mut origins = LineOrigins::default();
        (1..=1_000).for_each(|seq| origins.push(Origin::Numbered { session: "s", seq, piece: 0 }));
        assert_eq!((origins.runs.len(), origins.lines()), (1, 1_000));
    }
}
