//! The subcommands of each container command.

use super::commands::{client, command, config, connection, group_key_to_create, object, reports, xgroup, xinfo};
use super::list::{ANY_TIME, HELP};
use super::table::{
    ADMIN, CommandFlags, CommandFn, CommandGroup, CommandSpec, DENYOOM, LOADING, NO_MULTI, NOSCRIPT, READONLY, STALE,
    WRITE,
};

/// Flags of most subcommands.
const SUB: CommandFlags = NOSCRIPT | LOADING | STALE;

pub(super) const ACL: &[CommandSpec] = &[
    CommandSpec::new("acl|help", 2, HELP, CommandGroup::Server, CommandFn::Session(reports::acl_help)),
    CommandSpec::new("acl|whoami", 2, SUB, CommandGroup::Server, CommandFn::Session(reports::acl_whoami)),
];

pub(super) const CLIENT: &[CommandSpec] = &[
    CommandSpec::new("client|caching", 3, ANY_TIME, CommandGroup::Connection, CommandFn::Session(client::caching)),
    CommandSpec::new("client|getname", 2, ANY_TIME, CommandGroup::Connection, CommandFn::Session(client::getname)),
    CommandSpec::new("client|getredir", 2, ANY_TIME, CommandGroup::Connection, CommandFn::Session(client::getredir)),
    CommandSpec::new("client|help", 2, HELP, CommandGroup::Connection, CommandFn::Session(client::help)),
    CommandSpec::new("client|id", 2, ANY_TIME, CommandGroup::Connection, CommandFn::Session(client::id)),
    CommandSpec::new("client|info", 2, SUB, CommandGroup::Connection, CommandFn::Session(client::info)),
    CommandSpec::new("client|kill", -3, ADMIN | SUB, CommandGroup::Connection, CommandFn::Session(client::kill)),
    CommandSpec::new("client|list", -2, ADMIN | SUB, CommandGroup::Connection, CommandFn::Session(client::list)),
    CommandSpec::new(
        "client|no-evict",
        3,
        ADMIN | ANY_TIME,
        CommandGroup::Connection,
        CommandFn::Session(client::no_evict),
    ),
    CommandSpec::new("client|no-touch", 3, ANY_TIME, CommandGroup::Connection, CommandFn::Session(client::no_touch)),
    CommandSpec::new("client|pause", -3, ADMIN | SUB, CommandGroup::Connection, CommandFn::Session(client::pause)),
    CommandSpec::new(
        "client|reply",
        3,
        ANY_TIME | NO_MULTI,
        CommandGroup::Connection,
        CommandFn::Session(client::reply),
    ),
    CommandSpec::new("client|setinfo", 4, ANY_TIME, CommandGroup::Connection, CommandFn::Session(client::setinfo)),
    CommandSpec::new("client|setname", 3, ANY_TIME, CommandGroup::Connection, CommandFn::Session(client::setname)),
    CommandSpec::new("client|tracking", -3, SUB, CommandGroup::Connection, CommandFn::Session(client::tracking)),
    CommandSpec::new("client|trackinginfo", 2, SUB, CommandGroup::Connection, CommandFn::Session(client::trackinginfo)),
    CommandSpec::new("client|unblock", -3, ADMIN | SUB, CommandGroup::Connection, CommandFn::Write(client::unblock)),
];

pub(super) const COMMAND: &[CommandSpec] = &[
    CommandSpec::new("command|count", 2, HELP, CommandGroup::Server, CommandFn::Session(command::count)),
    CommandSpec::new("command|docs", -2, HELP, CommandGroup::Server, CommandFn::Session(command::docs)),
    CommandSpec::new("command|getkeys", -3, HELP, CommandGroup::Server, CommandFn::Session(command::getkeys)),
    CommandSpec::new("command|help", 2, HELP, CommandGroup::Server, CommandFn::Session(command::help)),
    CommandSpec::new("command|info", -2, HELP, CommandGroup::Server, CommandFn::Session(command::info)),
    CommandSpec::new("command|list", -2, HELP, CommandGroup::Server, CommandFn::Session(command::list)),
];

pub(super) const CONFIG: &[CommandSpec] = &[
    CommandSpec::new("config|get", -3, ADMIN | SUB, CommandGroup::Server, CommandFn::Session(config::get)),
    CommandSpec::new("config|help", 2, HELP, CommandGroup::Server, CommandFn::Session(config::help)),
    CommandSpec::new("config|resetstat", 2, ADMIN | SUB, CommandGroup::Server, CommandFn::Session(config::resetstat)),
    CommandSpec::new("config|rewrite", 2, ADMIN | SUB, CommandGroup::Server, CommandFn::Session(config::rewrite)),
    CommandSpec::new("config|set", -4, ADMIN | SUB, CommandGroup::Server, CommandFn::Session(config::set)),
];

pub(super) const FUNCTION: &[CommandSpec] = &[
    CommandSpec::new(
        "function|flush",
        -2,
        WRITE | NOSCRIPT,
        CommandGroup::Scripting,
        CommandFn::Session(connection::function_flush),
    ),
    CommandSpec::new("function|help", 2, HELP, CommandGroup::Scripting, CommandFn::Session(connection::function_help)),
    CommandSpec::new(
        "function|list",
        -2,
        NOSCRIPT,
        CommandGroup::Scripting,
        CommandFn::Session(connection::function_list),
    ),
];

