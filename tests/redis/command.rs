//! What COMMAND tells of each command: clients route, retry and find keys by it.

use std::collections::BTreeSet;

use crate::oracle::{Server, Which, servers};
use crate::wire::Frame;

/// Every command the port promises.
const COMMANDS: &[&str] = &[
    "acl",
    "append",
    "auth",
    "blmove",
    "blpop",
    "brpop",
    "brpoplpush",
    "client",
    "command",
    "config",
    "copy",
    "dbsize",
    "debug",
    "decr",
    "decrby",
    "del",
    "discard",
    "echo",
    "exec",
    "exists",
    "expire",
    "expireat",
    "expiretime",
    "flushall",
    "flushdb",
    "function",
    "get",
    "getdel",
    "getex",
    "getrange",
    "getset",
    "hdel",
    "hello",
    "hexists",
    "hget",
    "hgetall",
    "hincrby",
    "hincrbyfloat",
    "hkeys",
    "hlen",
    "hmget",
    "hmset",
    "hrandfield",
    "hscan",
    "hset",
    "hsetnx",
    "hstrlen",
    "hvals",
    "incr",
    "incrby",
    "incrbyfloat",
    "info",
    "keys",
    "latency",
    "lindex",
    "linsert",
    "llen",
    "lmove",
    "lpop",
    "lpos",
    "lpush",
    "lpushx",
    "lrange",
    "lrem",
    "lset",
    "ltrim",
    "memory",
    "mget",
    "move",
    "mset",
    "msetnx",
    "multi",
    "object",
    "persist",
    "pexpire",
    "pexpireat",
    "pexpiretime",
    "ping",
    "psetex",
    "pttl",
    "quit",
    "randomkey",
    "rename",
    "renamenx",
    "reset",
    "rpop",
    "rpoplpush",
    "rpush",
    "rpushx",
    "scan",
    "script",
    "select",
    "set",
    "setex",
    "setnx",
    "setrange",
    "slowlog",
    "strlen",
    "substr",
    "time",
    "touch",
    "ttl",
    "type",
    "unlink",
    "unwatch",
    "watch",
    "xack",
    "xadd",
    "xautoclaim",
    "xclaim",
    "xdel",
    "xgroup",
    "xinfo",
    "xlen",
    "xpending",
    "xrange",
    "xread",
    "xreadgroup",
    "xrevrange",
    "xsetid",
    "xtrim",
];

/// Facts that differ between the oracles, or on purpose, with the reason.
const APART: &[(&str, &str)] = &[];

/// Name, arity, flags, first and last key, step, as COMMAND INFO gives them.
fn facts(server: &Server, protocol: &str) -> Vec<String> {
    let mut client = server.connect();
    client.ask(&["HELLO", protocol]).unwrap();
    let Frame::Many(b'*', Some(all)) = client.ask(&[&["COMMAND", "INFO"], COMMANDS].concat()).unwrap() else {
        panic!("{:?}: COMMAND INFO gives no array", server.which)
    };
    let told = |frame: &Frame| match frame {
        Frame::Many(_, Some(fields)) => {
            let flags = match &fields[2] {
                Frame::Many(_, Some(flags)) => flags.iter().map(ToString::to_string).collect::<BTreeSet<_>>(),
                other => panic!("flags: {other}"),
            };
            let plain = |index: usize| fields[index].to_string();
            format!("{} {} {flags:?} {} {} {}", plain(0), plain(1), plain(3), plain(4), plain(5))
        }
        other => other.to_string(),
    };
    all.iter().map(told).collect()
}

#[test]
fn command_info_is_the_newer_oracles() {
    let servers = servers();
    for protocol in ["2", "3"] {
        let find = |which| servers.iter().find(|server| server.which == which).map(|server| facts(server, protocol));
        let valkey = find(Which::Valkey).unwrap();
        assert_eq!(valkey.len(), COMMANDS.len());
        for (index, ours) in find(Which::Ours).unwrap_or_default().iter().enumerate() {
            if !APART.iter().any(|(name, _)| *name == COMMANDS[index]) {
                assert_eq!(*ours, valkey[index], "{}", COMMANDS[index]);
            }
        }
    }
}
