//! Strings: setting them, with the options of `SET` and `GETEX`.

use super::data::KeyType;
use super::ids::{integer, is_word};
use super::strings::write_or_null;
use super::{CommandError, CommandResult, KeyReader as _, Timestamp, ValueContext};
use crate::wire::resp::{Reply, Request};

/// The options of `SET` and `GETEX`.
#[derive(Default)]
struct SetOptions<'r> {
    /// The time to live or the expiration time.
    time: Option<TimeOption<'r>>,
    keep_ttl: bool,
    persist: bool,
    only_new: bool,
    only_existing: bool,
    only_equal: Option<&'r [u8]>,
    get: bool,
}

/// A time argument with its unit and base.
#[derive(Clone, Copy)]
struct TimeOption<'r> {
    word: &'static str,
    text: &'r [u8],
}

/// The times of `SET`: their name, unit in milliseconds, and whether they count from now.
const TIMES: [(&str, i64, bool); 4] =
    [("EX", 1_000, true), ("PX", 1, true), ("EXAT", 1_000, false), ("PXAT", 1, false)];

impl<'r> SetOptions<'r> {
    /// Parses the options from `at`. `of_get` means those of `GETEX`.
    fn parse(request: &'r Request, mut at: usize, of_get: bool) -> CommandResult<Self> {
        let mut options = Self::default();
        while at < request.len() {
            let (word, next) = (request.arg(at), request.get(at + 1));
            let is = |name: &str| is_word(word, name);
            let time = TIMES.iter().find(|(name, ..)| is(name));
            let other_time = |name: &str| options.time.is_some_and(|time| time.word != name);
            let conditional = options.only_new || options.only_existing || options.only_equal.is_some();
            if is("NX") && !of_get && (!conditional || options.only_new) {
                options.only_new = true;
            } else if is("XX") && !of_get && (!conditional || options.only_existing) {
                options.only_existing = true;
            } else if let (true, false, Some(value)) = (is("IFEQ") && !conditional, of_get, next) {
                options.only_equal = Some(value);
                at += 1;
            } else if is("GET") && !of_get {
                options.get = true;
            } else if is("KEEPTTL") && !of_get && options.time.is_none() {
                options.keep_ttl = true;
            } else if is("PERSIST") && of_get && options.time.is_none() {
                options.persist = true;
            } else if let (Some((name, ..)), Some(text)) = (time, next)
                && !options.keep_ttl
                && !options.persist
                && !other_time(name)
            {
                options.time = Some(TimeOption { word: name, text });
                at += 1;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

impl TimeOption<'_> {
    /// Returns the expiration time in milliseconds since 1970.
    fn resolve(self, command: &str, now_ms: u64) -> CommandResult<u64> {
        let value = integer(self.text)?;
        let (_, unit, from_now) = TIMES.iter().find(|(name, ..)| *name == self.word).copied().unwrap_or(("", 1, false));
        let base = if from_now { i64::try_from(now_ms).unwrap_or(i64::MAX) } else { 0 };
        let at = value.checked_mul(unit).and_then(|ms| ms.checked_add(base)).filter(|_| value > 0);
        let at = at.and_then(|at| u64::try_from(at).ok());
        at.ok_or_else(|| CommandError::Text(format!("ERR invalid expire time in '{command}' command")))
    }
}

/// `SET key value [NX|XX|IFEQ text] [GET] [EX s|PX ms|EXAT time|PXAT time|KEEPTTL]`
pub(super) fn set(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (key, value) = (request.arg(1), request.arg(2));
    let options = SetOptions::parse(request, 3, false)?;
    let now = context.now_ms();
    let expires = options.time.map(|time| time.resolve("set", now)).transpose()?;
    let metadata = context.metadata(key)?;
    if options.get {
        write_or_null(context.string(key)?, reply);
    }
    let allowed = match (options.only_equal, options.only_new, options.only_existing) {
        (Some(expected), ..) => context.string(key)? == Some(expected),
        (None, true, _) => metadata.is_none(),
        (None, false, true) => metadata.is_some(),
        (None, false, false) => true,
    };
    if !allowed {
        if !options.get {
            reply.null();
        }
        return Ok(());
    }
    let kept = metadata.and_then(|metadata| metadata.expires).filter(|_| options.keep_ttl);
    context.set_string(key, value.to_vec(), expires.or(kept.map(Timestamp::as_millis)))?;
    if !options.get {
        reply.simple("OK");
    }
    Ok(())
}

/// `SETNX key value`: replies with 1 if the key did not exist.
pub(super) fn setnx(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let key = request.arg(1);
    let is_new = context.metadata(key)?.is_none();
    if is_new {
        context.set_string(key, request.arg(2).to_vec(), None)?;
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

/// `SETEX key seconds value`
pub(super) fn setex(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    set_expiring(context, request, reply, "setex", "EX")
}

/// `PSETEX key milliseconds value`
pub(super) fn psetex(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    set_expiring(context, request, reply, "psetex", "PX")
}

fn set_expiring(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    reply: &mut Reply,
    command: &str,
    word: &'static str,
) -> CommandResult {
    let expires = TimeOption { word, text: request.arg(2) }.resolve(command, context.now_ms())?;
    context.set_string(request.arg(1), request.arg(3).to_vec(), Some(expires))?;
    reply.simple("OK");
    Ok(())
}

/// `GETSET key value`: replies with the former string.
pub(super) fn getset(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let key = request.arg(1);
    write_or_null(context.string(key)?, reply);
    context.set_string(key, request.arg(2).to_vec(), None)
}

/// `GETEX key [EX s|PX ms|EXAT time|PXAT time|PERSIST]`
pub(super) fn getex(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let key = request.arg(1);
    let options = SetOptions::parse(request, 2, true)?;
    let now = context.now_ms();
    let expires = options.time.map(|time| time.resolve("getex", now)).transpose()?;
    if !context.exists_as(key, KeyType::String)? {
        reply.null();
        return Ok(());
    }
    write_or_null(context.string(key)?, reply);
    let database = context.selected();
    match expires {
        Some(at) if at <= now => {
            context.values.remove(database, key);
        }
        Some(_) => {
            context.values.expire(database, key, expires);
        }
        None if options.persist && context.value(key).is_some_and(|value| value.expires.is_some()) => {
            context.values.expire(database, key, None);
        }
        None => return Ok(()),
    }
    context.touch(key);
    Ok(())
}

/// `MSET key value ..`
pub(super) fn mset(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    set_pairs(context, request, "mset")?;
    reply.simple("OK");
    Ok(())
}

/// `MSETNX key value ..`: replies with 1 if no key existed; otherwise nothing is set.
pub(super) fn msetnx(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    if request.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity("msetnx"));
    }
    for key in request.args().skip(1).step_by(2) {
        if context.metadata(key)?.is_some() {
            reply.integer(0);
            return Ok(());
        }
    }
    set_pairs(context, request, "msetnx")?;
    reply.integer(1);
    Ok(())
}

fn set_pairs(context: &mut ValueContext<'_, '_>, request: &Request, command: &str) -> CommandResult {
    if request.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity(command));
    }
    let mut words = request.args().skip(1);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        context.set_string(key, value.to_vec(), None)?;
    }
    Ok(())
}
