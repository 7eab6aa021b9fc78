//! `CLIENT`: lists, names and disconnects clients.

use std::sync::Arc;
use std::time::Duration;

use super::ids::{integer, is_word, plain_integer, until_nul};
use super::{CommandError, CommandResult, write_help};
use crate::server::redis::clients::RedisClient;
use crate::server::redis::session::{RedisSession, ReplyMode};
use crate::tasks::keys::{Transaction, WakeReason};
use crate::wire::resp::{Reply, Request};

/// Client types; all clients here are of the first.
const TYPES: [&str; 5] = ["normal", "master", "primary", "replica", "pubsub"];

/// Checks that a name contains no character that would corrupt `CLIENT LIST`.
pub(super) fn validate_name(name: &[u8]) -> CommandResult<&[u8]> {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(name);
    }
    Err(CommandError::Static("ERR Client names cannot contain spaces, newlines or special characters."))
}

/// `CLIENT ID`
pub(in super::super) fn id(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.unsigned(session.client.id);
    Ok(())
}

/// `CLIENT GETNAME`
pub(in super::super) fn getname(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    match &session.client.status.lock().name[..] {
        [] => reply.null(),
        name => reply.bulk(name),
    }
    Ok(())
}

/// `CLIENT SETNAME name`; an empty name removes it.
pub(in super::super) fn setname(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    session.client.status.lock().name = validate_name(request.arg(2))?.to_vec();
    reply.simple("OK");
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME|LIB-VER text`
pub(in super::super) fn setinfo(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let (option, text) = (request.arg(2), request.arg(3));
    let mut status = session.client.status.lock();
    let (name, value) = if is_word(option, "LIB-NAME") {
        ("lib-name", &mut status.library_name)
    } else if is_word(option, "LIB-VER") {
        ("lib-ver", &mut status.library_version)
    } else {
        return Err(CommandError::Bytes([b"ERR Unrecognized option '", until_nul(option), b"'"].concat()));
    };
    if !text.iter().all(u8::is_ascii_graphic) {
        return Err(CommandError::Text(format!("ERR {name} cannot contain spaces, newlines or special characters.")));
    }
    *value = text.to_vec();
    reply.simple("OK");
    Ok(())
}

/// `CLIENT INFO`
pub(in super::super) fn info(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    session.client.status.lock().command = "client|info";
    reply.verbatim(&lines(std::slice::from_ref(&session.client)));
    Ok(())
}

/// `CLIENT LIST [TYPE type] [ID id..]`
pub(in super::super) fn list(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    session.client.status.lock().command = "client|list";
    let mut clients = session.port.clients.all();
    match (request.get(2), request.len()) {
        (None, _) => {}
        (Some(word), 4) if is_word(word, "TYPE") => {
            if !is_normal_type(request.arg(3))? {
                clients.clear();
            }
        }
        (Some(word), 4..) if is_word(word, "ID") => {
            let ids: Option<Vec<i64>> = request.args().skip(3).map(plain_integer).collect();
            let ids = ids.filter(|ids| ids.iter().all(|id| *id > 0)).ok_or(CommandError::SYNTAX)?;
            clients.retain(|client| ids.iter().any(|id| u64::try_from(*id) == Ok(client.id)));
        }
        _ => return Err(CommandError::SYNTAX),
    }
    reply.verbatim(&lines(&clients));
    Ok(())
}

fn lines(clients: &[Arc<RedisClient>]) -> String {
    let mut text = Vec::new();
    for client in clients {
        text.extend_from_slice(&client.line());
        text.push(b'\n');
    }
    // All names were checked to be ASCII.
    String::from_utf8_lossy(&text).into_owned()
}

/// Reports whether this client type is `normal`; fails if it is unknown.
fn is_normal_type(kind: &[u8]) -> CommandResult<bool> {
    match TYPES.iter().chain(&["slave"]).find(|known| is_word(kind, known)) {
        Some(known) => Ok(*known == "normal"),
        None => Err(CommandError::Bytes([b"ERR Unknown client type '", until_nul(kind), b"'"].concat())),
    }
}

/// `CLIENT KILL addr`, `CLIENT KILL [ID id] [ADDR addr] [LADDR addr] [TYPE type] [USER user] [SKIPME yes|no] [MAXAGE s]`
pub(in super::super) fn kill(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let old_form = request.len() == 3;
    let filter = if old_form {
        KillFilter { addr: Some(request.arg(2)), ..KillFilter::default() }
    } else {
        KillFilter::parse(request)?
    };
    let own = session.client.id;
    let mut killed = 0;
    for client in session.port.clients.all() {
        if !filter.matches(&client) || (client.id == own && filter.skip_me) {
            continue;
        }
        killed += 1;
        if client.id == own {
            session.closing = true;
        } else {
            client.disconnect.cancel();
        }
    }
    match (old_form, killed) {
        (true, 0) => return Err(CommandError::Static("ERR No such client")),
        (true, _) => reply.simple("OK"),
        (false, killed) => reply.integer(killed),
    }
    Ok(())
}

/// The clients to disconnect.
#[derive(Default)]
struct KillFilter<'r> {
    id: Option<u64>,
    addr: Option<&'r [u8]>,
    local_addr: Option<&'r [u8]>,
    age_min: Option<Duration>,
    none: bool,
    skip_me: bool,
}

impl<'r> KillFilter<'r> {
    fn parse(request: &'r Request) -> CommandResult<Self> {
        let mut filter = Self { skip_me: true, ..Self::default() };
        let mut at = 2;
        while at < request.len() {
            let (word, value) = (request.arg(at), request.get(at + 1).ok_or(CommandError::SYNTAX)?);
            if is_word(word, "ID") {
                let id = plain_integer(value).ok_or(CommandError::SYNTAX)?;
                let id = u64::try_from(id).ok().filter(|id| *id > 0);
                filter.id = Some(id.ok_or(CommandError::Static("ERR client-id should be greater than 0"))?);
            } else if is_word(word, "ADDR") {
                filter.addr = Some(value);
            } else if is_word(word, "LADDR") {
                filter.local_addr = Some(value);
            } else if is_word(word, "TYPE") {
                filter.none |= !is_normal_type(value)?;
            } else if is_word(word, "USER") {
                if value != b"default" {
                    return Err(CommandError::Bytes([b"ERR No such user '", until_nul(value), b"'"].concat()));
                }
            } else if is_word(word, "SKIPME") && (is_word(value, "YES") || is_word(value, "NO")) {
                filter.skip_me = is_word(value, "YES");
            } else if is_word(word, "MAXAGE") {
                let age =
                    plain_integer(value).ok_or(CommandError::Static("ERR maxage is not an integer or out of range"))?;
                let age = u64::try_from(age).ok().filter(|age| *age > 0);
                let age = age.ok_or(CommandError::Static("ERR maxage should be greater than 0"))?;
                filter.age_min = Some(Duration::from_secs(age));
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 2;
        }
        Ok(filter)
    }

    fn matches(&self, client: &RedisClient) -> bool {
        !self.none
            && self.id.is_none_or(|id| id == client.id)
            && self.addr.is_none_or(|addr| addr == client.peer.to_string().as_bytes())
            && self.local_addr.is_none_or(|addr| addr == client.local.to_string().as_bytes())
            && self.age_min.is_none_or(|age| client.since.elapsed() >= age)
    }
}

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`
pub(in super::super) fn unblock(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let reason = match request.get(3) {
        Some(reason) if request.len() == 4 && is_word(reason, "ERROR") => WakeReason::Unblocked,
        Some(reason) if request.len() == 4 && !is_word(reason, "TIMEOUT") => {
            return Err(CommandError::Static("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
        _ => WakeReason::TimedOut,
    };
    let id = integer(request.arg(2))?;
    let woken = u64::try_from(id).is_ok_and(|id| keys.unblock(id, reason));
    reply.integer(i64::from(woken));
    Ok(())
}

fn on_or_off(request: &Request) -> CommandResult<bool> {
    let word = request.arg(2);
    if is_word(word, "ON") || is_word(word, "OFF") { Ok(is_word(word, "ON")) } else { Err(CommandError::SYNTAX) }
}

/// `CLIENT NO-EVICT on|off`: accepted, though no client is ever evicted.
pub(in super::super) fn no_evict(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    session.client.status.lock().no_evict = on_or_off(request)?;
    reply.simple("OK");
    Ok(())
}

/// `CLIENT NO-TOUCH on|off`: accepted, though access times are not tracked.
pub(in super::super) fn no_touch(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    session.client.status.lock().no_touch = on_or_off(request)?;
    reply.simple("OK");
    Ok(())
}

/// `CLIENT REPLY on|off|skip`
pub(in super::super) fn reply(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let word = request.arg(2);
    session.reply_mode = match session.reply_mode {
        _ if is_word(word, "ON") => ReplyMode::On,
        _ if is_word(word, "OFF") => ReplyMode::Off,
        ReplyMode::Off if is_word(word, "SKIP") => ReplyMode::Off,
        _ if is_word(word, "SKIP") => ReplyMode::SkipNext,
        _ => return Err(CommandError::SYNTAX),
    };
    reply.simple("OK");
    Ok(())
}

/// `CLIENT PAUSE ms`: not supported, except for 0 milliseconds.
pub(in super::super) fn pause(_: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    match plain_integer(request.arg(2)) {
        None => Err(CommandError::Static("ERR timeout is not an integer or out of range")),
        Some(..0) => Err(CommandError::Static("ERR timeout is negative")),
        Some(0) => {
            reply.simple("OK");
            Ok(())
        }
        Some(_) => Err(CommandError::Static("ERR pausing clients is not supported")),
    }
}

/// `CLIENT TRACKING on|off`: only `off` is supported.
pub(in super::super) fn tracking(_: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    if on_or_off(request)? {
        return Err(CommandError::Static("ERR client tracking is not supported"));
    }
    reply.simple("OK");
    Ok(())
}

/// `CLIENT TRACKINGINFO`
pub(in super::super) fn trackinginfo(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.integer(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(())
}

/// `CLIENT GETREDIR`
pub(in super::super) fn getredir(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.integer(-1);
    Ok(())
}

/// `CLIENT CACHING yes|no`
pub(in super::super) fn caching(_: &mut RedisSession, _: &Request, _: &mut Reply) -> CommandResult {
    Err(CommandError::Static(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    ))
}

/// `CLIENT HELP`
pub(in super::super) fn help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    write_help(
        reply,
        &[
            "CLIENT ID | INFO | GETNAME | SETNAME name | SETINFO LIB-NAME|LIB-VER text: show or name this connection",
            "CLIENT LIST [TYPE type] [ID id..]: list connections",
            "CLIENT KILL addr | [ID id] [ADDR addr] [LADDR addr] [TYPE type] [SKIPME yes|no] [MAXAGE seconds]: close connections",
            "CLIENT UNBLOCK id [TIMEOUT|ERROR]: unblock a client",
            "CLIENT REPLY ON|OFF|SKIP: set which commands get a reply",
            "CLIENT NO-EVICT ON|OFF, NO-TOUCH ON|OFF, TRACKING OFF: accepted, without effect",
        ],
    );
    Ok(())
}
