//! `COMMAND`: describes all commands, for clients that query them first.

use super::ids::is_word;
use super::{CommandError, CommandResult, write_help};
use crate::model::glob;
use crate::server::redis::session::RedisSession;
use crate::server::redis::table::{
    ADMIN, BLOCKING, CommandGroup, CommandSpec, CommandTable, FAST, FLAG_NAMES, KeySpec, READONLY, WRITE,
};
use crate::wire::resp::{Reply, Request};

/// `COMMAND`: writes the details of all commands.
pub(in super::super) fn all(commands: CommandTable, reply: &mut Reply) {
    reply.array(commands.iter().count());
    commands.iter().for_each(|command| write_info(command, reply));
}

/// `COMMAND INFO [name..]`
pub(in super::super) fn info(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    if request.len() == 2 {
        all(session.port.commands(), reply);
        return Ok(());
    }
    reply.array(request.len() - 2);
    for name in request.args().skip(2) {
        match session.port.commands().find_by_name(name) {
            Some(command) => write_info(command, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

/// `COMMAND COUNT`
pub(in super::super) fn count(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.unsigned(session.port.commands().iter().count() as u64);
    Ok(())
}

/// `COMMAND LIST [FILTERBY MODULE|ACLCAT|PATTERN value]`
pub(in super::super) fn list(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let commands = session.port.commands();
    let all = commands.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands()));
    let names: Vec<&str> = match (request.len(), request.arg(2), request.arg(3), request.arg(4)) {
        (2, ..) => commands.iter().map(|command| command.name).collect(),
        (5, filter, kind, value) if is_word(filter, "FILTERBY") => {
            if is_word(kind, "MODULE") {
                Vec::new()
            } else if is_word(kind, "ACLCAT") {
                let is = |command: &&CommandSpec| categories(command).iter().any(|known| is_word(value, &known[1..]));
                all.filter(is).map(|command| command.name).collect()
            } else if is_word(kind, "PATTERN") {
                let value = value.to_ascii_lowercase();
                all.filter(|command| glob::matches(&value, command.name.as_bytes()))
                    .map(|command| command.name)
                    .collect()
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        _ => return Err(CommandError::SYNTAX),
    };
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

/// `COMMAND DOCS [name..]`
pub(in super::super) fn docs(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let table = session.port.commands();
    let commands: Vec<&CommandSpec> = if request.len() == 2 {
        table.iter().collect()
    } else {
        request.args().skip(2).filter_map(|name| table.find_by_name(name)).collect()
    };
    reply.map(commands.len());
    commands.iter().for_each(|command| write_docs(command, reply));
    Ok(())
}

fn write_docs(command: &CommandSpec, reply: &mut Reply) {
    reply.bulk(command.name.as_bytes());
    let subcommands = command.subcommands();
    let fields = [("summary", command.summary), ("since", command.since), ("group", group_name(command.group))];
    let fields = || fields.iter().filter(|(_, value)| !value.is_empty());
    reply.map(fields().count() + usize::from(!subcommands.is_empty()));
    for (key, value) in fields() {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        subcommands.iter().for_each(|subcommand| write_docs(subcommand, reply));
    }
}

/// `COMMAND GETKEYS command argument..`
pub(in super::super) fn getkeys(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let query: Vec<&[u8]> = request.args().skip(2).collect();
    let query = Request::from_args(&query);
    let command = session.port.commands().resolve(&query).map_err(|error| match error.command {
        None => CommandError::Static("ERR Invalid command specified"),
        Some(_) => CommandError::Static("ERR Invalid number of arguments specified for command"),
    })?;
    let keys = keys_of(command, &query);
    match (command.keys, keys.is_empty()) {
        (KeySpec::None, _) => return Err(CommandError::Static("ERR The command has no key arguments")),
        (_, true) => return Err(CommandError::Static("ERR Invalid arguments specified for command")),
        _ => {}
    }
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

/// Returns the keys of a request for this command.
pub(in super::super) fn keys_of<'r>(command: &CommandSpec, request: &'r Request) -> Vec<&'r [u8]> {
    let at = |index: i32| {
        let index = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        move |from_end: bool| if from_end { request.len().saturating_sub(index) } else { index }
    };
    match command.keys {
        KeySpec::None => Vec::new(),
        KeySpec::Pairs => request.args().skip(1).step_by(2).collect(),
        KeySpec::Range(first, last) => {
            let (first, last) = (at(first)(first < 0), at(last)(last < 0));
            request.args().skip(first).take((last + 1).saturating_sub(first)).collect()
        }
        KeySpec::Streams(from) => {
            let from = at(from)(false);
            let streams = request.args().skip(from).position(|arg| is_word(arg, "STREAMS")).map(|at| from + at + 1);
            let streams = streams.unwrap_or(request.len());
            request.args().skip(streams).take((request.len() - streams) / 2).collect()
        }
    }
}

/// Writes the ten details of a command.
fn write_info(command: &CommandSpec, reply: &mut Reply) {
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    write_words(
        reply,
        &FLAG_NAMES.iter().filter_map(|(flag, name)| command.is(*flag).then_some(*name)).collect::<Vec<_>>(),
    );
    let (first, last, step) = match command.keys {
        KeySpec::Range(first, last) => (first, last, 1),
        KeySpec::Pairs => (1, -1, 2),
        // Clients that support only positions must use GETKEYS.
        KeySpec::None | KeySpec::Streams(_) => (0, 0, 0),
    };
    [first, last, step].iter().for_each(|index| reply.integer(i64::from(*index)));
    write_words(reply, &categories(command));
    // No tips: they concern clusters.
    reply.array(0);
    write_key_spec(command, reply);
    let subcommands = command.subcommands();
    reply.array(subcommands.len());
    subcommands.iter().for_each(|subcommand| write_info(subcommand, reply));
}

fn write_words(reply: &mut Reply, words: &[&str]) {
    reply.set(words.len());
    words.iter().for_each(|word| reply.simple(word));
}

/// Writes the key specification, in the format of Redis 7.
fn write_key_spec(command: &CommandSpec, reply: &mut Reply) {
    let step = if command.keys == KeySpec::Pairs { 2 } else { 1 };
    let (search, search_spec, limit, last): (&str, &[(&str, SpecValue)], i64, i64) = match command.keys {
        KeySpec::None => {
            reply.array(0);
            return;
        }
        KeySpec::Range(first, last) => {
            let last = if last < 0 { last } else { last - first };
            ("index", &[("index", SpecValue::Number(i64::from(first)))], 0, i64::from(last))
        }
        KeySpec::Pairs => ("index", &[("index", SpecValue::Number(1))], 0, -1),
        KeySpec::Streams(from) => (
            "keyword",
            &[("keyword", SpecValue::Word("STREAMS")), ("startfrom", SpecValue::Number(i64::from(from)))],
            2,
            -1,
        ),
    };
    reply.array(1);
    reply.map(3);
    reply.bulk(b"flags");
    write_words(reply, if command.is(WRITE) { &["RW", "update"] } else { &["RO", "access"] });
    let range = [
        ("lastkey", SpecValue::Number(last)),
        ("keystep", SpecValue::Number(step)),
        ("limit", SpecValue::Number(limit)),
    ];
    for (key, kind, spec) in [("begin_search", search, search_spec), ("find_keys", "range", &range)] {
        reply.bulk(key.as_bytes());
        reply.map(2);
        reply.bulk(b"type");
        reply.bulk(kind.as_bytes());
        reply.bulk(b"spec");
        reply.map(spec.len());
        for (key, value) in spec {
            reply.bulk(key.as_bytes());
            match value {
                SpecValue::Number(number) => reply.integer(*number),
                SpecValue::Word(word) => reply.bulk(word.as_bytes()),
            }
        }
    }
}

enum SpecValue {
    Number(i64),
    Word(&'static str),
}

/// Returns the ACL categories of a command.
fn categories(command: &CommandSpec) -> Vec<&'static str> {
    let by_group = match command.group {
        CommandGroup::Connection => Some("@connection"),
        CommandGroup::Generic => Some("@keyspace"),
        CommandGroup::Hash => Some("@hash"),
        CommandGroup::List => Some("@list"),
        CommandGroup::String => Some("@string"),
        CommandGroup::Scripting => Some("@scripting"),
        CommandGroup::Stream => Some("@stream"),
        CommandGroup::Transactions => Some("@transaction"),
        CommandGroup::Server => None,
    };
    let dangerous = command.is(ADMIN) || matches!(command.name, "flushall" | "flushdb" | "keys" | "info");
    let by_flag = [
        (command.is(WRITE), "@write"),
        (command.is(READONLY), "@read"),
        (command.is(ADMIN), "@admin"),
        (command.is(FAST), "@fast"),
        (!command.is(FAST), "@slow"),
        (command.is(BLOCKING), "@blocking"),
        (dangerous, "@dangerous"),
    ];
    by_group.into_iter().chain(by_flag.into_iter().filter_map(|(is, name)| is.then_some(name))).collect()
}

fn group_name(group: CommandGroup) -> &'static str {
    match group {
        CommandGroup::Connection => "connection",
        CommandGroup::Generic => "generic",
        CommandGroup::Hash => "hash",
        CommandGroup::List => "list",
        CommandGroup::String => "string",
        CommandGroup::Scripting => "scripting",
        CommandGroup::Server => "server",
        CommandGroup::Stream => "stream",
        CommandGroup::Transactions => "transactions",
    }
}

/// `COMMAND HELP`
pub(in super::super) fn help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    write_help(
        reply,
        &[
            "COMMAND | COMMAND INFO [name..]: show arity, flags and key positions",
            "COMMAND COUNT: count the commands",
            "COMMAND LIST [FILTERBY MODULE|ACLCAT|PATTERN value]: list command names",
            "COMMAND DOCS [name..]: show descriptions",
            "COMMAND GETKEYS command argument..: list the keys of a command",
        ],
    );
    Ok(())
}
