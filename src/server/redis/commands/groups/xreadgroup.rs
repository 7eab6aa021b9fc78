//! `XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] STREAMS key.. id..`
//!
//! `>` reads entries not yet delivered to any consumer of the group. Any other ID reads the
//! consumer's own pending entries after it and never blocks, even if there are none.

use std::time::Duration;

use super::super::entries::entry;
use super::super::xread::{ReadArgs, key_header, keys_header};
use super::super::{BlockingCommand, CommandError, CommandOutcome, CommandResult, ids};
use super::{map_group_error, no_key_or_group};
use crate::model::EntryId;
use crate::tasks::keys::{KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// A parsed XREADGROUP.
struct GroupRead {
    group: Box<[u8]>,
    consumer: Box<[u8]>,
    count: usize,
    ack: bool,
    positions: Vec<GroupPosition>,
}

struct GroupPosition {
    key: Box<[u8]>,
    start: GroupReadStart,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GroupReadStart {
    /// Entries that were never delivered to the group.
    New,
    /// Pending entries of this consumer after this ID.
    Pending(EntryId),
}

/// Delivers entries to a consumer. `may_block` is false inside a transaction.
pub(in crate::server::redis) fn xreadgroup(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
    may_block: bool,
) -> CommandResult<CommandOutcome> {
    let args = ReadArgs::parse(request, keys.now().as_millis(), true)?;
    let (group, consumer) = args.group.ok_or(CommandError::Static("ERR Missing GROUP option for XREADGROUP"))?;
    let (group, consumer) = (request.arg(group), request.arg(consumer));
    let mut positions = Vec::with_capacity(args.streams);
    for at in args.keys..args.keys + args.streams {
        let key = request.arg(at);
        map_group_error(keys.check_group(key, group), || missing(key, group))?;
        positions.push(GroupPosition { key: key.into(), start: read_start(request.arg(at + args.streams))? });
    }
    let read =
        GroupRead { group: group.into(), consumer: consumer.into(), count: args.count, ack: !args.no_ack, positions };
    if read.write_entries(keys, reply)? {
        return Ok(CommandOutcome::Done);
    }
    let Some(block) = args.block.filter(|_| may_block) else {
        reply.null_array();
        return Ok(CommandOutcome::Done);
    };
    Ok(CommandOutcome::Block(read.block(block)))
}

fn read_start(id: &[u8]) -> CommandResult<GroupReadStart> {
    let meaningless = |id| {
        CommandError::Text(format!(
            "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this \
             consumer by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just return \
             an empty result set."
        ))
    };
    match ids::until_nul(id) {
        b"$" => Err(meaningless('$')),
        b"+" => Err(meaningless('+')),
        b">" => Ok(GroupReadStart::New),
        _ => Ok(match ids::strict_id(id, 0)? {
            // As in Redis, which represents `>` by this ID.
            EntryId::MAX => GroupReadStart::New,
            id => GroupReadStart::Pending(id),
        }),
    }
}

fn missing(key: &[u8], group: &[u8]) -> CommandError {
    no_key_or_group(key, group, " in XREADGROUP with GROUP option")
}

impl GroupRead {
    /// Writes the entries of each key. Returns `false`, having written nothing, if there are none.
    fn write_entries(&self, keys: &mut Transaction<'_>, reply: &mut Reply) -> CommandResult<bool> {
        let start_len = reply.len();
        let mut served = 0;
        for GroupPosition { key, start } in &self.positions {
            let before = reply.len();
            key_header(key, reply);
            let items = reply.len();
            let delivered = match start {
                GroupReadStart::New => {
                    keys.read_new(key, &self.group, &self.consumer, self.count, self.ack, &mut |new| entry(new, reply))
                }
                GroupReadStart::Pending(after) => keys.read_pending(
                    key,
                    &self.group,
                    &self.consumer,
                    *after,
                    self.count,
                    &mut |id, found| match found {
                        Some(found) => entry(found, reply),
                        None => {
                            reply.array(2);
                            reply.id(id);
                            reply.null_array();
                        }
                    },
                ),
            };
            let delivered = map_group_error(delivered, || missing(key, &self.group))?;
            if delivered == 0 && *start == GroupReadStart::New {
                reply.truncate(before);
            } else {
                reply.array_at(items, delivered);
                served += 1;
            }
        }
        if served > 0 {
            keys_header(start_len, served, reply);
        }
        Ok(served > 0)
    }

    /// Runs the whole command again.
    fn retry(&self, keys: &mut Transaction<'_>, reply: &mut Reply) -> CommandResult<bool> {
        for GroupPosition { key, .. } in &self.positions {
            map_group_error(keys.check_group(key, &self.group), || missing(key, &self.group))?;
        }
        self.write_entries(keys, reply)
    }

    fn block(self, block: Duration) -> BlockingCommand {
        let keys = self.positions.iter().map(|position| position.key.clone()).collect();
        BlockingCommand::until(keys, block, move |keys, reply| self.retry(keys, reply))
    }
}
