//! `XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] STREAMS key.. id..`
//!
//! `>` stands for what no consumer of the group was given; any other id for what the consumer was
//! given after it and has not acknowledged, which is answered at once, even if that is nothing.

use std::time::Duration;

use super::super::entries::entry;
use super::super::xread::{ReadArgs, key_header, keys_header};
use super::super::{Outcome, Refusal, Wait, ids};
use super::{found, no_key_or_group};
use crate::model::EntryId;
use crate::tasks::keys::{KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// A consumer's question.
struct Reader {
    group: Box<[u8]>,
    consumer: Box<[u8]>,
    count: usize,
    ack: bool,
    places: Vec<Place>,
}

struct Place {
    key: Box<[u8]>,
    since: Since,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    /// What the group was not given.
    New,
    /// What waits for this consumer's ack above this id.
    Again(EntryId),
}

/// Entries to a consumer. `may_block` is false inside a transaction.
pub(in crate::server::redis) fn xreadgroup(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
    may_block: bool,
) -> Result<Outcome, Refusal> {
    let args = ReadArgs::parse(request, keys.now().as_millis(), true)?;
    let (group, consumer) = args.group.ok_or(Refusal::Static("ERR Missing GROUP option for XREADGROUP"))?;
    let (group, consumer) = (request.arg(group), request.arg(consumer));
    let mut places = Vec::with_capacity(args.streams);
    for at in args.keys..args.keys + args.streams {
        let key = request.arg(at);
        found(keys.check_group(key, group), || missing(key, group))?;
        places.push(Place { key: key.into(), since: since(request.arg(at + args.streams))? });
    }
    let reader =
        Reader { group: group.into(), consumer: consumer.into(), count: args.count, ack: !args.no_ack, places };
    if reader.serve(keys, reply)? {
        return Ok(Outcome::Done);
    }
    let Some(block) = args.block.filter(|_| may_block) else {
        reply.null_array();
        return Ok(Outcome::Done);
    };
    Ok(Outcome::Wait(reader.wait(block)))
}

fn since(id: &[u8]) -> Result<Since, Refusal> {
    let meaningless = |id| {
        Refusal::Text(format!(
            "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this \
             consumer by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just return \
             an empty result set."
        ))
    };
    match ids::until_nul(id) {
        b"$" => Err(meaningless('$')),
        b"+" => Err(meaningless('+')),
        b">" => Ok(Since::New),
        _ => Ok(match ids::strict_id(id, 0)? {
            // As in Redis, whose `>` is this id.
            EntryId::MAX => Since::New,
            id => Since::Again(id),
        }),
    }
}

fn missing(key: &[u8], group: &[u8]) -> Refusal {
    no_key_or_group(key, group, " in XREADGROUP with GROUP option")
}

impl Reader {
    /// Writes what is there of each key; `false`, and nothing is written, if that is nothing.
    fn serve(&self, keys: &mut Transaction<'_>, reply: &mut Reply) -> Result<bool, Refusal> {
        let whole = reply.len();
        let mut served = 0;
        for Place { key, since } in &self.places {
            let before = reply.len();
            key_header(key, reply);
            let items = reply.len();
            let given =
                match since {
                    Since::New => keys
                        .read_new(key, &self.group, &self.consumer, self.count, self.ack, &mut |new| entry(new, reply)),
                    Since::Again(after) => {
                        keys.read_pending(key, &self.group, &self.consumer, *after, self.count, &mut |id, there| {
                            match there {
                                Some(there) => entry(there, reply),
                                None => {
                                    reply.array(2);
                                    reply.id(id);
                                    reply.null_array();
                                }
                            }
                        })
                    }
                };
            let given = found(given, || missing(key, &self.group))?;
            if given == 0 && *since == Since::New {
                reply.truncate(before);
            } else {
                reply.array_at(items, given);
                served += 1;
            }
        }
        if served > 0 {
            keys_header(whole, served, reply);
        }
        Ok(served > 0)
    }

    /// The whole command again.
    fn again(&self, keys: &mut Transaction<'_>, reply: &mut Reply) -> Result<bool, Refusal> {
        for Place { key, .. } in &self.places {
            found(keys.check_group(key, &self.group), || missing(key, &self.group))?;
        }
        self.serve(keys, reply)
    }

    fn wait(self, block: Duration) -> Wait {
        let keys = self.places.iter().map(|place| place.key.clone()).collect();
        Wait::until(keys, block, move |keys, reply| self.again(keys, reply))
    }
}
