//! All commands there are.

use super::commands::client;
use super::commands::command;
use super::commands::config;
use super::commands::connection;
use super::commands::expiry;
use super::commands::info;
use super::commands::keys;
use super::commands::{
    creates, group_creates, xack, xadd, xautoclaim, xclaim, xdel, xgroup, xinfo, xlen, xpending, xrange, xread,
    xreadgroup, xrevrange, xsetid, xtrim,
};
use super::table::{
    ADMIN, ALLOW_BUSY, BLOCKING, Command, DENYOOM, FAST, Flags, Group, HEAVY, LOADING, MOVABLEKEYS, NO_AUTH, NO_MULTI,
    NOSCRIPT, READONLY, Run, SKIP_LOG, STALE, WRITE,
};
use super::transaction;

/// Before AUTH, and at any time.
const ANY_TIME: Flags = NOSCRIPT | LOADING | STALE | ALLOW_BUSY;
const HELP: Flags = LOADING | STALE;

/// Sorted by name.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("auth", -2, ANY_TIME | FAST | NO_AUTH, Group::Connection, Run::Session(connection::auth))
        .about("1.0.0", "Signs in."),
    Command::new("client", -2, 0, Group::Connection, Run::Container(CLIENT)).about("2.4.0", "Connections."),
    Command::new("command", -1, HELP, Group::Server, Run::Container(COMMAND))
        .about("2.8.13", "What there is to say of every command."),
    Command::new("config", -2, 0, Group::Server, Run::Container(CONFIG)).about("2.0.0", "Settings."),
    Command::new("dbsize", 1, READONLY | FAST | HEAVY, Group::Server, Run::Look(|l, q, r| keys::dbsize(l, q, r)))
        .about("1.0.0", "Counts the keys."),
    Command::new("debug", -2, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server, Run::Session(connection::debug))
        .about("1.0.0", "Refused."),
    Command::new("del", -2, WRITE, Group::Generic, Run::Keys(keys::del)).keys(1, -1).about("1.0.0", "Removes keys."),
    Command::new("discard", 1, ANY_TIME | FAST, Group::Transactions, Run::Session(transaction::discard))
        .about("2.0.0", "Forgets the commands queued."),
    Command::new("echo", 2, LOADING | STALE | FAST, Group::Connection, Run::Session(connection::echo))
        .about("1.0.0", "Gives its argument back."),
    Command::new("exec", 1, NOSCRIPT | LOADING | STALE | SKIP_LOG, Group::Transactions, Run::Exec)
        .about("1.2.0", "Runs the commands queued."),
    Command::new("exists", -2, READONLY | FAST, Group::Generic, Run::Look(|l, q, r| keys::exists(l, q, r)))
        .keys(1, -1)
        .about("1.0.0", "Counts which of the keys are there."),
    Command::new("expire", -3, WRITE | FAST, Group::Generic, Run::Keys(expiry::expire))
        .keys(1, 1)
        .about("1.0.0", "Removes a key after so many seconds."),
    Command::new("expireat", -3, WRITE | FAST, Group::Generic, Run::Keys(expiry::expireat))
        .keys(1, 1)
        .about("1.2.0", "Removes a key at a time, in seconds."),
    Command::new("expiretime", 2, READONLY | FAST, Group::Generic, Run::Look(|l, q, r| expiry::expiretime(l, q, r)))
        .keys(1, 1)
        .about("7.0.0", "Tells when a key goes, in seconds."),
    Command::new("flushall", -1, WRITE, Group::Server, Run::Keys(keys::flush)).about("1.0.0", "Removes all keys."),
    Command::new("flushdb", -1, WRITE, Group::Server, Run::Keys(keys::flush)).about("1.0.0", "Removes all keys."),
    Command::new("function", -2, 0, Group::Scripting, Run::Container(FUNCTION))
        .about("7.0.0", "Functions, of which there are none."),
    Command::new("hello", -1, ANY_TIME | FAST | NO_AUTH, Group::Connection, Run::Session(connection::hello))
        .about("6.0.0", "Agrees on a protocol."),
    Command::new("info", -1, LOADING | STALE | HEAVY, Group::Server, Run::Report(info::info))
        .about("1.0.0", "Facts and counters of the server."),
    Command::new("keys", 2, READONLY | HEAVY, Group::Generic, Run::Look(|l, q, r| keys::keys(l, q, r)))
        .about("1.0.0", "Lists the keys whose names fit a pattern."),
    Command::new("multi", 1, ANY_TIME | FAST | NO_MULTI, Group::Transactions, Run::Session(transaction::multi))
        .about("1.2.0", "Begins a transaction."),
    Command::new("persist", 2, WRITE | FAST, Group::Generic, Run::Keys(expiry::persist))
        .keys(1, 1)
        .about("2.2.0", "Keeps a key that was to go."),
    Command::new("pexpire", -3, WRITE | FAST, Group::Generic, Run::Keys(expiry::pexpire))
        .keys(1, 1)
        .about("2.6.0", "Removes a key after so many milliseconds."),
    Command::new("pexpireat", -3, WRITE | FAST, Group::Generic, Run::Keys(expiry::pexpireat))
        .keys(1, 1)
        .about("2.6.0", "Removes a key at a time, in milliseconds."),
    Command::new("pexpiretime", 2, READONLY | FAST, Group::Generic, Run::Look(|l, q, r| expiry::pexpiretime(l, q, r)))
        .keys(1, 1)
        .about("7.0.0", "Tells when a key goes, in milliseconds."),
    Command::new("ping", -1, FAST, Group::Connection, Run::Session(connection::ping))
        .about("1.0.0", "Answers, if the server lives."),
    Command::new("pttl", 2, READONLY | FAST, Group::Generic, Run::Look(|l, q, r| expiry::pttl(l, q, r)))
        .keys(1, 1)
        .about("2.6.0", "Tells how long a key stays, in milliseconds."),
    Command::new("quit", -1, ANY_TIME | FAST | NO_AUTH, Group::Connection, Run::Session(connection::quit))
        .about("1.0.0", "Closes the connection."),
    Command::new("randomkey", 1, READONLY | HEAVY, Group::Generic, Run::Look(|l, q, r| keys::randomkey(l, q, r)))
        .about("1.0.0", "Names some key."),
    Command::new("reset", 1, ANY_TIME | FAST | NO_AUTH, Group::Connection, Run::Session(connection::reset))
        .about("6.2.0", "Makes the connection as new."),
    Command::new("scan", -2, READONLY | HEAVY, Group::Generic, Run::Look(|l, q, r| keys::scan(l, q, r)))
        .about("2.8.0", "Lists the keys, a few at a time."),
    Command::new("script", -2, 0, Group::Scripting, Run::Container(SCRIPT))
        .about("2.6.0", "Scripts, of which there are none."),
    Command::new("select", 2, LOADING | STALE | FAST | ALLOW_BUSY, Group::Connection, Run::Session(connection::select))
        .about("1.0.0", "Chooses a database: there is one, 0."),
    Command::new("time", 1, LOADING | STALE | FAST, Group::Server, Run::Session(connection::time))
        .about("2.6.0", "Tells the server's time."),
    Command::new("touch", -2, READONLY | FAST, Group::Generic, Run::Look(|l, q, r| keys::exists(l, q, r)))
        .keys(1, -1)
        .about("3.2.1", "Counts which of the keys are there."),
    Command::new("ttl", 2, READONLY | FAST, Group::Generic, Run::Look(|l, q, r| expiry::ttl(l, q, r)))
        .keys(1, 1)
        .about("1.0.0", "Tells how long a key stays, in seconds."),
    Command::new("type", 2, READONLY | FAST, Group::Generic, Run::Look(|l, q, r| keys::type_of(l, q, r)))
        .keys(1, 1)
        .about("1.0.0", "Tells what a key holds: a stream, or nothing."),
    Command::new("unlink", -2, WRITE | FAST, Group::Generic, Run::Keys(keys::del))
        .keys(1, -1)
        .about("4.0.0", "Removes keys."),
    Command::new("unwatch", 1, ANY_TIME | FAST, Group::Transactions, Run::Session(transaction::unwatch))
        .about("2.2.0", "Forgets the keys watched."),
    Command::new("watch", -2, ANY_TIME | FAST | NO_MULTI, Group::Transactions, Run::Link(transaction::watch))
        .keys(1, -1)
        .about("2.2.0", "Makes EXEC depend on keys staying as they are."),
    Command::new("xack", -4, WRITE | FAST, Group::Stream, Run::Keys(xack))
        .keys(1, 1)
        .about("5.0.0", "Tells that a consumer is done with entries."),
    Command::new("xadd", -5, WRITE | DENYOOM | FAST, Group::Stream, Run::Add(xadd, creates))
        .keys(1, 1)
        .about("5.0.0", "Adds an entry to a stream."),
    Command::new("xautoclaim", -6, WRITE | FAST, Group::Stream, Run::Keys(xautoclaim))
        .keys(1, 1)
        .about("6.2.0", "Gives a consumer what others have been holding for long."),
    Command::new("xclaim", -6, WRITE | FAST, Group::Stream, Run::Keys(xclaim))
        .keys(1, 1)
        .about("5.0.0", "Gives a consumer what others were given."),
    Command::new("xdel", -3, WRITE | FAST, Group::Stream, Run::Keys(xdel))
        .keys(1, 1)
        .about("5.0.0", "Deletes entries of a stream."),
    Command::new("xgroup", -2, 0, Group::Stream, Run::Container(XGROUP)).about("5.0.0", "Consumer groups."),
    Command::new("xinfo", -2, 0, Group::Stream, Run::Container(XINFO))
        .about("5.0.0", "What there is to say of a stream."),
    Command::new("xlen", 2, READONLY | FAST, Group::Stream, Run::Look(|l, q, r| xlen(l, q, r)))
        .keys(1, 1)
        .about("5.0.0", "Counts the entries of a stream."),
    Command::new("xpending", -3, READONLY, Group::Stream, Run::Keys(xpending))
        .keys(1, 1)
        .about("5.0.0", "Tells what waits for a consumer's word."),
    Command::new("xrange", -4, READONLY | HEAVY, Group::Stream, Run::Look(|l, q, r| xrange(l, q, r)))
        .keys(1, 1)
        .about("5.0.0", "Gives entries between two ids."),
    Command::new(
        "xread",
        -4,
        READONLY | BLOCKING | MOVABLEKEYS | HEAVY,
        Group::Stream,
        Run::LookOrWait(|l, q, r, b| xread(l, q, r, b)),
    )
    .streams(1)
    .about("5.0.0", "Gives entries behind an id, and waits for them if told so."),
    Command::new("xreadgroup", -7, WRITE | BLOCKING | MOVABLEKEYS, Group::Stream, Run::KeysOrWait(xreadgroup))
        .streams(4)
        .about("5.0.0", "Gives a consumer of a group what nobody else was given."),
    Command::new("xrevrange", -4, READONLY | HEAVY, Group::Stream, Run::Look(|l, q, r| xrevrange(l, q, r)))
        .keys(1, 1)
        .about("5.0.0", "Gives entries between two ids, the last one first."),
    Command::new("xsetid", -3, WRITE | DENYOOM | FAST, Group::Stream, Run::Keys(xsetid))
        .keys(1, 1)
        .about("5.0.0", "Sets where a stream goes on."),
    Command::new("xtrim", -4, WRITE, Group::Stream, Run::Keys(xtrim))
        .keys(1, 1)
        .about("5.0.0", "Removes the oldest entries of a stream."),
];