pub(super) const SCRIPT: &[CommandSpec] = &[
    CommandSpec::new(
        "script|exists",
        -3,
        NOSCRIPT | STALE,
        CommandGroup::Scripting,
        CommandFn::Session(connection::script_exists),
    ),
    CommandSpec::new(
        "script|flush",
        -2,
        NOSCRIPT | STALE,
        CommandGroup::Scripting,
        CommandFn::Session(connection::script_flush),
    ),
    CommandSpec::new("script|help", 2, HELP, CommandGroup::Scripting, CommandFn::Session(connection::script_help)),
];

pub(super) const XGROUP: &[CommandSpec] = &[
    CommandSpec::new(
        "xgroup|create",
        -5,
        WRITE | DENYOOM,
        CommandGroup::Stream,
        CommandFn::Add(xgroup, group_key_to_create),
    )
    .keys(2, 2),
    CommandSpec::new("xgroup|createconsumer", 5, WRITE | DENYOOM, CommandGroup::Stream, CommandFn::Write(xgroup))
        .keys(2, 2),
    CommandSpec::new("xgroup|delconsumer", 5, WRITE, CommandGroup::Stream, CommandFn::Write(xgroup)).keys(2, 2),
    CommandSpec::new("xgroup|destroy", 4, WRITE, CommandGroup::Stream, CommandFn::Write(xgroup)).keys(2, 2),
    CommandSpec::new("xgroup|help", 2, HELP, CommandGroup::Stream, CommandFn::Write(xgroup)),
    CommandSpec::new("xgroup|setid", -5, WRITE, CommandGroup::Stream, CommandFn::Write(xgroup)).keys(2, 2),
];

pub(super) const XINFO: &[CommandSpec] = &[
    CommandSpec::new("xinfo|consumers", 4, READONLY, CommandGroup::Stream, CommandFn::Write(xinfo)).keys(2, 2),
    CommandSpec::new("xinfo|groups", 3, READONLY, CommandGroup::Stream, CommandFn::Write(xinfo)).keys(2, 2),
    CommandSpec::new("xinfo|help", 2, HELP, CommandGroup::Stream, CommandFn::Write(xinfo)),
    CommandSpec::new("xinfo|stream", -3, READONLY, CommandGroup::Stream, CommandFn::Write(xinfo)).keys(2, 2),
];

pub(super) const LATENCY: &[CommandSpec] = &[
    CommandSpec::new(
        "latency|doctor",
        2,
        ADMIN | SUB,
        CommandGroup::Server,
        CommandFn::Session(reports::latency_doctor),
    ),
    CommandSpec::new("latency|help", 2, HELP, CommandGroup::Server, CommandFn::Session(reports::latency_help)),
    CommandSpec::new(
        "latency|histogram",
        -2,
        ADMIN | SUB,
        CommandGroup::Server,
        CommandFn::Session(reports::latency_histogram),
    ),
    CommandSpec::new(
        "latency|history",
        3,
        ADMIN | SUB,
        CommandGroup::Server,
        CommandFn::Session(reports::latency_events),
    ),
    CommandSpec::new(
        "latency|latest",
        2,
        ADMIN | SUB,
        CommandGroup::Server,
        CommandFn::Session(reports::latency_events),
    ),
    CommandSpec::new(
        "latency|reset",
        -2,
        ADMIN | SUB,
        CommandGroup::Server,
        CommandFn::Session(reports::latency_reset),
    ),
];

pub(super) const MEMORY: &[CommandSpec] = &[
    CommandSpec::new("memory|doctor", 2, 0, CommandGroup::Server, CommandFn::Session(object::doctor)),
    CommandSpec::new("memory|help", 2, HELP, CommandGroup::Server, CommandFn::Session(object::memory_help)),
    CommandSpec::new("memory|purge", 2, 0, CommandGroup::Server, CommandFn::Session(object::purge)),
    CommandSpec::new(
        "memory|usage",
        -3,
        READONLY,
        CommandGroup::Server,
        CommandFn::Read(|l, q, r| object::usage(l, q, r)),
    )
    .keys(2, 2),
];

pub(super) const OBJECT: &[CommandSpec] = &[
    CommandSpec::new(
        "object|encoding",
        3,
        READONLY,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| object::encoding(l, q, r)),
    )
    .keys(2, 2),
    CommandSpec::new(
        "object|freq",
        3,
        READONLY,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| object::freq(l, q, r)),
    )
    .keys(2, 2),
    CommandSpec::new("object|help", 2, HELP, CommandGroup::Generic, CommandFn::Session(object::object_help)),
    CommandSpec::new(
        "object|idletime",
        3,
        READONLY,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| object::idletime(l, q, r)),
    )
    .keys(2, 2),
    CommandSpec::new(
        "object|refcount",
        3,
        READONLY,
        CommandGroup::Generic,
        CommandFn::Read(|l, q, r| object::refcount(l, q, r)),
    )
    .keys(2, 2),
];

pub(super) const SLOWLOG: &[CommandSpec] = &[
    CommandSpec::new(
        "slowlog|get",
        -2,
        ADMIN | LOADING | STALE,
        CommandGroup::Server,
        CommandFn::Session(reports::slowlog_get),
    ),
    CommandSpec::new("slowlog|help", 2, HELP, CommandGroup::Server, CommandFn::Session(reports::slowlog_help)),
    CommandSpec::new(
        "slowlog|len",
        2,
        ADMIN | LOADING | STALE,
        CommandGroup::Server,
        CommandFn::Session(reports::slowlog_len),
    ),
    CommandSpec::new(
        "slowlog|reset",
        2,
        ADMIN | LOADING | STALE,
        CommandGroup::Server,
        CommandFn::Session(reports::slowlog_reset),
    ),
];
