//! `XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD n]`, `SETID key group id|$ [ENTRIESREAD n]`,
//! `DESTROY key group`, `CREATECONSUMER key group consumer`, `DELCONSUMER key group consumer`, `HELP`

use super::super::{Refusal, help_lines, ids, unknown_subcommand, wrong_subcommand};
use super::{found, no_group};
use crate::tasks::keys::{GroupError, GroupResult, GroupStart, KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

const NO_KEY: Refusal = Refusal::Static(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
     option to create an empty stream automatically.",
);

const HELP: &[&str] = &[
    "XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD n]: a group that reads from behind the id; MKSTREAM makes the key",
    "XGROUP SETID key group id|$ [ENTRIESREAD n]: from where it reads on",
    "XGROUP DESTROY key group: the group goes, and what waits for its acks",
    "XGROUP CREATECONSUMER key group consumer: one more who reads for it",
    "XGROUP DELCONSUMER key group consumer: one goes, and what waits for its acks",
];

/// Makes, moves and removes groups and consumers.
pub(in crate::server::redis) fn xgroup(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let (key, group, consumer) = (request.arg(2), request.arg(3), request.arg(4));
    let is = |name| ids::is_word(request.arg(1), name);
    if is("CREATE") {
        create(keys, request)?;
        reply.simple("OK");
    } else if is("SETID") {
        set_id(keys, request)?;
        reply.simple("OK");
    } else if is("DESTROY") {
        let there = of_key(keys.destroy_group(key, group), key, group)?;
        reply.integer(there.into());
    } else if is("CREATECONSUMER") {
        let new = of_key(keys.create_consumer(key, group, consumer), key, group)?;
        reply.integer(new.into());
    } else if is("DELCONSUMER") {
        let pending = of_key(keys.delete_consumer(key, group, consumer), key, group)?;
        reply.unsigned(pending);
    } else if is("HELP") {
        help_lines(reply, HELP);
    } else {
        return Err(unknown_subcommand(request));
    }
    Ok(())
}

/// The key that an XGROUP makes if there is none; `None` if it makes none, or will be refused for its
/// arguments.
pub(in crate::server::redis) fn creates(request: &Request) -> Option<&[u8]> {
    let create = ids::is_word(request.arg(1), "CREATE") && request.len() >= 5;
    let makes = create && Options::parse(request, true).is_ok_and(|options| options.make_key);
    (makes && new_start(request.arg(4)).is_ok()).then(|| request.arg(2))
}

fn create(keys: &mut Transaction<'_>, request: &Request) -> Result<(), Refusal> {
    let (key, group) = (request.arg(2), request.arg(3));
    let Options { make_key, entries_read } = Options::parse(request, true)?;
    // Before the id: only what can be made is looked at further.
    if !make_key && keys.metadata(key)?.is_none() {
        return Err(NO_KEY);
    }
    let start = new_start(request.arg(4))?;
    of_key(keys.create_group(key, group, start, entries_read, make_key), key, group)
}

fn set_id(keys: &mut Transaction<'_>, request: &Request) -> Result<(), Refusal> {
    let (key, group, id) = (request.arg(2), request.arg(3), request.arg(4));
    let entries_read = Options::parse(request, false)?.entries_read;
    of_key(keys.check_group(key, group), key, group)?;
    let start = match ids::until_nul(id) {
        b"$" => GroupStart::Last,
        _ => GroupStart::After(ids::any_id(id, 0)?),
    };
    of_key(keys.set_group(key, group, start, entries_read), key, group)
}

fn new_start(id: &[u8]) -> Result<GroupStart, Refusal> {
    match ids::until_nul(id) {
        b"$" => Ok(GroupStart::Last),
        _ => ids::strict_id(id, 0).map(GroupStart::After),
    }
}

fn of_key<T>(done: GroupResult<T>, key: &[u8], group: &[u8]) -> Result<T, Refusal> {
    let no_key = matches!(done, Ok(Err(GroupError::NoKey)));
    found(done, || if no_key { NO_KEY } else { no_group(key, group) })
}

/// What comes behind the id of CREATE and SETID.
struct Options {
    make_key: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(request: &Request, of_create: bool) -> Result<Self, Refusal> {
        let mut options = Self { make_key: false, entries_read: None };
        let mut at = 5;
        while at < request.len() {
            let word = request.arg(at);
            if of_create && ids::is_word(word, "MKSTREAM") {
                options.make_key = true;
                at += 1;
            } else if ids::is_word(word, "ENTRIESREAD") && at + 1 < request.len() {
                options.entries_read = match ids::integer(request.arg(at + 1))? {
                    -1 => None,
                    read => Some(
                        u64::try_from(read)
                            .map_err(|_| Refusal::Static("ERR value for ENTRIESREAD must be positive or -1"))?,
                    ),
                };
                at += 2;
            } else {
                return Err(wrong_subcommand(request));
            }
        }
        Ok(options)
    }
}
