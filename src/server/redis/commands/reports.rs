//! `ACL`, `SLOWLOG` and `LATENCY`, as far as clients and tools ask for them: there is one user, and
//! nothing is recorded.

use super::ids::plain_integer;
use super::{CommandError, CommandResult, write_help};
use crate::server::redis::session::RedisSession;
use crate::wire::resp::{Reply, Request};

/// `ACL WHOAMI`: the user is always `default`; its permissions are those of the access token.
pub(in super::super) fn acl_whoami(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.bulk(b"default");
    Ok(())
}

/// `ACL HELP`
pub(in super::super) fn acl_help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    write_help(reply, &["ACL WHOAMI: show the user of the connection"]);
    Ok(())
}

/// `SLOWLOG GET [count]`: always empty.
pub(in super::super) fn slowlog_get(_: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let is_count = |text: &[u8]| plain_integer(text).is_some_and(|count| count >= -1);
    if request.len() > 3 || request.get(2).is_some_and(|text| !is_count(text)) {
        return Err(CommandError::Static("ERR count should be greater than or equal to -1"));
    }
    reply.array(0);
    Ok(())
}

/// `SLOWLOG LEN`: always 0.
pub(in super::super) fn slowlog_len(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.integer(0);
    Ok(())
}

/// `SLOWLOG RESET`: has no effect.
pub(in super::super) fn slowlog_reset(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.simple("OK");
    Ok(())
}

/// `SLOWLOG HELP`
pub(in super::super) fn slowlog_help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    let lines = ["SLOWLOG GET [count]: always empty", "SLOWLOG LEN: always 0", "SLOWLOG RESET: without effect"];
    write_help(reply, &lines);
    Ok(())
}

/// `LATENCY LATEST`, `LATENCY HISTORY event`: always empty.
pub(in super::super) fn latency_events(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.array(0);
    Ok(())
}

/// `LATENCY HISTOGRAM [command..]`: always empty.
pub(in super::super) fn latency_histogram(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.map(0);
    Ok(())
}

/// `LATENCY RESET [event..]`: always 0.
pub(in super::super) fn latency_reset(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.integer(0);
    Ok(())
}

/// `LATENCY DOCTOR`
pub(in super::super) fn latency_doctor(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.verbatim("Latency is not recorded here; the metrics of the server's HTTP port show it.");
    Ok(())
}

/// `LATENCY HELP`
pub(in super::super) fn latency_help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    let lines = [
        "LATENCY DOCTOR: where to find latencies",
        "LATENCY HISTOGRAM [command..]: always empty",
        "LATENCY HISTORY event: always empty",
        "LATENCY LATEST: always empty",
        "LATENCY RESET [event..]: without effect",
    ];
    write_help(reply, &lines);
    Ok(())
}
