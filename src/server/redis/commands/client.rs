//! `CLIENT`: who is connected, and what each is called.

use std::sync::Arc;
use std::time::Duration;

use super::ids::{integer, is_word, plain_integer, until_nul};
use super::{Refusal, help_lines};
use crate::server::redis::clients::Client;
use crate::server::redis::session::{Replies, Session};
use crate::tasks::keys::{Transaction, WakeReason};
use crate::wire::resp::{Reply, Request};

/// Kinds of clients; all are the first here.
const TYPES: [&str; 5] = ["normal", "master", "primary", "replica", "pubsub"];

/// A name without anything that would break a list.
pub(super) fn checked_name(name: &[u8]) -> Result<&[u8], Refusal> {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(name);
    }
    Err(Refusal::Static("ERR Client names cannot contain spaces, newlines or special characters."))
}

/// `CLIENT ID`
pub(in super::super) fn id(session: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    reply.unsigned(session.client.id);
    Ok(())
}

/// `CLIENT GETNAME`
pub(in super::super) fn getname(session: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    match &session.client.facts.lock().name[..] {
        [] => reply.null(),
        name => reply.bulk(name),
    }
    Ok(())
}

/// `CLIENT SETNAME name`; an empty one takes it back.
pub(in super::super) fn setname(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    session.client.facts.lock().name = checked_name(request.arg(2))?.to_vec();
    reply.simple("OK");
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME|LIB-VER text`
pub(in super::super) fn setinfo(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let (option, text) = (request.arg(2), request.arg(3));
    let mut facts = session.client.facts.lock();
    let (name, value) = if is_word(option, "LIB-NAME") {
        ("lib-name", &mut facts.library_name)
    } else if is_word(option, "LIB-VER") {
        ("lib-ver", &mut facts.library_version)
    } else {
        return Err(Refusal::Bytes([b"ERR Unrecognized option '", until_nul(option), b"'"].concat()));
    };
    if !text.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::Text(format!("ERR {name} cannot contain spaces, newlines or special characters.")));
    }
    *value = text.to_vec();
    reply.simple("OK");
    Ok(())
}

/// `CLIENT INFO`
pub(in super::super) fn info(session: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    session.client.facts.lock().command = "client|info";
    reply.verbatim(&lines(std::slice::from_ref(&session.client)));
    Ok(())
}

/// `CLIENT LIST [TYPE type] [ID id..]`
pub(in super::super) fn list(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    session.client.facts.lock().command = "client|list";
    let mut clients = session.port.clients.all();
    match (request.get(2), request.len()) {
        (None, _) => {}
        (Some(word), 4) if is_word(word, "TYPE") => {
            if !checked_type(request.arg(3))? {
                clients.clear();
            }
        }
        (Some(word), 4..) if is_word(word, "ID") => {
            let ids: Option<Vec<i64>> = request.args().skip(3).map(plain_integer).collect();
            let ids = ids.filter(|ids| ids.iter().all(|id| *id > 0)).ok_or(Refusal::SYNTAX)?;
            clients.retain(|client| ids.iter().any(|id| u64::try_from(*id) == Ok(client.id)));
        }
        _ => return Err(Refusal::SYNTAX),
    }
    reply.verbatim(&lines(&clients));
    Ok(())
}

fn lines(clients: &[Arc<Client>]) -> String {
    let mut text = Vec::new();
    for client in clients {
        text.extend_from_slice(&client.line());
        text.push(b'\n');
    }
    // Every name in it was checked to be ASCII.
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether clients of this type are those we have.
fn checked_type(kind: &[u8]) -> Result<bool, Refusal> {
    match TYPES.iter().chain(&["slave"]).find(|known| is_word(kind, known)) {
        Some(known) => Ok(*known == "normal"),
        None => Err(Refusal::Bytes([b"ERR Unknown client type '", until_nul(kind), b"'"].concat())),
    }
}

/// `CLIENT KILL addr`, `CLIENT KILL [ID id] [ADDR addr] [LADDR addr] [TYPE type] [USER user] [SKIPME yes|no] [MAXAGE s]`
pub(in super::super) fn kill(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let old_form = request.len() == 3;
    let filter =
        if old_form { Filter { addr: Some(request.arg(2)), ..Filter::default() } } else { Filter::parse(request)? };
    let own = session.client.id;
    let mut killed = 0;
    for client in session.port.clients.all() {
        if !filter.fits(&client) || (client.id == own && filter.skip_me) {
            continue;
        }
        killed += 1;
        if client.id == own {
            session.closing = true;
        } else {
            client.end.cancel();
        }
    }
    match (old_form, killed) {
        (true, 0) => return Err(Refusal::Static("ERR No such client")),
        (true, _) => reply.simple("OK"),
        (false, killed) => reply.integer(killed),
    }
    Ok(())
}

/// Which clients are to be killed.
#[derive(Default)]
struct Filter<'r> {
    id: Option<u64>,
    addr: Option<&'r [u8]>,
    local_addr: Option<&'r [u8]>,
    age_min: Option<Duration>,
    none: bool,
    skip_me: bool,
}

impl<'r> Filter<'r> {
    fn parse(request: &'r Request) -> Result<Self, Refusal> {
        let mut filter = Self { skip_me: true, ..Self::default() };
        let mut at = 2;
        while at < request.len() {
            let (word, value) = (request.arg(at), request.get(at + 1).ok_or(Refusal::SYNTAX)?);
            if is_word(word, "ID") {
                let id = plain_integer(value).ok_or(Refusal::SYNTAX)?;
                let id = u64::try_from(id).ok().filter(|id| *id > 0);
                filter.id = Some(id.ok_or(Refusal::Static("ERR client-id should be greater than 0"))?);
            } else if is_word(word, "ADDR") {
                filter.addr = Some(value);
            } else if is_word(word, "LADDR") {
                filter.local_addr = Some(value);
            } else if is_word(word, "TYPE") {
                filter.none |= !checked_type(value)?;
            } else if is_word(word, "USER") {
                if value != b"default" {
                    return Err(Refusal::Bytes([b"ERR No such user '", until_nul(value), b"'"].concat()));
                }
            } else if is_word(word, "SKIPME") && (is_word(value, "YES") || is_word(value, "NO")) {
                filter.skip_me = is_word(value, "YES");
            } else if is_word(word, "MAXAGE") {
                let age =
                    plain_integer(value).ok_or(Refusal::Static("ERR maxage is not an integer or out of range"))?;
                let age = u64::try_from(age).ok().filter(|age| *age > 0);
                let age = age.ok_or(Refusal::Static("ERR maxage should be greater than 0"))?;
                filter.age_min = Some(Duration::from_secs(age));
            } else {
                return Err(Refusal::SYNTAX);
            }
            at += 2;
        }
        Ok(filter)
    }

    fn fits(&self, client: &Client) -> bool {
        !self.none
            && self.id.is_none_or(|id| id == client.id)
            && self.addr.is_none_or(|addr| addr == client.peer.to_string().as_bytes())
            && self.local_addr.is_none_or(|addr| addr == client.local.to_string().as_bytes())
            && self.age_min.is_none_or(|age| client.since.elapsed() >= age)
    }
}

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`
pub(in super::super) fn unblock(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let why = match request.get(3) {
        Some(reason) if request.len() == 4 && is_word(reason, "ERROR") => WakeReason::Unblocked,
        Some(reason) if request.len() == 4 && !is_word(reason, "TIMEOUT") => {
            return Err(Refusal::Static("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
        _ => WakeReason::TimedOut,
    };
    let id = integer(request.arg(2))?;
    let woken = u64::try_from(id).is_ok_and(|id| keys.unblock(id, why));
    reply.integer(i64::from(woken));
    Ok(())
}

fn on_or_off(request: &Request) -> Result<bool, Refusal> {
    let word = request.arg(2);
    if is_word(word, "ON") || is_word(word, "OFF") { Ok(is_word(word, "ON")) } else { Err(Refusal::SYNTAX) }
}

/// `CLIENT NO-EVICT on|off`: no client is evicted here.
pub(in super::super) fn no_evict(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    session.client.facts.lock().no_evict = on_or_off(request)?;
    reply.simple("OK");
    Ok(())
}

/// `CLIENT NO-TOUCH on|off`: no key is ever touched here.
pub(in super::super) fn no_touch(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    session.client.facts.lock().no_touch = on_or_off(request)?;
    reply.simple("OK");
    Ok(())
}

/// `CLIENT REPLY on|off|skip`
pub(in super::super) fn reply(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let word = request.arg(2);
    session.replies = match session.replies {
        _ if is_word(word, "ON") => Replies::On,
        _ if is_word(word, "OFF") => Replies::Off,
        Replies::Off if is_word(word, "SKIP") => Replies::Off,
        _ if is_word(word, "SKIP") => Replies::SkipNext,
        _ => return Err(Refusal::SYNTAX),
    };
    reply.simple("OK");
    Ok(())
}

/// `CLIENT PAUSE ms`: nobody is made to wait, but for no time at all.
pub(in super::super) fn pause(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    match plain_integer(request.arg(2)) {
        None => Err(Refusal::Static("ERR timeout is not an integer or out of range")),
        Some(..0) => Err(Refusal::Static("ERR timeout is negative")),
        Some(0) => {
            reply.simple("OK");
            Ok(())
        }
        Some(_) => Err(Refusal::Static("ERR clients cannot be paused on this server")),
    }
}

/// `CLIENT TRACKING on|off`: there is nothing to track.
pub(in super::super) fn tracking(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    if on_or_off(request)? {
        return Err(Refusal::Static("ERR keys are not tracked on this server"));
    }
    reply.simple("OK");
    Ok(())
}

/// `CLIENT TRACKINGINFO`
pub(in super::super) fn trackinginfo(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
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
pub(in super::super) fn getredir(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    reply.integer(-1);
    Ok(())
}

/// `CLIENT CACHING yes|no`
pub(in super::super) fn caching(_: &mut Session, _: &Request, _: &mut Reply) -> Result<(), Refusal> {
    Err(Refusal::Static(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    ))
}

/// `CLIENT HELP`
pub(in super::super) fn help(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    help_lines(
        reply,
        &[
            "CLIENT ID | INFO | GETNAME | SETNAME name | SETINFO LIB-NAME|LIB-VER text: this connection",
            "CLIENT LIST [TYPE type] [ID id..]: all connections, or some",
            "CLIENT KILL addr | [ID id] [ADDR addr] [LADDR addr] [TYPE type] [SKIPME yes|no] [MAXAGE seconds]: ends some",
            "CLIENT UNBLOCK id [TIMEOUT|ERROR]: ends the wait of a blocking command",
            "CLIENT REPLY ON|OFF|SKIP: which commands are answered",
            "CLIENT NO-EVICT ON|OFF, NO-TOUCH ON|OFF, TRACKING OFF: taken, and change nothing",
        ],
    );
    Ok(())
}
