//! Commands on the connection itself, and those without any effect.

use std::time::SystemTime;

use super::ids::{integer, is_word, plain_integer, until_nul};
use super::keys::flush_mode;
use super::{CommandError, CommandResult, client, write_help};
use crate::auth::AuthError;
use crate::server::redis::VERSION;
use crate::server::redis::session::{RedisSession, ReplyMode};
use crate::tasks::keys::Database;
use crate::wire::resp::{Protocol, Reply, Request};

const WRONG_PASSWORD: CommandError =
    CommandError::Static("WRONGPASS invalid username-password pair or user is disabled.");

const HELLO_WITHOUT_AUTH: CommandError = CommandError::Static(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> \
     option can be used to authenticate the client and select the RESP protocol version at the same time",
);

/// `PING [text]`
pub(in super::super) fn ping(_: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    match request.len() {
        1 => reply.simple("PONG"),
        2 => reply.bulk(request.arg(1)),
        _ => return Err(CommandError::wrong_arity("ping")),
    }
    Ok(())
}

/// `ECHO text`
pub(in super::super) fn echo(_: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    reply.bulk(request.arg(1));
    Ok(())
}

/// `SELECT index`: selects a database, from 0 to 15.
pub(in super::super) fn select(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    session.select(selected_database(request)?);
    reply.simple("OK");
    Ok(())
}

/// Returns the database of a SELECT.
pub(in super::super) fn selected_database(request: &Request) -> CommandResult<Database> {
    Database::new(integer(request.arg(1))?).ok_or(CommandError::Static("ERR DB index is out of range"))
}

/// `AUTH [user] password`. The password is an access token. The user is always `default`, which needs
/// no password in a store without tokens.
pub(in super::super) fn auth(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let required = session.port.state.auth.auth_required();
    match request.len() {
        2 if required => {
            sign_in(session, request.arg(1))?;
            reply.simple("OK");
            Ok(())
        }
        2 => Err(CommandError::Static(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        )),
        3 if request.arg(1) != b"default" => Err(WRONG_PASSWORD),
        3 => {
            if required {
                sign_in(session, request.arg(2))?;
            }
            reply.simple("OK");
            Ok(())
        }
        _ => Err(CommandError::SYNTAX),
    }
}

/// Authenticates with a token sent as password.
fn sign_in(session: &mut RedisSession, token: &[u8]) -> CommandResult {
    session.sign_in(token).map_err(|error| match error {
        AuthError::Unreadable(reason) => {
            CommandError::Text(format!("ERR cannot read the access tokens of this store: {reason}"))
        }
        _ => WRONG_PASSWORD,
    })
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub(in super::super) fn hello(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let mut protocol = reply.protocol();
    if let Some(version) = request.get(1) {
        let version = plain_integer(version)
            .ok_or(CommandError::Static("ERR Protocol version is not an integer or out of range"))?;
        protocol =
            Protocol::from_version(version).ok_or(CommandError::Static("NOPROTO unsupported protocol version"))?;
    }
    let (mut name, mut user, mut at) = (None, None, 2);
    while at < request.len() {
        let (word, more) = (request.arg(at), request.len() - at - 1);
        if is_word(word, "AUTH") && more >= 2 {
            user = Some((request.arg(at + 1), request.arg(at + 2)));
            at += 3;
        } else if is_word(word, "SETNAME") && more >= 1 {
            name = Some(client::validate_name(request.arg(at + 1))?);
            at += 2;
        } else {
            return Err(CommandError::Bytes([b"ERR Syntax error in HELLO option '", until_nul(word), b"'"].concat()));
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
        let mut status = session.client.status.lock();
        status.protocol = protocol;
        if let Some(name) = name {
            status.name = name.to_vec();
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
pub(in super::super) fn quit(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    session.closing = true;
    reply.simple("OK");
    Ok(())
}

/// `RESET`: restores the state of a new connection.
pub(in super::super) fn reset(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    session.end_transaction();
    session.sign_out();
    session.select(Database::default());
    session.reply_mode = ReplyMode::default();
    {
        let mut status = session.client.status.lock();
        status.name.clear();
        (status.no_evict, status.no_touch, status.protocol) = (false, false, Protocol::default());
    }
    reply.set_protocol(Protocol::default());
    reply.simple("RESET");
    Ok(())
}

/// `TIME`: returns seconds and microseconds.
pub(in super::super) fn time(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    reply.array(2);
    reply.bulk_display(now.as_secs());
    reply.bulk_display(now.subsec_micros());
    Ok(())
}

/// `DEBUG`: always rejected.
pub(in super::super) fn debug(_: &mut RedisSession, _: &Request, _: &mut Reply) -> CommandResult {
    Err(CommandError::Static("ERR DEBUG command not allowed."))
}

/// `FUNCTION FLUSH [ASYNC|SYNC]`: has no effect, since there are no functions.
pub(in super::super) fn function_flush(_: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    flush_mode(request, 2).ok_or(CommandError::Static("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"))?;
    reply.simple("OK");
    Ok(())
}

/// `FUNCTION LIST`: always returns an empty list.
pub(in super::super) fn function_list(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.array(0);
    Ok(())
}

/// `FUNCTION HELP`
pub(in super::super) fn function_help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    write_help(reply, &["FUNCTION FLUSH [ASYNC|SYNC]: accepted, without effect", "FUNCTION LIST: always empty"]);
    Ok(())
}

/// `SCRIPT FLUSH [ASYNC|SYNC]`: has no effect, since there are no scripts.
pub(in super::super) fn script_flush(_: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    flush_mode(request, 2).ok_or(CommandError::Static("ERR SCRIPT FLUSH only support SYNC|ASYNC option"))?;
    reply.simple("OK");
    Ok(())
}

/// `SCRIPT EXISTS sha..`: reports each script as missing.
pub(in super::super) fn script_exists(_: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let scripts = request.len() - 2;
    reply.array(scripts);
    (0..scripts).for_each(|_| reply.integer(0));
    Ok(())
}

/// `SCRIPT HELP`
pub(in super::super) fn script_help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    write_help(reply, &["SCRIPT EXISTS sha..: always 0", "SCRIPT FLUSH [ASYNC|SYNC]: accepted, without effect"]);
    Ok(())
}
