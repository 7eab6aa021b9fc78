//! `XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT n]`, and the same options for XADD.

use super::{CommandError, CommandResult, ids};
use crate::model::EntryId;
use crate::tasks::keys::{NodeLimits, Transaction, Trim};
use crate::wire::resp::{Reply, Request};

/// Trims a key and replies with the number of entries removed, 0 for a missing key.
pub(in super::super) fn xtrim(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let mut options = TrimOptions::default();
    let mut at = 2;
    while at < request.len() {
        at = options.parse_option(request, at)?.ok_or(CommandError::SYNTAX)?;
    }
    let missing = CommandError::Static("ERR syntax error, XTRIM must be called with a trimming strategy");
    // `finish` rejects a missing strategy.
    let removed =
        options.finish(keys.node_limits(), Some(missing))?.map_or(Ok(0), |trim| keys.trim(request.arg(1), trim))?;
    reply.unsigned(removed);
    Ok(())
}

/// The entries to retain.
#[derive(Clone, Copy, Debug)]
enum TrimTarget {
    Len(u64),
    From(EntryId),
}

/// The trim options parsed so far.
#[derive(Debug, Default)]
pub(super) struct TrimOptions {
    target: Option<TrimTarget>,
    approximate: bool,
    limit: Option<u64>,
}

impl TrimOptions {
    /// Parses the option at `at` and returns the next index, or `None` if it is not a trim option.
    pub(super) fn parse_option(&mut self, request: &Request, at: usize) -> CommandResult<Option<usize>> {
        let (word, more) = (request.arg(at), request.len() - at - 1);
        if more == 0 {
            return Ok(None);
        }
        if ids::is_word(word, "LIMIT") {
            let limit = ids::integer(request.arg(at + 1))?;
            let limit =
                u64::try_from(limit).map_err(|_| CommandError::Static("ERR The LIMIT argument must be >= 0."))?;
            self.limit = Some(limit);
            return Ok(Some(at + 2));
        }
        let by_len = ids::is_word(word, "MAXLEN");
        if !by_len && !ids::is_word(word, "MINID") {
            return Ok(None);
        }
        if self.target.is_some() {
            return Err(CommandError::Static(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let mut at = at + 1;
        let mark = if more >= 2 { ids::until_nul(request.arg(at)) } else { b"" };
        self.approximate = mark == b"~";
        if matches!(mark, b"~" | b"=") {
            at += 1;
        }
        self.target = Some(if by_len {
            let len = ids::integer(request.arg(at))?;
            TrimTarget::Len(
                u64::try_from(len).map_err(|_| CommandError::Static("ERR The MAXLEN argument must be >= 0."))?,
            )
        } else {
            TrimTarget::From(ids::strict_id(request.arg(at), 0)?)
        });
        Ok(Some(at + 1))
    }

    /// Returns the requested trim, if any. `missing` is the error where one is required.
    pub(super) fn finish(self, nodes: NodeLimits, missing: Option<CommandError>) -> CommandResult<Option<Trim>> {
        if self.target.is_none() {
            if self.limit.is_some_and(|limit| limit > 0) {
                return Err(CommandError::Static(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                ));
            }
            missing.map_or(Ok(()), Err)?;
        }
        if self.limit.is_some() && !self.approximate {
            return Err(CommandError::Static("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        let limit = self.limit.unwrap_or(nodes.trim_limit());
        Ok(self.target.map(|target| match (target, self.approximate) {
            (TrimTarget::Len(len), false) => Trim::MaxLen(len),
            (TrimTarget::Len(len), true) => Trim::AboutMaxLen(len, limit),
            (TrimTarget::From(id), false) => Trim::MinId(id),
            (TrimTarget::From(id), true) => Trim::AboutMinId(id, limit),
        }))
    }
}