const SUB: Flags = NOSCRIPT | LOADING | STALE;

const CLIENT: &[Command] = &[
    Command::new("client|caching", 3, ANY_TIME, Group::Connection, Run::Session(client::caching)),
    Command::new("client|getname", 2, ANY_TIME, Group::Connection, Run::Session(client::getname)),
    Command::new("client|getredir", 2, ANY_TIME, Group::Connection, Run::Session(client::getredir)),
    Command::new("client|help", 2, HELP, Group::Connection, Run::Session(client::help)),
    Command::new("client|id", 2, ANY_TIME, Group::Connection, Run::Session(client::id)),
    Command::new("client|info", 2, SUB, Group::Connection, Run::Session(client::info)),
    Command::new("client|kill", -3, ADMIN | SUB, Group::Connection, Run::Session(client::kill)),
    Command::new("client|list", -2, ADMIN | SUB, Group::Connection, Run::Session(client::list)),
    Command::new("client|no-evict", 3, ADMIN | ANY_TIME, Group::Connection, Run::Session(client::no_evict)),
    Command::new("client|no-touch", 3, ANY_TIME, Group::Connection, Run::Session(client::no_touch)),
    Command::new("client|pause", -3, ADMIN | SUB, Group::Connection, Run::Session(client::pause)),
    Command::new("client|reply", 3, ANY_TIME | NO_MULTI, Group::Connection, Run::Session(client::reply)),
    Command::new("client|setinfo", 4, ANY_TIME, Group::Connection, Run::Session(client::setinfo)),
    Command::new("client|setname", 3, ANY_TIME, Group::Connection, Run::Session(client::setname)),
    Command::new("client|tracking", -3, SUB, Group::Connection, Run::Session(client::tracking)),
    Command::new("client|trackinginfo", 2, SUB, Group::Connection, Run::Session(client::trackinginfo)),
    Command::new("client|unblock", -3, ADMIN | SUB, Group::Connection, Run::Keys(client::unblock)),
];

