//! `XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT n]] *|id field value ..`

use super::xtrim::TrimOptions;
use super::{Refusal, ids};
use crate::model::{EntryFields, EntryId};
use crate::tasks::keys::{KeyReader, NewId, Transaction, Trim};
use crate::wire::resp::{Reply, Request};

/// Adds an entry and answers its id.
pub(in super::super) fn xadd(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let args = AddArgs::parse(request)?;
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

/// The key that an XADD makes if there is none; `None` if it makes none, or will be refused for its
/// arguments.
pub(in super::super) fn creates(request: &Request) -> Option<&[u8]> {
    let makes = AddArgs::parse(request).is_ok_and(|args| args.creates);
    makes.then(|| request.arg(1))
}

/// What comes before the fields.
#[derive(Debug)]
struct AddArgs {
    creates: bool,
    trim: Option<Trim>,
    id: NewId,
    /// The first field's argument.
    fields: usize,
}

impl AddArgs {
    fn parse(request: &Request) -> Result<Self, Refusal> {
        let mut options = TrimOptions::default();
        let mut creates = true;
        let mut id = NewId::Auto;
        let mut at = 2;
        while at < request.len() {
            let word = request.arg(at);
            if ids::until_nul(word) == b"*" {
                break;
            }
            if let Some(next) = options.take(request, at)? {
                at = next;
            } else if ids::is_word(word, "NOMKSTREAM") {
                creates = false;
                at += 1;
            } else {
                // The first word that is no option is the id, whatever it is.
                id = match ids::id_of_any_seq(word)? {
                    Some(ms) => NewId::AutoSeq(ms),
                    None => NewId::Exact(ids::strict_id(word, 0)?),
                };
                break;
            }
        }
        let trim = options.finish(None)?;
        let fields = at + 1;
        let words = request.len().saturating_sub(fields);
        if words < 2 || !words.is_multiple_of(2) {
            return Err(Refusal::wrong_arity("xadd"));
        }
        if id == NewId::Exact(EntryId::MIN) {
            return Err(Refusal::Static("ERR The ID specified in XADD must be greater than 0-0"));
        }
        Ok(Self { creates, trim, id, fields })
    }
}
