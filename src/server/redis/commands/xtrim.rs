//! `XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT n]`, and the same options for XADD.

use super::{Refusal, ids};
use crate::model::EntryId;
use crate::tasks::keys::{NODE_ENTRIES_MAX, Transaction, Trim};
use crate::wire::resp::{Reply, Request};

/// Entries that `~` takes away at most where no `LIMIT` is given: those of a hundred nodes.
const LIMIT_DEFAULT: u64 = 100 * NODE_ENTRIES_MAX as u64;

/// Trims a key; answers how many entries went, 0 where there is no key.
pub(in super::super) fn xtrim(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let mut options = TrimOptions::default();
    let mut at = 2;
    while at < request.len() {
        at = options.take(request, at)?.ok_or(Refusal::SYNTAX)?;
    }
    let without = Refusal::Static("ERR syntax error, XTRIM must be called with a trimming strategy");
    // Without a strategy it was refused.
    let gone = options.finish(Some(without))?.map_or(Ok(0), |trim| keys.trim(request.arg(1), trim))?;
    reply.unsigned(gone);
    Ok(())
}

/// What stays.
#[derive(Clone, Copy, Debug)]
enum Keep {
    Len(u64),
    From(EntryId),
}

/// The options of a trim, as they come.
#[derive(Debug, Default)]
pub(super) struct TrimOptions {
    keep: Option<Keep>,
    about: bool,
    limit: Option<u64>,
}

impl TrimOptions {
    /// Takes the option at `at` and gives the place behind it; `None` if it is none of these.
    pub(super) fn take(&mut self, request: &Request, at: usize) -> Result<Option<usize>, Refusal> {
        let (word, more) = (request.arg(at), request.len() - at - 1);
        if more == 0 {
            return Ok(None);
        }
        if ids::is_word(word, "LIMIT") {
            let limit = ids::integer(request.arg(at + 1))?;
            let limit = u64::try_from(limit).map_err(|_| Refusal::Static("ERR The LIMIT argument must be >= 0."))?;
            self.limit = Some(limit);
            return Ok(Some(at + 2));
        }
        let by_len = ids::is_word(word, "MAXLEN");
        if !by_len && !ids::is_word(word, "MINID") {
            return Ok(None);
        }
        if self.keep.is_some() {
            return Err(Refusal::Static(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let mut at = at + 1;
        let mark = if more >= 2 { ids::until_nul(request.arg(at)) } else { b"" };
        self.about = mark == b"~";
        if matches!(mark, b"~" | b"=") {
            at += 1;
        }
        self.keep = Some(if by_len {
            let len = ids::integer(request.arg(at))?;
            Keep::Len(u64::try_from(len).map_err(|_| Refusal::Static("ERR The MAXLEN argument must be >= 0."))?)
        } else {
            Keep::From(ids::strict_id(request.arg(at), 0)?)
        });
        Ok(Some(at + 1))
    }

    /// The trim they ask for, if they do; `without` is the refusal where they must.
    pub(super) fn finish(self, without: Option<Refusal>) -> Result<Option<Trim>, Refusal> {
        if self.keep.is_none() {
            if self.limit.is_some_and(|limit| limit > 0) {
                return Err(Refusal::Static(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                ));
            }
            without.map_or(Ok(()), Err)?;
        }
        if self.limit.is_some() && !self.about {
            return Err(Refusal::Static("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        Ok(self.keep.map(|keep| match (keep, self.about) {
            (Keep::Len(len), false) => Trim::MaxLen(len),
            (Keep::Len(len), true) => Trim::AboutMaxLen(len, limit),
            (Keep::From(id), false) => Trim::MinId(id),
            (Keep::From(id), true) => Trim::AboutMinId(id, limit),
        }))
    }
}
