//! Commands of the connection itself, and the few that only answer.

use std::time::SystemTime;

use super::ids::{integer, is_word, plain_integer, until_nul};
use super::keys::flush_mode;
use super::{Refusal, client, help_lines};
use crate::auth::AuthError;
use crate::server::redis::VERSION;
use crate::server::redis::session::{Replies, Session};
use crate::wire::resp::{Protocol, Reply, Request};

const WRONG_PASSWORD: Refusal = Refusal::Static("WRONGPASS invalid username-password pair or user is disabled.");

const HELLO_WITHOUT_AUTH: Refusal = Refusal::Static(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> \
     option can be used to authenticate the client and select the RESP protocol version at the same time",
);

/// `PING [text]`
pub(in super::super) fn ping(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    match request.len() {
        1 => reply.simple("PONG"),
        2 => reply.bulk(request.arg(1)),
        _ => return Err(Refusal::wrong_arity("ping")),
    }
    Ok(())
}

/// `ECHO text`
pub(in super::super) fn echo(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    reply.bulk(request.arg(1));
    Ok(())
}

/// `SELECT index`: there is one database.
pub(in super::super) fn select(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    if integer(request.arg(1))? != 0 {
        return Err(Refusal::Static("ERR DB index is out of range"));
    }
    reply.simple("OK");
    Ok(())
}

/// `AUTH [user] password`: the password is an access token, the user always `default`, who needs none in a store
/// without tokens.
pub(in super::super) fn auth(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let asks = session.port.state.auth.auth_required();
    match request.len() {
        2 if asks => {
            sign_in(session, request.arg(1))?;
            reply.simple("OK");
            Ok(())
        }
        2 => Err(Refusal::Static(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        )),
        3 if request.arg(1) != b"default" => Err(WRONG_PASSWORD),
        3 => {
            if asks {
                sign_in(session, request.arg(2))?;
            }
            reply.simple("OK");
            Ok(())
        }
        _ => Err(Refusal::SYNTAX),
    }
}

/// Signs in with what was given as a password.
fn sign_in(session: &mut Session, token: &[u8]) -> Result<(), Refusal> {
    session.sign_in(token).map_err(|denied| match denied {
        AuthError::Unreadable(why) => {
            Refusal::Text(format!("ERR the access tokens of this store cannot be read: {why}"))
        }
        _ => WRONG_PASSWORD,
    })
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub(in super::super) fn hello(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let mut protocol = reply.protocol();
    if let Some(version) = request.get(1) {
        let version =
            plain_integer(version).ok_or(Refusal::Static("ERR Protocol version is not an integer or out of range"))?;
        protocol = Protocol::from_version(version).ok_or(Refusal::Static("NOPROTO unsupported protocol version"))?;
    }
    let (mut name, mut user, mut at) = (None, None, 2);
    while at < request.len() {
        let (word, more) = (request.arg(at), request.len() - at - 1);
        if is_word(word, "AUTH") && more >= 2 {
            user = Some((request.arg(at + 1), request.arg(at + 2)));
            at += 3;
        } else if is_word(word, "SETNAME") && more >= 1 {
            name = Some(client::checked_name(request.arg(at + 1))?);
            at += 2;
        } else {
            return Err(Refusal::Bytes([b"ERR Syntax error in HELLO option '", until_nul(word), b"'"].concat()));
        }
    }
    match user {
        Some((user, _)) if user != b"default" => return Err(WRONG_PASSWORD),
        Some((_, token)) if session.port.state.auth.auth_required() => sign_in(session, token)?,
        _ => {}
    }
    if session.caller().is_none() {
        return Err(HELLO_WITHOUT_AUTH);
    }
    {
        let mut facts = session.client.facts.lock();
        facts.protocol = protocol;
        if let Some(name) = name {
            facts.name = name.to_vec();
        }
    }
    reply.set_protocol(protocol);
    reply.map(7);
    for (key, value) in [("server", "redis"), ("version", VERSION)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(protocol.version());
    reply.bulk(b"id");
    reply.unsigned(session.client.id);
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

/// `QUIT`
pub(in super::super) fn quit(session: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    session.closing = true;
    reply.simple("OK");
    Ok(())
}

/// `RESET`: as a new connection.
pub(in super::super) fn reset(session: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    session.end_transaction();
    session.sign_out();
    session.replies = Replies::default();
    {
        let mut facts = session.client.facts.lock();
        facts.name.clear();
        (facts.no_evict, facts.no_touch, facts.protocol) = (false, false, Protocol::default());
    }
    reply.set_protocol(Protocol::default());
    reply.simple("RESET");
    Ok(())
}

/// `TIME`: seconds and microseconds.
pub(in super::super) fn time(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    reply.array(2);
    reply.bulk_display(now.as_secs());
    reply.bulk_display(now.subsec_micros());
    Ok(())
}

/// `DEBUG`: not for anyone.
pub(in super::super) fn debug(_: &mut Session, _: &Request, _: &mut Reply) -> Result<(), Refusal> {
    Err(Refusal::Static("ERR DEBUG command not allowed."))
}

/// `FUNCTION FLUSH [ASYNC|SYNC]`: nothing is there to go.
pub(in super::super) fn function_flush(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    flush_mode(request, 2).ok_or(Refusal::Static("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"))?;
    reply.simple("OK");
    Ok(())
}

/// `FUNCTION LIST`: none.
pub(in super::super) fn function_list(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    reply.array(0);
    Ok(())
}

/// `FUNCTION HELP`
pub(in super::super) fn function_help(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    help_lines(reply, &["FUNCTION FLUSH [ASYNC|SYNC]: there are no functions", "FUNCTION LIST: none"]);
    Ok(())
}

/// `SCRIPT FLUSH [ASYNC|SYNC]`: nothing is there to go.
pub(in super::super) fn script_flush(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    flush_mode(request, 2).ok_or(Refusal::Static("ERR SCRIPT FLUSH only support SYNC|ASYNC option"))?;
    reply.simple("OK");
    Ok(())
}

/// `SCRIPT EXISTS sha..`: none of them.
pub(in super::super) fn script_exists(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let scripts = request.len() - 2;
    reply.array(scripts);
    (0..scripts).for_each(|_| reply.integer(0));
    Ok(())
}

/// `SCRIPT HELP`
pub(in super::super) fn script_help(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    help_lines(reply, &["SCRIPT EXISTS sha..: none is there", "SCRIPT FLUSH [ASYNC|SYNC]: there are no scripts"]);
    Ok(())
}
