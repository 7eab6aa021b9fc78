//! Commands on keys whatever they hold: `DEL` `EXISTS` `TYPE` `KEYS` `SCAN` `RANDOMKEY` `DBSIZE` `FLUSHALL`.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::Refusal;
use super::ids::{integer, is_word, until_nul};
use crate::model::glob;
use crate::tasks::keys::{JournalError, KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// Keys that SCAN gives at a time, unless told otherwise.
const SCAN_COUNT: usize = 10;
/// The types a key may have in Redis; ours are all streams.
const TYPES: [&str; 7] = ["string", "list", "set", "zset", "hash", "module", STREAM];
const STREAM: &str = "stream";

/// `DEL key..`, `UNLINK key..`: how many were there.
pub(in super::super) fn del(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let mut gone = 0;
    for name in request.args().skip(1) {
        gone += i64::from(keys.remove(name)?);
    }
    reply.integer(gone);
    Ok(())
}

/// `EXISTS key..`, `TOUCH key..`: how many are there.
pub(in super::super) fn exists(look: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let mut there = 0;
    for name in request.args().skip(1) {
        there += i64::from(look.metadata(name)?.is_some());
    }
    reply.integer(there);
    Ok(())
}

/// `TYPE key`
pub(in super::super) fn type_of(look: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    reply.simple(if look.metadata(request.arg(1))?.is_some() { STREAM } else { "none" });
    Ok(())
}

/// `DBSIZE`
pub(in super::super) fn dbsize(look: &mut dyn KeyReader, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    reply.unsigned(look.names()?.len() as u64);
    Ok(())
}

/// `FLUSHALL [ASYNC|SYNC]`, `FLUSHDB [ASYNC|SYNC]`. Of tasks the keys go; their logs stay.
pub(in super::super) fn flush(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    flush_mode(request, 1).ok_or(Refusal::SYNTAX)?;
    for name in keys.names()? {
        keys.remove(&name)?;
    }
    reply.simple("OK");
    Ok(())
}

/// Whether nothing but `ASYNC` or `SYNC` stands at `at`; both are the same here.
pub(super) fn flush_mode(request: &Request, at: usize) -> Option<()> {
    let mode = |arg: &[u8]| is_word(arg, "ASYNC") || is_word(arg, "SYNC");
    (request.len() <= at + 1 && request.get(at).is_none_or(mode)).then_some(())
}

/// `KEYS pattern`
pub(in super::super) fn keys(look: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let mut names = look.names()?;
    names.retain(|name| glob::matches(request.arg(1), name));
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

/// `RANDOMKEY`
pub(in super::super) fn randomkey(look: &mut dyn KeyReader, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let names = look.names()?;
    // A hasher of its own seed is as good as dice.
    let dice = RandomState::new().build_hasher().finish();
    let at = dice.checked_rem(names.len() as u64).and_then(|at| usize::try_from(at).ok());
    match at.and_then(|at| names.get(at)) {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    Ok(())
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`
pub(in super::super) fn scan(look: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let args = ScanArgs::parse(request)?;
    let (next, mut names) = page(look, args.cursor, args.count)?;
    if args.streams {
        names.retain(|name| args.pattern.is_none_or(|pattern| glob::matches(pattern, name)));
    } else {
        names.clear();
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
    /// Whether streams are wanted.
    streams: bool,
}

impl<'r> ScanArgs<'r> {
    fn parse(request: &'r Request) -> Result<Self, Refusal> {
        let cursor = cursor(request.arg(1)).ok_or(Refusal::Static("ERR invalid cursor"))?;
        let mut args = Self { cursor, count: SCAN_COUNT, pattern: None, streams: true };
        let mut at = 2;
        while at < request.len() {
            let (word, value) = (request.arg(at), request.get(at + 1).ok_or(Refusal::SYNTAX)?);
            if is_word(word, "COUNT") {
                let count = integer(value)?;
                args.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Refusal::SYNTAX)?;
            } else if is_word(word, "MATCH") {
                args.pattern = Some(value);
            } else if is_word(word, "TYPE") {
                if !TYPES.iter().any(|known| is_word(value, known)) {
                    return Err(Refusal::Bytes([b"ERR unknown type name '", until_nul(value), b"'"].concat()));
                }
                args.streams = is_word(value, STREAM);
            } else {
                return Err(Refusal::SYNTAX);
            }
            at += 2;
        }
        Ok(args)
    }
}

/// As `strtoull` reads it, without a sign that makes it negative.
fn cursor(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The next names behind a cursor, and the cursor behind them: 0 at the end.
///
/// The order is that of a hash, and the cursor is the last one given: whatever comes or goes
/// meanwhile, a key that stays is given, and given once.
fn page(look: &mut dyn KeyReader, cursor: u64, count: usize) -> Result<(u64, Vec<Vec<u8>>), JournalError> {
    let places = look.names()?.into_iter().map(|name| (place(&name), name));
    let mut names: Vec<(u64, Vec<u8>)> = places.filter(|(place, _)| *place > cursor).collect();
    if names.len() > count {
        names.select_nth_unstable(count);
    }
    names.sort_unstable();
    // Names of one place are given together: the cursor cannot stand between them.
    let end = match names.get(count.saturating_sub(1)) {
        Some((last, _)) => names.partition_point(|(place, _)| place <= last),
        None => names.len(),
    };
    let next = if end < names.len() { names.get(end - 1).map_or(0, |(place, _)| *place) } else { 0 };
    names.truncate(end);
    Ok((next, names.into_iter().map(|(_, name)| name).collect()))
}

/// Where a name stands in the order of SCAN; never 0. FNV-1a, mixed, since the order must be the same
/// after a restart.
fn place(name: &[u8]) -> u64 {
    let hash = name
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 32)).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Entry, Timestamp};
    use crate::tasks::keys::{IdRange, KeyMetadata};

    struct Names(BTreeSet<Vec<u8>>);

    impl KeyReader for Names {
        fn now(&self) -> Timestamp {
            Timestamp::now()
        }

        fn metadata(&mut self, _: &[u8]) -> Result<Option<KeyMetadata>, JournalError> {
            Ok(None)
        }

        fn range(&mut self, _: &[u8], _: IdRange, _: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError> {
            Ok(0)
        }

        fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError> {
            Ok(self.0.iter().cloned().collect())
        }
    }

    fn name(number: usize) -> Vec<u8> {
        format!("task:logs:{number}").into_bytes()
    }

    #[test]
    fn a_key_that_stays_is_scanned_once_whatever_comes_and_goes() {
        for count in [1, 7, 100, 1_000] {
            let mut names = Names((0..500).map(name).collect());
            let (mut cursor, mut seen, mut turns) = (0, Vec::new(), 0);
            loop {
                let (next, page) = page(&mut names, cursor, count).unwrap();
                assert!(page.len() <= count, "no two places are the same here");
                seen.extend(page);
                turns += 1;
                for number in 0..3 {
                    names.0.remove(&name(250 + (turns * 3 + number) % 250));
                    names.0.insert(name(1_000 + turns * 3 + number));
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
            let distinct: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(distinct.len(), seen.len(), "none twice");
            assert!((0..250).all(|number| distinct.contains(&name(number))), "none left out");
        }
    }

    #[test]
    fn cursors_are_read_as_valkey_reads_them() {
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
