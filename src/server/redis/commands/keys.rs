//! Commands on keys of any type: `DEL` `EXISTS` `TYPE` `KEYS` `SCAN` `RANDOMKEY` `DBSIZE` `FLUSHALL`.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::ids::{integer, is_word, until_nul};
use super::{CommandError, CommandResult};
use crate::model::{Timestamp, glob};
use crate::tasks::keys::{Database, JournalError, KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// Default number of keys per SCAN call.
pub(in super::super) const SCAN_COUNT: usize = 10;
/// Redis' key types.
const TYPES: [&str; 7] = ["string", "list", "set", "zset", "hash", "module", "stream"];

/// Changes of keys of any type.
pub(in super::super) trait KeyWriter: KeyReader {
    /// Deletes a key and reports whether it existed.
    fn remove(&mut self, name: &[u8]) -> Result<bool, JournalError>;
    /// Sets or clears the expiration time of a key and reports whether the key exists. A time in the past
    /// deletes it.
    fn expire(&mut self, name: &[u8], at: Option<Timestamp>) -> Result<bool, JournalError>;
}

impl KeyWriter for Transaction<'_> {
    fn remove(&mut self, name: &[u8]) -> Result<bool, JournalError> {
        Transaction::remove(self, name)
    }

    fn expire(&mut self, name: &[u8], at: Option<Timestamp>) -> Result<bool, JournalError> {
        Transaction::expire(self, name, at)
    }
}

/// `DEL key..`, `UNLINK key..`: replies with the number of keys deleted.
pub(in super::super) fn del(keys: &mut dyn KeyWriter, request: &Request, reply: &mut Reply) -> CommandResult {
    let mut removed = 0;
    for name in request.args().skip(1) {
        removed += i64::from(keys.remove(name)?);
    }
    reply.integer(removed);
    Ok(())
}

/// `EXISTS key..`, `TOUCH key..`: replies with the number of existing keys.
pub(in super::super) fn exists(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    let mut existing = 0;
    for name in request.args().skip(1) {
        existing += i64::from(reader.metadata(name)?.is_some());
    }
    reply.integer(existing);
    Ok(())
}

/// `TYPE key`
pub(in super::super) fn type_of(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    reply.simple(reader.describe(request.arg(1))?.map_or("none", |key| key.kind));
    Ok(())
}

/// `DBSIZE`
pub(in super::super) fn dbsize(reader: &mut dyn KeyReader, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.unsigned(reader.names()?.len() as u64);
    Ok(())
}

/// `FLUSHDB [ASYNC|SYNC]`: deletes the keys of the selected database. The logs of tasks remain.
pub(in super::super) fn flushdb(keys: &mut dyn KeyWriter, request: &Request, reply: &mut Reply) -> CommandResult {
    flush_mode(request, 1).ok_or(CommandError::SYNTAX)?;
    remove_all(keys)?;
    reply.simple("OK");
    Ok(())
}

/// `FLUSHALL [ASYNC|SYNC]`: like `FLUSHDB`, in all databases.
pub(in super::super) fn flushall(keys: &mut dyn KeyWriter, request: &Request, reply: &mut Reply) -> CommandResult {
    flush_mode(request, 1).ok_or(CommandError::SYNTAX)?;
    let selected = keys.database();
    let removed = Database::all().try_for_each(|database| {
        keys.select(database);
        remove_all(keys)
    });
    keys.select(selected);
    removed?;
    reply.simple("OK");
    Ok(())
}

fn remove_all(keys: &mut dyn KeyWriter) -> Result<(), JournalError> {
    keys.names()?.iter().try_for_each(|name| keys.remove(name).map(drop))
}

/// Accepts only `ASYNC` or `SYNC`, or nothing, at `at`. Both have the same effect.
pub(super) fn flush_mode(request: &Request, at: usize) -> Option<()> {
    let mode = |arg: &[u8]| is_word(arg, "ASYNC") || is_word(arg, "SYNC");
    (request.len() <= at + 1 && request.get(at).is_none_or(mode)).then_some(())
}