const COMMAND: &[Command] = &[
    Command::new("command|count", 2, HELP, Group::Server, Run::Session(command::count)),
    Command::new("command|docs", -2, HELP, Group::Server, Run::Session(command::docs)),
    Command::new("command|getkeys", -3, HELP, Group::Server, Run::Session(command::getkeys)),
    Command::new("command|help", 2, HELP, Group::Server, Run::Session(command::help)),
    Command::new("command|info", -2, HELP, Group::Server, Run::Session(command::info)),
    Command::new("command|list", -2, HELP, Group::Server, Run::Session(command::list)),
];

const CONFIG: &[Command] = &[
    Command::new("config|get", -3, ADMIN | SUB, Group::Server, Run::Session(config::get)),
    Command::new("config|help", 2, HELP, Group::Server, Run::Session(config::help)),
    Command::new("config|resetstat", 2, ADMIN | SUB, Group::Server, Run::Session(config::resetstat)),
    Command::new("config|rewrite", 2, ADMIN | SUB, Group::Server, Run::Session(config::rewrite)),
    Command::new("config|set", -4, ADMIN | SUB, Group::Server, Run::Session(config::set)),
];

const FUNCTION: &[Command] = &[
    Command::new("function|flush", -2, WRITE | NOSCRIPT, Group::Scripting, Run::Session(connection::function_flush)),
    Command::new("function|help", 2, HELP, Group::Scripting, Run::Session(connection::function_help)),
    Command::new("function|list", -2, NOSCRIPT, Group::Scripting, Run::Session(connection::function_list)),
];

