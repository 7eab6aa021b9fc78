//! The list of the commands of every server.

use super::commands::{
    connection, expiry, info, key_to_create, keys, xack, xadd, xautoclaim, xclaim, xdel, xlen, xpending, xrange, xread,
    xreadgroup, xrevrange, xsetid, xtrim,
};
use super::subcommands::{
    ACL, CLIENT, COMMAND, CONFIG, FUNCTION, LATENCY, MEMORY, OBJECT, SCRIPT, SLOWLOG, XGROUP, XINFO,
};
use super::table::{
    ADMIN, ALLOW_BUSY, BLOCKING, CommandFlags, CommandFn, CommandGroup, CommandSpec, DENYOOM, FAST, HEAVY, LOADING,
    MOVABLEKEYS, NO_AUTH, NO_MULTI, NOSCRIPT, READONLY, SKIP_LOG, STALE, WRITE,
};
use super::transaction;

/// Allowed at any time, even before AUTH.
pub(super) const ANY_TIME: CommandFlags = NOSCRIPT | LOADING | STALE | ALLOW_BUSY;
/// Flags of informative commands, allowed in any state of the server.
pub(super) const HELP: CommandFlags = LOADING | STALE;

/// Sorted by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("acl", -2, 0, CommandGroup::Server, CommandFn::Container(ACL))
        .about("6.0.0", "Contains the commands on users."),
    CommandSpec::new(
        "auth",
        -2,
        ANY_TIME | FAST | NO_AUTH,
        CommandGroup::Connection,
        CommandFn::Session(connection::auth),
    )
    .about("1.0.0", "Authenticates with an access token."),
    CommandSpec::new("client", -2, 0, CommandGroup::Connection, CommandFn::Container(CLIENT))
        .about("2.4.0", "Contains the commands on client connections."),
    CommandSpec::new("command", -1, HELP, CommandGroup::Server, CommandFn::Container(COMMAND))
        .about("2.8.13", "Describes all commands."),
    CommandSpec::new("config", -2, 0, CommandGroup::Server, CommandFn::Container(CONFIG))
        .about("2.0.0", "Contains the commands on settings."),
    CommandSpec::new(
        "dbsize",
        1,
        READONLY | FAST | HEAVY,
        CommandGroup::Server,
        CommandFn::Read(|l, q, r| keys::dbsize(l, q, r)),
    )
    .about("1.0.0", "Returns the number of keys."),
    CommandSpec::new(
        "debug",
        -2,
        ADMIN | NOSCRIPT | LOADING | STALE,
        CommandGroup::Server,
        CommandFn::Session(connection::debug),
    )
    .about("1.0.0", "Not supported."),
    CommandSpec::new("del", -2, WRITE, CommandGroup::Generic, CommandFn::KeyWrite(|k, q, r| keys::del(k, q, r)))
        .keys(1, -1)
        .about("1.0.0", "Deletes keys."),
    CommandSpec::new(
        "discard",
        1,
        ANY_TIME | FAST,
        CommandGroup::Transactions,
        CommandFn::Session(transaction::discard),
    )
    .about("2.0.0", "Discards the queued commands."),
    CommandSpec::new("echo", 2, LOADING | STALE | FAST, CommandGroup::Connection, CommandFn::Session(connection::echo))
        .about("1.0.0", "Returns its argument."),
    CommandSpec::new("exec", 1, NOSCRIPT | LOADING | STALE | SKIP_LOG, CommandGroup::Transactions, CommandFn::Exec)
        .about("1.2.0", "Runs the queued commands as a transaction."),
    CommandSpec::new(
        "exists",
        -2,
        READONLY | FAST,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| keys::exists(l, q, r)),
    )
    .keys(1, -1)
    .about("1.0.0", "Counts the given keys that exist."),
    CommandSpec::new(
        "expire",
        -3,
        WRITE | FAST,
        CommandGroup::Generic,
        CommandFn::KeyWrite(|k, q, r| expiry::expire(k, q, r)),
    )
    .keys(1, 1)
    .about("1.0.0", "Sets the time to live of a key in seconds."),
    CommandSpec::new(
        "expireat",
        -3,
        WRITE | FAST,
        CommandGroup::Generic,
        CommandFn::KeyWrite(|k, q, r| expiry::expireat(k, q, r)),
    )
    .keys(1, 1)
    .about("1.2.0", "Sets the expiration time of a key as a Unix time in seconds."),
    CommandSpec::new(
        "expiretime",
        2,
        READONLY | FAST,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| expiry::expiretime(l, q, r)),
    )
    .keys(1, 1)
    .about("7.0.0", "Returns the expiration time of a key as a Unix time in seconds."),
    CommandSpec::new(
        "flushall",
        -1,
        WRITE,
        CommandGroup::Server,
        CommandFn::KeyWrite(|k, q, r| keys::flushall(k, q, r)),
    )
    .about("1.0.0", "Deletes the keys of all databases."),
    CommandSpec::new("flushdb", -1, WRITE, CommandGroup::Server, CommandFn::KeyWrite(|k, q, r| keys::flushdb(k, q, r)))
        .about("1.0.0", "Deletes the keys of the selected database."),
    CommandSpec::new("function", -2, 0, CommandGroup::Scripting, CommandFn::Container(FUNCTION))
        .about("7.0.0", "Contains the commands on functions, which are not supported."),
    CommandSpec::new(
        "hello",
        -1,
        ANY_TIME | FAST | NO_AUTH,
        CommandGroup::Connection,
        CommandFn::Session(connection::hello),
    )
    .about("6.0.0", "Negotiates the protocol version."),
    CommandSpec::new("info", -1, LOADING | STALE | HEAVY, CommandGroup::Server, CommandFn::SessionRead(info::info))
        .about("1.0.0", "Returns details and counters of the server."),
    CommandSpec::new(
        "keys",
        2,
        READONLY | HEAVY,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| keys::keys(l, q, r)),
    )
    .about("1.0.0", "Lists the keys that match a pattern."),
    CommandSpec::new("latency", -2, 0, CommandGroup::Server, CommandFn::Container(LATENCY))
        .about("2.8.13", "Contains the commands on latencies, which are not recorded."),
    CommandSpec::new("memory", -2, 0, CommandGroup::Server, CommandFn::Container(MEMORY))
        .about("4.0.0", "Contains the commands on memory."),
    CommandSpec::new(
        "multi",
        1,
        ANY_TIME | FAST | NO_MULTI,
        CommandGroup::Transactions,
        CommandFn::Session(transaction::multi),
    )
    .about("1.2.0", "Starts queueing commands for a transaction."),
    CommandSpec::new("object", -2, 0, CommandGroup::Generic, CommandFn::Container(OBJECT))
        .about("2.2.3", "Contains the commands on how values are stored."),
    CommandSpec::new(
        "persist",
        2,
        WRITE | FAST,
        CommandGroup::Generic,
        CommandFn::KeyWrite(|k, q, r| expiry::persist(k, q, r)),
    )
    .keys(1, 1)
    .about("2.2.0", "Removes the expiration time, so that the key persists."),
    CommandSpec::new(
        "pexpire",
        -3,
        WRITE | FAST,
        CommandGroup::Generic,
        CommandFn::KeyWrite(|k, q, r| expiry::pexpire(k, q, r)),
    )
    .keys(1, 1)
    .about("2.6.0", "Sets the time to live of a key in milliseconds."),
    CommandSpec::new(
        "pexpireat",
        -3,
        WRITE | FAST,
        CommandGroup::Generic,
        CommandFn::KeyWrite(|k, q, r| expiry::pexpireat(k, q, r)),
    )
    .keys(1, 1)
    .about("2.6.0", "Sets the expiration time of a key as a Unix time in milliseconds."),
    CommandSpec::new(
        "pexpiretime",
        2,
        READONLY | FAST,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| expiry::pexpiretime(l, q, r)),
    )
    .keys(1, 1)
    .about("7.0.0", "Returns the expiration time of a key as a Unix time in milliseconds."),
    CommandSpec::new("ping", -1, FAST, CommandGroup::Connection, CommandFn::Session(connection::ping))
        .about("1.0.0", "Checks that the server responds."),
    CommandSpec::new(
        "pttl",
        2,
        READONLY | FAST,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| expiry::pttl(l, q, r)),
    )
    .keys(1, 1)
    .about("2.6.0", "Returns the time to live of a key in milliseconds."),
    CommandSpec::new(
        "quit",
        -1,
        ANY_TIME | FAST | NO_AUTH,
        CommandGroup::Connection,
        CommandFn::Session(connection::quit),
    )
    .about("1.0.0", "Closes the connection after a reply."),
    CommandSpec::new(
        "randomkey",
        1,
        READONLY | HEAVY,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| keys::randomkey(l, q, r)),
    )
    .about("1.0.0", "Returns the name of a random key."),
    CommandSpec::new(
        "reset",
        1,
        ANY_TIME | FAST | NO_AUTH,
        CommandGroup::Connection,
        CommandFn::Session(connection::reset),
    )
    .about("6.2.0", "Resets the connection to its initial state."),
    CommandSpec::new(
        "scan",
        -2,
        READONLY | HEAVY,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| keys::scan(l, q, r)),
    )
    .about("2.8.0", "Lists the keys page by page."),
    CommandSpec::new("script", -2, 0, CommandGroup::Scripting, CommandFn::Container(SCRIPT))
        .about("2.6.0", "Contains the commands on scripts, which are not supported."),
    CommandSpec::new(
        "select",
        2,
        LOADING | STALE | FAST | ALLOW_BUSY,
        CommandGroup::Connection,
        CommandFn::Session(connection::select),
    )
    .about("1.0.0", "Selects a database, from 0 to 15."),
    CommandSpec::new("slowlog", -2, 0, CommandGroup::Server, CommandFn::Container(SLOWLOG))
        .about("2.2.12", "Contains the commands on slow commands, which are not recorded."),
    CommandSpec::new("time", 1, LOADING | STALE | FAST, CommandGroup::Server, CommandFn::Session(connection::time))
        .about("2.6.0", "Returns the server's clock."),
    CommandSpec::new(
        "touch",
        -2,
        READONLY | FAST,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| keys::exists(l, q, r)),
    )
    .keys(1, -1)
    .about("3.2.1", "Counts the given keys that exist."),
    CommandSpec::new("ttl", 2, READONLY | FAST, CommandGroup::Generic, CommandFn::Read(|l, q, r| expiry::ttl(l, q, r)))
        .keys(1, 1)
        .about("1.0.0", "Returns the time to live of a key in seconds."),
    CommandSpec::new(
        "type",
        2,
        READONLY | FAST,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| keys::type_of(l, q, r)),
    )
    .keys(1, 1)
    .about("1.0.0", "Returns the type of a key."),
    CommandSpec::new(
        "unlink",
        -2,
        WRITE | FAST,
        CommandGroup::Generic,
        CommandFn::KeyWrite(|k, q, r| keys::del(k, q, r)),
    )
    .keys(1, -1)
    .about("4.0.0", "Deletes keys."),
    CommandSpec::new(
        "unwatch",
        1,
        ANY_TIME | FAST,
        CommandGroup::Transactions,
        CommandFn::Session(transaction::unwatch),
    )
    .about("2.2.0", "Stops watching all keys."),
    CommandSpec::new(
        "watch",
        -2,
        ANY_TIME | FAST | NO_MULTI,
        CommandGroup::Transactions,
        CommandFn::SessionWrite(transaction::watch),
    )
    .keys(1, -1)
    .about("2.2.0", "Makes EXEC fail if one of the keys changes."),
    CommandSpec::new("xack", -4, WRITE | FAST, CommandGroup::Stream, CommandFn::Write(xack))
        .keys(1, 1)
        .about("5.0.0", "Acknowledges entries delivered to a group."),
    CommandSpec::new("xadd", -5, WRITE | DENYOOM | FAST, CommandGroup::Stream, CommandFn::Add(xadd, key_to_create))
        .keys(1, 1)
        .about("5.0.0", "Appends an entry to a stream."),
    CommandSpec::new("xautoclaim", -6, WRITE | FAST, CommandGroup::Stream, CommandFn::Write(xautoclaim))
        .keys(1, 1)
        .about("6.2.0", "Transfers idle pending entries to a consumer."),
    CommandSpec::new("xclaim", -6, WRITE | FAST, CommandGroup::Stream, CommandFn::Write(xclaim))
        .keys(1, 1)
        .about("5.0.0", "Transfers the given pending entries to a consumer."),
    CommandSpec::new("xdel", -3, WRITE | FAST, CommandGroup::Stream, CommandFn::Write(xdel))
        .keys(1, 1)
        .about("5.0.0", "Deletes entries from a stream."),
    CommandSpec::new("xgroup", -2, 0, CommandGroup::Stream, CommandFn::Container(XGROUP))
        .about("5.0.0", "Contains the commands on consumer groups."),
    CommandSpec::new("xinfo", -2, 0, CommandGroup::Stream, CommandFn::Container(XINFO))
        .about("5.0.0", "Contains the commands that describe streams."),
    CommandSpec::new("xlen", 2, READONLY | FAST, CommandGroup::Stream, CommandFn::Read(|l, q, r| xlen(l, q, r)))
        .keys(1, 1)
        .about("5.0.0", "Returns the length of a stream."),
    CommandSpec::new("xpending", -3, READONLY, CommandGroup::Stream, CommandFn::Write(xpending))
        .keys(1, 1)
        .about("5.0.0", "Lists or counts a group's pending entries."),
    CommandSpec::new("xrange", -4, READONLY | HEAVY, CommandGroup::Stream, CommandFn::Read(|l, q, r| xrange(l, q, r)))
        .keys(1, 1)
        .about("5.0.0", "Returns the entries in a range of IDs."),
    CommandSpec::new(
        "xread",
        -4,
        READONLY | BLOCKING | MOVABLEKEYS | HEAVY,
        CommandGroup::Stream,
        CommandFn::BlockingRead(|l, q, r, b| xread(l, q, r, b)),
    )
    .streams(1)
    .about("5.0.0", "Reads entries after an ID, optionally blocking."),
    CommandSpec::new(
        "xreadgroup",
        -7,
        WRITE | BLOCKING | MOVABLEKEYS,
        CommandGroup::Stream,
        CommandFn::BlockingWrite(xreadgroup),
    )
    .streams(4)
    .about("5.0.0", "Reads new entries for a consumer of a group, optionally blocking."),
    CommandSpec::new(
        "xrevrange",
        -4,
        READONLY | HEAVY,
        CommandGroup::Stream,
        CommandFn::Read(|l, q, r| xrevrange(l, q, r)),
    )
    .keys(1, 1)
    .about("5.0.0", "Returns the entries in a range of IDs in reverse order."),
    CommandSpec::new("xsetid", -3, WRITE | DENYOOM | FAST, CommandGroup::Stream, CommandFn::Write(xsetid))
        .keys(1, 1)
        .about("5.0.0", "Sets the last ID of a stream."),
    CommandSpec::new("xtrim", -4, WRITE, CommandGroup::Stream, CommandFn::Write(xtrim))
        .keys(1, 1)
        .about("5.0.0", "Removes old entries from a stream."),
];
