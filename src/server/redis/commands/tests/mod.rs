//! Commands run as the connection runs them, one job each. Expected bytes were recorded from
//! valkey-server 9.1.2, but for what is newer in Redis 8: `+` and the text that names it.

mod group_tests;
mod xadd_tests;
mod xinfo_tests;
mod xread_tests;

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::*;
use crate::tasks::keys::{BlockedClient, CommitCallback, KeyReader};
use crate::tasks::{Tasks, TasksOptions};
use crate::wire::resp::{Protocol, Request};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store of its own, and how to ask it.
struct Port {
    runtime: tokio::runtime::Runtime,
    tasks: Tasks,
    _folder: tempfile::TempDir,
    protocol: Protocol,
}

impl Port {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tasks = runtime.block_on(Tasks::open(folder.path(), TasksOptions::default())).unwrap();
        Self { runtime, tasks, _folder: folder, protocol: Protocol::Resp2 }
    }

    /// Runs commands one after another in one job, which settles after each of them, or at the end.
    fn job(&self, requests: Vec<Request>, settle_each: bool, client: Option<u64>) -> Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        let room = self.runtime.block_on(self.tasks.reserve(1)).unwrap();
        let protocol = self.protocol;
        self.tasks.submit(room, move |keys| {
            let mut reply = Reply::new(protocol);
            for request in requests {
                keys.update_time();
                match run(keys, &request, &mut reply, client.is_some()) {
                    Outcome::Done => {}
                    Outcome::Wait(wait) => {
                        let sender = sender.clone();
                        keys.block(waiting(wait, client.unwrap_or_default(), protocol, sender));
                        return Box::new(|_: Option<&JournalError>| {}) as CommitCallback;
                    }
                }
                if settle_each {
                    keys.serve_blocked();
                }
            }
            keys.serve_blocked();
            send(reply, sender)
        });
        receiver
    }

    /// The reply to words, with `|` for each line end.
    fn ask(&self, words: &str) -> String {
        self.job(vec![parse(words)], true, None).recv_timeout(PATIENCE).unwrap().replace("\r\n", "|")
    }

    /// Commands that are settled together, as those of a transaction are.
    fn together(&self, commands: &[&str]) {
        self.job(commands.iter().map(|words| parse(words)).collect(), false, None).recv_timeout(PATIENCE).unwrap();
    }

    /// Asks as a client that may block.
    fn block(&self, client: u64, words: &str) -> Blocked {
        Blocked(self.job(vec![parse(words)], true, Some(client)))
    }

    fn waiting(&self) -> usize {
        let (sender, receiver) = mpsc::channel();
        let room = self.runtime.block_on(self.tasks.reserve(1)).unwrap();
        self.tasks.submit(room, move |keys| {
            sender.send(keys.blocked_clients()).unwrap();
            Box::new(|_: Option<&JournalError>| {})
        });
        receiver.recv_timeout(PATIENCE).unwrap()
    }

    /// As [`Port::ask`], of what is published.
    fn published(&self, words: &str) -> String {
        let (mut reply, request) = (Reply::new(self.protocol), parse(words));
        let mut look = self.tasks.snapshot();
        let done = match request.arg(0) {
            b"XRANGE" => xrange(&mut look, &request, &mut reply),
            b"XREVRANGE" => xrevrange(&mut look, &request, &mut reply),
            b"XLEN" => xlen(&mut look, &request, &mut reply),
            _ => xread(&mut look, &request, &mut reply, false).map(|_| ()),
        };
        done.unwrap_or_else(|refusal| refusal.write(&mut reply));
        String::from_utf8_lossy(reply.bytes()).replace("\r\n", "|")
    }
}

/// A client that waits, or has its answer.
struct Blocked(Receiver<String>);

impl Blocked {
    fn answer(&self) -> String {
        self.0.recv_timeout(PATIENCE).unwrap().replace("\r\n", "|")
    }

    fn is_silent(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

fn parse(words: &str) -> Request {
    Request::from_args(&words.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

fn send(reply: Reply, sender: mpsc::Sender<String>) -> CommitCallback {
    Box::new(move |failed| {
        assert!(failed.is_none());
        // A client may have gone.
        sender.send(String::from_utf8_lossy(reply.bytes()).into_owned()).ok();
    })
}

fn waiting(wait: Wait, client: u64, protocol: Protocol, sender: mpsc::Sender<String>) -> BlockedClient {
    let Wait { keys, mut again, .. } = wait;
    let serve = Box::new(move |keys: &mut Transaction<'_>, why: WakeReason| {
        let mut reply = Reply::new(protocol);
        again(keys, why, &mut reply)?.unwrap_or_else(|refusal| {
            reply.truncate(0);
            refusal.write(&mut reply);
        });
        Some(send(reply, sender.clone()))
    });
    BlockedClient { client, keys, retry: serve }
}

fn run(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply, may_block: bool) -> Outcome {
    let before = reply.len();
    let name = String::from_utf8_lossy(request.arg(0)).to_uppercase();
    let done = match name.as_str() {
        "XADD" => xadd(keys, request, reply),
        "XLEN" => xlen(keys, request, reply),
        "XRANGE" => xrange(keys, request, reply),
        "XREVRANGE" => xrevrange(keys, request, reply),
        "XTRIM" => xtrim(keys, request, reply),
        "XDEL" => xdel(keys, request, reply),
        "XSETID" => xsetid(keys, request, reply),
        "XINFO" => xinfo(keys, request, reply),
        "XGROUP" => xgroup(keys, request, reply),
        "XACK" => xack(keys, request, reply),
        "XPENDING" => xpending(keys, request, reply),
        "XCLAIM" => xclaim(keys, request, reply),
        "XAUTOCLAIM" => xautoclaim(keys, request, reply),
        "XREAD" | "XREADGROUP" => {
            let read = if name == "XREAD" {
                xread(keys, request, reply, may_block)
            } else {
                xreadgroup(keys, request, reply, may_block)
            };
            match read {
                Ok(Outcome::Done) => Ok(()),
                Ok(wait) => return wait,
                Err(refusal) => Err(refusal),
            }
        }
        "DEL" => keys.remove(request.arg(1)).map(|gone| reply.integer(i64::from(gone))).map_err(Refusal::from),
        "EXISTS" => keys.metadata(request.arg(1)).map(|f| reply.integer(i64::from(f.is_some()))).map_err(Refusal::from),
        "UNBLOCK" => {
            let why = if request.len() > 1 { WakeReason::Unblocked } else { WakeReason::TimedOut };
            let found = keys.unblock(7, why);
            reply.integer(i64::from(found));
            Ok(())
        }
        _ => Err(Refusal::Text(format!("ERR unknown command '{name}'"))),
    };
    if let Err(refusal) = done {
        reply.truncate(before);
        refusal.write(reply);
    }
    Outcome::Done
}

/// Each command with its reply.
fn script(port: &Port, lines: &[(&str, &str)]) {
    for (command, reply) in lines {
        assert_eq!(port.ask(command), *reply, "{command}");
    }
}

const INVALID_ID: &str = "-ERR Invalid stream ID specified as stream command argument|";
const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range|";
const SYNTAX: &str = "-ERR syntax error|";