const SCRIPT: &[Command] = &[
    Command::new("script|exists", -3, NOSCRIPT | STALE, Group::Scripting, Run::Session(connection::script_exists)),
    Command::new("script|flush", -2, NOSCRIPT | STALE, Group::Scripting, Run::Session(connection::script_flush)),
    Command::new("script|help", 2, HELP, Group::Scripting, Run::Session(connection::script_help)),
];

const XGROUP: &[Command] = &[
    Command::new("xgroup|create", -5, WRITE | DENYOOM, Group::Stream, Run::Add(xgroup, group_creates)).keys(2, 2),
    Command::new("xgroup|createconsumer", 5, WRITE | DENYOOM, Group::Stream, Run::Keys(xgroup)).keys(2, 2),
    Command::new("xgroup|delconsumer", 5, WRITE, Group::Stream, Run::Keys(xgroup)).keys(2, 2),
    Command::new("xgroup|destroy", 4, WRITE, Group::Stream, Run::Keys(xgroup)).keys(2, 2),
    Command::new("xgroup|help", 2, HELP, Group::Stream, Run::Keys(xgroup)),
    Command::new("xgroup|setid", -5, WRITE, Group::Stream, Run::Keys(xgroup)).keys(2, 2),
];

const XINFO: &[Command] = &[
    Command::new("xinfo|consumers", 4, READONLY, Group::Stream, Run::Keys(xinfo)).keys(2, 2),
    Command::new("xinfo|groups", 3, READONLY, Group::Stream, Run::Keys(xinfo)).keys(2, 2),
    Command::new("xinfo|help", 2, HELP, Group::Stream, Run::Keys(xinfo)),
    Command::new("xinfo|stream", -3, READONLY, Group::Stream, Run::Keys(xinfo)).keys(2, 2),
];
