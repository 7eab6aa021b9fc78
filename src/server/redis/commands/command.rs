//! `COMMAND`: what there is to say of every command, for clients that ask before they speak.

use super::ids::is_word;
use super::{Refusal, help_lines};
use crate::model::glob;
use crate::server::redis::list::COMMANDS;
use crate::server::redis::session::Session;
use crate::server::redis::table::{
    ADMIN, BLOCKING, Command, FAST, FLAG_NAMES, Group, KeysAt, READONLY, WRITE, named, resolve,
};
use crate::wire::resp::{Reply, Request};

/// `COMMAND`: everything about all of them.
pub(in super::super) fn all(reply: &mut Reply) {
    reply.array(COMMANDS.len());
    COMMANDS.iter().for_each(|command| describe(command, reply));
}

/// `COMMAND INFO [name..]`
pub(in super::super) fn info(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    if request.len() == 2 {
        all(reply);
        return Ok(());
    }
    reply.array(request.len() - 2);
    for name in request.args().skip(2) {
        match named(name) {
            Some(command) => describe(command, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

/// `COMMAND COUNT`
pub(in super::super) fn count(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    reply.unsigned(COMMANDS.len() as u64);
    Ok(())
}

/// `COMMAND LIST [FILTERBY MODULE|ACLCAT|PATTERN value]`
pub(in super::super) fn list(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let all = COMMANDS.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands()));
    let names: Vec<&str> = match (request.len(), request.arg(2), request.arg(3), request.arg(4)) {
        (2, ..) => COMMANDS.iter().map(|command| command.name).collect(),
        (5, filter, kind, value) if is_word(filter, "FILTERBY") => {
            if is_word(kind, "MODULE") {
                Vec::new()
            } else if is_word(kind, "ACLCAT") {
                let is = |command: &&Command| categories(command).iter().any(|known| is_word(value, &known[1..]));
                all.filter(is).map(|command| command.name).collect()
            } else if is_word(kind, "PATTERN") {
                let value = value.to_ascii_lowercase();
                all.filter(|command| glob::matches(&value, command.name.as_bytes()))
                    .map(|command| command.name)
                    .collect()
            } else {
                return Err(Refusal::SYNTAX);
            }
        }
        _ => return Err(Refusal::SYNTAX),
    };
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

/// `COMMAND DOCS [name..]`
pub(in super::super) fn docs(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let commands: Vec<&Command> =
        if request.len() == 2 { COMMANDS.iter().collect() } else { request.args().skip(2).filter_map(named).collect() };
    reply.map(commands.len());
    commands.iter().for_each(|command| document(command, reply));
    Ok(())
}

fn document(command: &Command, reply: &mut Reply) {
    reply.bulk(command.name.as_bytes());
    let subcommands = command.subcommands();
    let facts = [("summary", command.summary), ("since", command.since), ("group", group(command.group))];
    let facts = || facts.iter().filter(|(_, value)| !value.is_empty());
    reply.map(facts().count() + usize::from(!subcommands.is_empty()));
    for (key, value) in facts() {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        subcommands.iter().for_each(|subcommand| document(subcommand, reply));
    }
}

/// `COMMAND GETKEYS command argument..`
pub(in super::super) fn getkeys(_: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let asked: Vec<&[u8]> = request.args().skip(2).collect();
    let asked = Request::from_args(&asked);
    let command = resolve(&asked).map_err(|misfit| match misfit.command {
        None => Refusal::Static("ERR Invalid command specified"),
        Some(_) => Refusal::Static("ERR Invalid number of arguments specified for command"),
    })?;
    let keys = keys_of(command, &asked);
    match (command.keys, keys.is_empty()) {
        (KeysAt::None, _) => return Err(Refusal::Static("ERR The command has no key arguments")),
        (_, true) => return Err(Refusal::Static("ERR Invalid arguments specified for command")),
        _ => {}
    }
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

/// The keys of a request for this command.
pub(in super::super) fn keys_of<'r>(command: &Command, request: &'r Request) -> Vec<&'r [u8]> {
    let at = |place: i32| {
        let place = usize::try_from(place.unsigned_abs()).unwrap_or(usize::MAX);
        move |from_end: bool| if from_end { request.len().saturating_sub(place) } else { place }
    };
    match command.keys {
        KeysAt::None => Vec::new(),
        KeysAt::Range(first, last) => {
            let (first, last) = (at(first)(first < 0), at(last)(last < 0));
            request.args().skip(first).take((last + 1).saturating_sub(first)).collect()
        }
        KeysAt::Streams(from) => {
            let from = at(from)(false);
            let streams = request.args().skip(from).position(|arg| is_word(arg, "STREAMS")).map(|at| from + at + 1);
            let streams = streams.unwrap_or(request.len());
            request.args().skip(streams).take((request.len() - streams) / 2).collect()
        }
    }
}

/// The ten facts of a command.
fn describe(command: &Command, reply: &mut Reply) {
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    words(reply, &FLAG_NAMES.iter().filter_map(|(flag, name)| command.is(*flag).then_some(*name)).collect::<Vec<_>>());
    let (first, last, step) = match command.keys {
        KeysAt::Range(first, last) => (first, last, 1),
        // Clients that know only places must ask by GETKEYS.
        KeysAt::None | KeysAt::Streams(_) => (0, 0, 0),
    };
    [first, last, step].iter().for_each(|place| reply.integer(i64::from(*place)));
    words(reply, &categories(command));
    // No hints for a cluster.
    reply.array(0);
    specify(command, reply);
    let subcommands = command.subcommands();
    reply.array(subcommands.len());
    subcommands.iter().for_each(|subcommand| describe(subcommand, reply));
}

fn words(reply: &mut Reply, words: &[&str]) {
    reply.set(words.len());
    words.iter().for_each(|word| reply.simple(word));
}

/// Where keys are, in the words of Redis 7.
fn specify(command: &Command, reply: &mut Reply) {
    let (search, search_spec, limit, last): (&str, &[(&str, Value)], i64, i64) = match command.keys {
        KeysAt::None => {
            reply.array(0);
            return;
        }
        KeysAt::Range(first, last) => {
            let last = if last < 0 { last } else { last - first };
            ("index", &[("index", Value::Number(i64::from(first)))], 0, i64::from(last))
        }
        KeysAt::Streams(from) => {
            ("keyword", &[("keyword", Value::Word("STREAMS")), ("startfrom", Value::Number(i64::from(from)))], 2, -1)
        }
    };
    reply.array(1);
    reply.map(3);
    reply.bulk(b"flags");
    words(reply, if command.is(WRITE) { &["RW", "update"] } else { &["RO", "access"] });
    let range = [("lastkey", Value::Number(last)), ("keystep", Value::Number(1)), ("limit", Value::Number(limit))];
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
                Value::Number(number) => reply.integer(*number),
                Value::Word(word) => reply.bulk(word.as_bytes()),
            }
        }
    }
}

enum Value {
    Number(i64),
    Word(&'static str),
}

/// Redis' categories for access rules.
fn categories(command: &Command) -> Vec<&'static str> {
    let by_group = match command.group {
        Group::Connection => Some("@connection"),
        Group::Generic => Some("@keyspace"),
        Group::Scripting => Some("@scripting"),
        Group::Stream => Some("@stream"),
        Group::Transactions => Some("@transaction"),
        Group::Server => None,
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

fn group(group: Group) -> &'static str {
    match group {
        Group::Connection => "connection",
        Group::Generic => "generic",
        Group::Scripting => "scripting",
        Group::Server => "server",
        Group::Stream => "stream",
        Group::Transactions => "transactions",
    }
}

/// `COMMAND HELP`
pub(in super::super) fn help(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    help_lines(
        reply,
        &[
            "COMMAND | COMMAND INFO [name..]: arity, flags and places of keys",
            "COMMAND COUNT: how many there are",
            "COMMAND LIST [FILTERBY MODULE|ACLCAT|PATTERN value]: their names",
            "COMMAND DOCS [name..]: what they do",
            "COMMAND GETKEYS command argument..: the keys among its arguments",
        ],
    );
    Ok(())
}