/// `KEYS pattern`
pub(in super::super) fn keys(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    let mut names = reader.names()?;
    names.retain(|name| glob::matches(request.arg(1), name));
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

/// `RANDOMKEY`
pub(in super::super) fn randomkey(reader: &mut dyn KeyReader, _: &Request, reply: &mut Reply) -> CommandResult {
    let names = reader.names()?;
    let at = random_number().checked_rem(names.len() as u64).and_then(|at| usize::try_from(at).ok());
    match at.and_then(|at| names.get(at)) {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    Ok(())
}

/// Returns a random number.
pub(in super::super) fn random_number() -> u64 {
    // The random seed of a hasher serves as one.
    RandomState::new().build_hasher().finish()
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`
pub(in super::super) fn scan(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    let args = ScanArgs::parse(request)?;
    let (next, mut names) = page_of(reader.names()?.into_iter(), args.cursor, args.count);
    names.retain(|name| args.pattern.is_none_or(|pattern| glob::matches(pattern, name)));
    if let Some(kind) = args.kind {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            if reader.describe(&name)?.is_some_and(|key| is_word(kind, key.kind)) {
                found.push(name);
            }
        }
        names = found;
    }
    reply.array(2);
    reply.bulk_display(next);
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

struct ScanArgs<'r> {
    cursor: u64,
    count: usize,
    pattern: Option<&'r [u8]>,
    /// The type of the TYPE option.
    kind: Option<&'r [u8]>,
}

impl<'r> ScanArgs<'r> {
    fn parse(request: &'r Request) -> CommandResult<Self> {
        let cursor = cursor(request.arg(1)).ok_or(CommandError::Static("ERR invalid cursor"))?;
        let mut args = Self { cursor, count: SCAN_COUNT, pattern: None, kind: None };
        let mut at = 2;
        while at < request.len() {
            let (word, value) = (request.arg(at), request.get(at + 1).ok_or(CommandError::SYNTAX)?);
            if is_word(word, "COUNT") {
                let count = integer(value)?;
                args.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(CommandError::SYNTAX)?;
            } else if is_word(word, "MATCH") {
                args.pattern = Some(value);
            } else if is_word(word, "TYPE") {
                if !TYPES.iter().any(|known| is_word(value, known)) {
                    return Err(CommandError::Bytes([b"ERR unknown type name '", until_nul(value), b"'"].concat()));
                }
                args.kind = Some(value);
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 2;
        }
        Ok(args)
    }
}

/// Parses a cursor like `strtoull`, but rejects a minus sign.
pub(in super::super) fn cursor(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Returns the next names after a cursor, and the next cursor, which is 0 at the end.
///
/// Names are ordered by hash, and the cursor is the hash of the last name returned. A name that
/// exists during the whole scan is therefore returned exactly once, whatever else changes.
pub(in super::super) fn page_of(
    names: impl Iterator<Item = Vec<u8>>,
    cursor: u64,
    count: usize,
) -> (u64, Vec<Vec<u8>>) {
    let positions = names.map(|name| (position(&name), name));
    let mut names: Vec<(u64, Vec<u8>)> = positions.filter(|(position, _)| *position > cursor).collect();
    if names.len() > count {
        names.select_nth_unstable(count);
    }
    names.sort_unstable();
    // Names with equal hashes are returned together: a cursor cannot separate them.
    let end = match names.get(count.saturating_sub(1)) {
        Some((last, _)) => names.partition_point(|(position, _)| position <= last),
        None => names.len(),
    };
    let next = if end < names.len() { names.get(end - 1).map_or(0, |(position, _)| *position) } else { 0 };
    names.truncate(end);
    (next, names.into_iter().map(|(_, name)| name).collect())
}

/// Returns the position of a name in the order of SCAN, never 0. Uses a mixed FNV-1a hash, since the
/// order must survive a restart.
fn position(name: &[u8]) -> u64 {
    let hash = name
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 32)).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn name(number: usize) -> Vec<u8> {
        format!("task:logs:{number}").into_bytes()
    }

    #[test]
    fn scan_returns_a_lasting_key_once_despite_changes() {
        for count in [1, 7, 100, 1_000] {
            let mut names: BTreeSet<Vec<u8>> = (0..500).map(name).collect();
            let (mut cursor, mut seen, mut calls) = (0, Vec::new(), 0);
            loop {
                let (next, page) = page_of(names.iter().cloned(), cursor, count);
                assert!(page.len() <= count, "the positions in this test are distinct");
                seen.extend(page);
                calls += 1;
                for number in 0..3 {
                    names.remove(&name(250 + (calls * 3 + number) % 250));
                    names.insert(name(1_000 + calls * 3 + number));
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
            let distinct: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(distinct.len(), seen.len(), "no key is returned twice");
            assert!((0..250).all(|number| distinct.contains(&name(number))), "no key is missing");
        }
    }

    #[test]
    fn cursors_are_parsed_like_valkey() {
        for (text, value) in
            [("0", Some(0)), (" 0", Some(0)), ("+7", Some(7)), ("18446744073709551615", Some(u64::MAX))]
        {
            assert_eq!(cursor(text.as_bytes()), value, "{text}");
        }
        for text in ["", "-1", "x", "1.5", "1 ", "99999999999999999999", "+-1"] {
            assert_eq!(cursor(text.as_bytes()), None, "{text}");
        }
    }
}
