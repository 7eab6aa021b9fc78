//! The last number of each worker session of a stream.

/// Maximum number of sessions per stream whose last number is stored; the least recently used is evicted
/// first. Even with names of 128 bytes they fit in a stored value.
const SESSIONS_MAX: usize = 48;

/// Moves a session to the most recently used end and raises its number to at least `seq`.
pub(super) fn touch_session(sessions: &mut Vec<(String, u64)>, session: &str, seq: u64) {
    let before = match sessions.iter().position(|(name, _)| name == session) {
        Some(at) => sessions.remove(at).1,
        None => 0,
    };
    if sessions.len() >= SESSIONS_MAX {
        sessions.remove(0);
    }
    sessions.push((session.to_owned(), before.max(seq)));
}
