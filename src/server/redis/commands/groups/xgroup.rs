//! `XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD n]`, `SETID key group id|$ [ENTRIESREAD n]`,
//! `DESTROY key group`, `CREATECONSUMER key group consumer`, `DELCONSUMER key group consumer`, `HELP`

use super::super::{CommandError, CommandResult, ids, unknown_subcommand, write_help, wrong_subcommand};
use super::{map_group_error, no_group};
use crate::tasks::keys::{GroupError, GroupResult, GroupStart, KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

const NO_KEY: CommandError = CommandError::Static(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
     option to create an empty stream automatically.",
);

const HELP: &[&str] = &[
    "XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD n]: create a group that reads after the ID; MKSTREAM creates the key",
    "XGROUP SETID key group id|$ [ENTRIESREAD n]: set the ID the group reads after",
    "XGROUP DESTROY key group: delete a group and its pending entries",
    "XGROUP CREATECONSUMER key group consumer: create a consumer",
    "XGROUP DELCONSUMER key group consumer: delete a consumer and its pending entries",
];

/// Creates, changes and deletes groups and consumers.
pub(in crate::server::redis) fn xgroup(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> CommandResult {
    let (key, group, consumer) = (request.arg(2), request.arg(3), request.arg(4));
    let is = |name| ids::is_word(request.arg(1), name);
    if is("CREATE") {
        create(keys, request)?;
        reply.simple("OK");
    } else if is("SETID") {
        set_id(keys, request)?;
        reply.simple("OK");
    } else if is("DESTROY") {
        let existed = map_key_error(keys.destroy_group(key, group), key, group)?;
        reply.integer(existed.into());
    } else if is("CREATECONSUMER") {
        let created = map_key_error(keys.create_consumer(key, group, consumer), key, group)?;
        reply.integer(created.into());
    } else if is("DELCONSUMER") {
        let pending = map_key_error(keys.delete_consumer(key, group, consumer), key, group)?;
        reply.unsigned(pending);
    } else if is("HELP") {
        write_help(reply, HELP);
    } else {
        return Err(unknown_subcommand(request));
    }
    Ok(())
}

/// Returns the key that the XGROUP creates if it is missing, or `None` if it creates none or has
/// invalid arguments.
pub(in crate::server::redis) fn key_to_create(request: &Request) -> Option<&[u8]> {
    let create = ids::is_word(request.arg(1), "CREATE") && request.len() >= 5;
    let creates = create && XgroupOptions::parse(request, true).is_ok_and(|options| options.create_key);
    (creates && new_start(request.arg(4)).is_ok()).then(|| request.arg(2))
}

fn create(keys: &mut Transaction<'_>, request: &Request) -> CommandResult {
    let (key, group) = (request.arg(2), request.arg(3));
    let XgroupOptions { create_key, entries_read } = XgroupOptions::parse(request, true)?;
    // Checked before the ID, as in Redis.
    if !create_key && keys.metadata(key)?.is_none() {
        return Err(NO_KEY);
    }
    let start = new_start(request.arg(4))?;
    map_key_error(keys.create_group(key, group, start, entries_read, create_key), key, group)
}

fn set_id(keys: &mut Transaction<'_>, request: &Request) -> CommandResult {
    let (key, group, id) = (request.arg(2), request.arg(3), request.arg(4));
    let entries_read = XgroupOptions::parse(request, false)?.entries_read;
    map_key_error(keys.check_group(key, group), key, group)?;
    let start = match ids::until_nul(id) {
        b"$" => GroupStart::Last,
        _ => GroupStart::After(ids::any_id(id, 0)?),
    };
    map_key_error(keys.set_group(key, group, start, entries_read), key, group)
}

fn new_start(id: &[u8]) -> CommandResult<GroupStart> {
    match ids::until_nul(id) {
        b"$" => Ok(GroupStart::Last),
        _ => ids::strict_id(id, 0).map(GroupStart::After),
    }
}

fn map_key_error<T>(done: GroupResult<T>, key: &[u8], group: &[u8]) -> CommandResult<T> {
    let no_key = matches!(done, Ok(Err(GroupError::NoKey)));
    map_group_error(done, || if no_key { NO_KEY } else { no_group(key, group) })
}

/// The options of CREATE and SETID, after the ID.
struct XgroupOptions {
    create_key: bool,
    entries_read: Option<u64>,
}

impl XgroupOptions {
    fn parse(request: &Request, of_create: bool) -> CommandResult<Self> {
        let mut options = Self { create_key: false, entries_read: None };
        let mut at = 5;
        while at < request.len() {
            let word = request.arg(at);
            if of_create && ids::is_word(word, "MKSTREAM") {
                options.create_key = true;
                at += 1;
            } else if ids::is_word(word, "ENTRIESREAD") && at + 1 < request.len() {
                options.entries_read = match ids::integer(request.arg(at + 1))? {
                    -1 => None,
                    read => Some(
                        u64::try_from(read)
                            .map_err(|_| CommandError::Static("ERR value for ENTRIESREAD must be positive or -1"))?,
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
