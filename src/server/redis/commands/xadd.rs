//! `XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT n]] *|id field value ..`

use super::xtrim::TrimOptions;
use super::{CommandError, CommandResult, ids};
use crate::model::{EntryFields, EntryId};
use crate::tasks::keys::{KeyReader, NewId, NodeLimits, Transaction, Trim};
use crate::wire::resp::{Reply, Request};

/// Appends an entry and replies with its ID.
pub(in super::super) fn xadd(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let args = XaddArgs::parse(request, keys.node_limits())?;
    let key = request.arg(1);
    if !args.creates && keys.metadata(key)?.is_none() {
        reply.null();
        return Ok(());
    }
    let mut words = request.args().skip(args.fields);
    let mut fields = EntryFields::with_capacity(words.len() / 2);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        fields.push((name.into(), value.into()));
    }
    let id = keys.add(key, args.id, fields)?;
    if let Some(trim) = args.trim {
        keys.trim(key, trim)?;
    }
    reply.id(id);
    Ok(())
}

/// Returns the key that the XADD creates if it is missing, or `None` if it creates none or has
/// invalid arguments.
pub(in super::super) fn key_to_create(request: &Request) -> Option<&[u8]> {
    let makes = XaddArgs::parse(request, NodeLimits::default()).is_ok_and(|args| args.creates);
    makes.then(|| request.arg(1))
}

/// The arguments before the fields.
#[derive(Debug)]
struct XaddArgs {
    creates: bool,
    trim: Option<Trim>,
    id: NewId,
    /// Index of the first field.
    fields: usize,
}

impl XaddArgs {
    fn parse(request: &Request, nodes: NodeLimits) -> CommandResult<Self> {
        let mut options = TrimOptions::default();
        let mut creates = true;
        let mut id = NewId::Auto;
        let mut at = 2;
        while at < request.len() {
            let word = request.arg(at);
            if ids::until_nul(word) == b"*" {
                break;
            }
            if let Some(next) = options.parse_option(request, at)? {
                at = next;
            } else if ids::is_word(word, "NOMKSTREAM") {
                creates = false;
                at += 1;
            } else {
                // The first word that is not an option must be the ID.
                id = match ids::id_of_any_seq(word)? {
                    Some(ms) => NewId::AutoSeq(ms),
                    None => NewId::Exact(ids::strict_id(word, 0)?),
                };
                break;
            }
        }
        let trim = options.finish(nodes, None)?;
        let fields = at + 1;
        let words = request.len().saturating_sub(fields);
        if words < 2 || !words.is_multiple_of(2) {
            return Err(CommandError::wrong_arity("xadd"));
        }
        if id == NewId::Exact(EntryId::MIN) {
            return Err(CommandError::Static("ERR The ID specified in XADD must be greater than 0-0"));
        }
        Ok(Self { creates, trim, id, fields })
    }
}
