//! Runs commands like a connection does, one transaction each. The expected bytes were recorded from
//! valkey-server 9.1.2, except for features of Redis 8: `+`, and the error text that mentions it.

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

/// Longer than any reply needs.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// A temporary store that runs commands.
struct TestJournal {
    runtime: tokio::runtime::Runtime,
    tasks: Tasks,
    _folder: tempfile::TempDir,
    protocol: Protocol,
}

impl TestJournal {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tasks = runtime.block_on(Tasks::open(folder.path(), TasksOptions::default())).unwrap();
        Self { runtime, tasks, _folder: folder, protocol: Protocol::Resp2 }
    }

    /// Runs commands in one transaction. Serves blocked clients after each command, or only at the end.
    fn submit(&self, requests: Vec<Request>, serve_each: bool, client: Option<u64>) -> Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        let permit = self.runtime.block_on(self.tasks.reserve(1)).unwrap();
        let protocol = self.protocol;
        self.tasks.submit(permit, move |keys| {
            let mut reply = Reply::new(protocol);
            for request in requests {
                keys.update_time();
                match run(keys, &request, &mut reply, client.is_some()) {
                    CommandOutcome::Done => {}
                    CommandOutcome::Block(blocking) => {
                        let sender = sender.clone();
                        keys.block(blocked_client(blocking, client.unwrap_or_default(), protocol, sender));
                        return Box::new(|_: Option<&JournalError>| {}) as CommitCallback;
                    }
                }
                if serve_each {
                    keys.serve_blocked();
                }
            }
            keys.serve_blocked();
            send(reply, sender)
        });
        receiver
    }

    /// Returns the reply to a command, with `|` for each line end.
    fn run(&self, words: &str) -> String {
        self.submit(vec![parse(words)], true, None).recv_timeout(REPLY_TIMEOUT).unwrap().replace("\r\n", "|")
    }

    /// Runs commands in one transaction, like EXEC, and serves blocked clients once at the end.
    fn run_together(&self, commands: &[&str]) {
        self.submit(commands.iter().map(|words| parse(words)).collect(), false, None)
            .recv_timeout(REPLY_TIMEOUT)
            .unwrap();
    }

    /// Runs a command that may block.
    fn block(&self, client: u64, words: &str) -> TestReply {
        TestReply(self.submit(vec![parse(words)], true, Some(client)))
    }

    fn blocked_count(&self) -> usize {
        let (sender, receiver) = mpsc::channel();
        let permit = self.runtime.block_on(self.tasks.reserve(1)).unwrap();
        self.tasks.submit(permit, move |keys| {
            sender.send(keys.blocked_clients()).unwrap();
            Box::new(|_: Option<&JournalError>| {})
        });
        receiver.recv_timeout(REPLY_TIMEOUT).unwrap()
    }

    /// Runs a command like [`TestJournal::run`], on a snapshot.
    fn run_on_snapshot(&self, words: &str) -> String {
        let (mut reply, request) = (Reply::new(self.protocol), parse(words));
        let mut reader = self.tasks.snapshot();
        let done = match request.arg(0) {
            b"XRANGE" => xrange(&mut reader, &request, &mut reply),
            b"XREVRANGE" => xrevrange(&mut reader, &request, &mut reply),
            b"XLEN" => xlen(&mut reader, &request, &mut reply),
            _ => xread(&mut reader, &request, &mut reply, false).map(|_| ()),
        };
        done.unwrap_or_else(|error| error.write(&mut reply));
        String::from_utf8_lossy(reply.bytes()).replace("\r\n", "|")
    }
}

/// The reply of a client that may be blocked.
struct TestReply(Receiver<String>);

impl TestReply {
    fn reply(&self) -> String {
        self.0.recv_timeout(REPLY_TIMEOUT).unwrap().replace("\r\n", "|")
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
        // Fails only if the test has dropped the receiver.
        sender.send(String::from_utf8_lossy(reply.bytes()).into_owned()).ok();
    })
}

fn blocked_client(
    blocking: BlockingCommand,
    client: u64,
    protocol: Protocol,
    sender: mpsc::Sender<String>,
) -> BlockedClient {
    let BlockingCommand { keys, mut retry, .. } = blocking;
    let serve = Box::new(move |keys: &mut Transaction<'_>, reason: WakeReason| {
        let mut reply = Reply::new(protocol);
        retry(keys, reason, &mut reply)?.unwrap_or_else(|error| {
            reply.truncate(0);
            error.write(&mut reply);
        });
        Some(send(reply, sender.clone()))
    });
    BlockedClient { client, keys, retry: serve }
}

fn run(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply, may_block: bool) -> CommandOutcome {
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
                Ok(CommandOutcome::Done) => Ok(()),
                Ok(block) => return block,
                Err(error) => Err(error),
            }
        }
        "DEL" => keys.remove(request.arg(1)).map(|gone| reply.integer(i64::from(gone))).map_err(CommandError::from),
        "EXISTS" => {
            keys.metadata(request.arg(1)).map(|f| reply.integer(i64::from(f.is_some()))).map_err(CommandError::from)
        }
        "UNBLOCK" => {
            let reason = if request.len() > 1 { WakeReason::Unblocked } else { WakeReason::TimedOut };
            let found = keys.unblock(7, reason);
            reply.integer(i64::from(found));
            Ok(())
        }
        _ => Err(CommandError::Text(format!("ERR unknown command '{name}'"))),
    };
    if let Err(error) = done {
        reply.truncate(before);
        error.write(reply);
    }
    CommandOutcome::Done
}

/// Runs each command and compares its reply.
fn check_replies(journal: &TestJournal, lines: &[(&str, &str)]) {
    for (command, reply) in lines {
        assert_eq!(journal.run(command), *reply, "{command}");
    }
}

const INVALID_ID: &str = "-ERR Invalid stream ID specified as stream command argument|";
const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range|";
const SYNTAX: &str = "-ERR syntax error|";
