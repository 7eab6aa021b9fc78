//! What a client did, what it was told, and what must be there then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::crash::Dice;
use crate::disk::server::{Answer, Server, parse_answer};
use crate::wire::{Client as Redis, Frame};

/// Lines of one task, about; then another is begun.
const TASK_LINES_MAX: u64 = 9_000;

/// Clients of a server that may die under them: then nothing is answered any more.
pub(crate) struct Client {
    addr: String,
    redis_addr: SocketAddr,
    redis: Option<Redis>,
    up: bool,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Self {
        let redis = Redis::connect(server.redis).ok();
        Self { addr: server.addr.clone(), redis_addr: server.redis, up: redis.is_some(), redis }
    }

    /// Whether everything was answered so far.
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    fn http(&mut self, method: &str, path: &str, kind: &str, body: &str) -> Option<Answer> {
        if !self.up {
            return None;
        }
        let answer = self.try_http(method, path, kind, body);
        self.up = answer.is_some();
        answer
    }

    fn try_http(&self, method: &str, path: &str, kind: &str, body: &str) -> Option<Answer> {
        let mut socket = TcpStream::connect(&self.addr).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.addr,
            body.len()
        );
        socket.write_all(head.as_bytes()).ok()?;
        socket.write_all(body.as_bytes()).ok()?;
        let mut answer = Vec::new();
        if let Err(error) = socket.read_to_end(&mut answer) {
            assert!(error.kind() != std::io::ErrorKind::WouldBlock, "the server is silent");
            return None;
        }
        parse_answer(&answer)
    }

    fn redis(&mut self, args: &[&str]) -> Option<Frame> {
        if !self.up {
            return None;
        }
        let redis = match &mut self.redis {
            Some(redis) => redis,
            None => self.redis.insert(Redis::connect(self.redis_addr).ok()?),
        };
        let frame = redis.ask(args).ok();
        self.up = frame.is_some();
        frame
    }
}

/// Something that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Asked {
    #[default]
    No,
    /// And not answered: it may be so or not.
    Yes,
    Done,
}

#[derive(Clone, Debug, Default)]
struct Task {
    acked: u64,
    sent: u64,
    end: Asked,
    removal: Asked,
}

/// All that is known.
#[derive(Default)]
pub(crate) struct World {
    tasks: BTreeMap<String, Task>,
    made: u64,
    /// Entries of a key, by key: acked and sent.
    keys: BTreeMap<&'static str, (u64, u64)>,
    /// Entries that each of two keys has, by transactions.
    pairs: (u64, u64),
    /// Keys whose time is over, or that were deleted.
    gone: BTreeSet<String>,
    lines: u64,
    ended: u64,
    removed: u64,
    looks: u64,
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines acked in {} tasks, {} ended, {} removed, {} entries, {} transactions, {} keys gone, {} whole looks",
            self.lines,
            self.made,
            self.ended,
            self.removed,
            self.keys.values().map(|(acked, _)| acked).sum::<u64>(),
            self.pairs.0,
            self.gone.len(),
            self.looks
        )
    }
}

impl World {
    /// A task that takes lines.
    fn open_task(&mut self, dice: &mut Dice) -> String {
        let open = |task: &Task| task.end == Asked::No && task.removal == Asked::No && task.sent < TASK_LINES_MAX;
        let open: Vec<String> =
            self.tasks.iter().filter(|(_, task)| open(task)).map(|(name, _)| name.clone()).collect();
        if open.len() >= 3 {
            return open[usize::try_from(dice.roll(open.len() as u64)).unwrap()].clone();
        }
        self.made += 1;
        let name = format!("t{}", self.made);
        self.tasks.insert(name.clone(), Task::default());
        name
    }

    /// Appends lines to a task.
    pub(crate) fn append(&mut self, client: &mut Client, dice: &mut Dice, most: u64) {
        if !client.is_up() {
            return;
        }
        let name = self.open_task(dice);
        self.append_to(client, &name, most / 2 + 1 + dice.roll(most / 2 + 1));
    }

    fn append_to(&mut self, client: &mut Client, name: &str, count: u64) {
        let task = self.tasks.get_mut(name).unwrap();
        // Only behind what is known to be there, so that numbers stay dense.
        if task.sent > task.acked {
            return;
        }
        let text: String = (task.sent + 1..=task.sent + count).map(|n| format!("{n}\n")).collect();
        task.sent += count;
        if let Some(answer) = client.http("POST", &format!("/api/v1/tasks/{name}/lines"), "text/plain", &text) {
            assert_eq!(answer.status, 200, "{name}: {}", answer.body);
            self.lines += task.sent - task.acked;
            task.acked = task.sent;
        }
    }

    /// Ends a task that has lines.
    pub(crate) fn end(&mut self, client: &mut Client, dice: &mut Dice) {
        let Some(name) = self.pick(dice, |task| task.end == Asked::No && task.removal == Asked::No && task.acked > 0)
        else {
            return;
        };
        let task = self.tasks.get_mut(&name).unwrap();
        if !client.is_up() {
            return;
        }
        task.end = Asked::Yes;
        let path = format!("/api/v1/tasks/{name}/end");
        if let Some(answer) = client.http("POST", &path, "application/json", r#"{"exit_code":0}"#) {
            assert_eq!(answer.status, 200, "{name}: {}", answer.body);
            task.end = Asked::Done;
            self.ended += 1;
        }
    }

    /// Removes any task.
    pub(crate) fn remove(&mut self, client: &mut Client, dice: &mut Dice) {
        if let Some(name) = self.pick(dice, |task| task.removal == Asked::No && task.acked > 0) {
            self.remove_task(client, &name);
        }
    }

    /// Removes a task that has ended, or ends one for the next time.
    pub(crate) fn remove_sealed(&mut self, client: &mut Client, dice: &mut Dice) {
        match self.pick(dice, |task| task.removal == Asked::No && task.end == Asked::Done) {
            Some(name) => self.remove_task(client, &name),
            None => {
                self.append(client, dice, 100);
                self.end(client, dice);
            }
        }
    }

    fn remove_task(&mut self, client: &mut Client, name: &str) {
        if !client.is_up() {
            return;
        }
        let task = self.tasks.get_mut(name).unwrap();
        task.removal = Asked::Yes;
        if let Some(answer) = client.http("DELETE", &format!("/api/v1/tasks/{name}"), "text/plain", "") {
            assert_eq!(answer.status, 204, "{name}: {}", answer.body);
            task.removal = Asked::Done;
            self.removed += 1;
        }
    }

    fn pick(&self, dice: &mut Dice, wanted: impl Fn(&Task) -> bool) -> Option<String> {
        let found: Vec<&String> = self.tasks.iter().filter(|(_, task)| wanted(task)).map(|(name, _)| name).collect();
        let at = usize::try_from(dice.roll(found.len().max(1) as u64)).unwrap();
        found.get(at).map(|name| (*name).clone())
    }

    /// Adds entries to a plain key and to a task's.
    pub(crate) fn add(&mut self, client: &mut Client, dice: &mut Dice) {
        for key in ["plain", "task:logs:key"] {
            let known = self.keys.entry(key).or_default();
            for _ in 0..1 + dice.roll(4) {
                if !client.is_up() || known.1 > known.0 {
                    break;
                }
                known.1 += 1;
                let id = format!("{}-1", known.1);
                if let Some(frame) = client.redis(&["XADD", key, &id, "line", &known.1.to_string()]) {
                    assert_eq!(frame.text(), Some(id.as_bytes()), "{key}: {frame}");
                    known.0 = known.1;
                }
            }
        }
    }

    /// Adds an entry to two keys, or to none.
    pub(crate) fn transact(&mut self, client: &mut Client) {
        if !client.is_up() || self.pairs.1 > self.pairs.0 {
            return;
        }
        self.pairs.1 += 1;
        let id = format!("{}-1", self.pairs.1);
        let all = [vec!["MULTI"], vec!["XADD", "pair:a", &id, "f", "v"], vec!["XADD", "pair:b", &id, "f", "v"]];
        let queued = all.iter().all(|args| client.redis(args).is_some());
        if queued && client.redis(&["EXEC"]).is_some() {
            self.pairs.0 = self.pairs.1;
        }
    }

    /// Many small blocks in a task, keys whose time is over at once, and a key that is deleted.
    pub(crate) fn trickle(&mut self, client: &mut Client, dice: &mut Dice) {
        let name = self.open_task(dice);
        for _ in 0..24 {
            if self.tasks[&name].sent == self.tasks[&name].acked {
                self.append_to(client, &name, 1);
            }
        }
        for n in 0..4 {
            let key = format!("short:{}-{n}", self.gone.len());
            let added = client.redis(&["XADD", &key, "1-1", "f", "v"]);
            let over = if n == 0 { client.redis(&["DEL", &key]) } else { client.redis(&["PEXPIRE", &key, "1"]) };
            if added.is_some() && over.is_some() {
                self.gone.insert(key);
            }
        }
    }

    /// Looks at everything; what was not answered is known then. Cut short, the next look goes on.
    pub(crate) fn check(&mut self, client: &mut Client) {
        let names: Vec<String> = self.tasks.keys().cloned().collect();
        for name in names {
            if self.check_task(client, &name).is_none() {
                return;
            }
        }
        for (key, known) in &mut self.keys {
            let Some(found) = ids(client, key) else { return };
            assert!(found.iter().eq(&(1..=found.len() as u64).collect::<Vec<_>>()), "{key}: {found:?}");
            let there = found.len() as u64;
            assert!((known.0..=known.1).contains(&there), "{key}: {} acked, {there} there, {} sent", known.0, known.1);
            *known = (there, there);
        }
        let (Some(a), Some(b)) = (ids(client, "pair:a"), ids(client, "pair:b")) else { return };
        assert_eq!(a, b, "a transaction is there whole or not at all");
        let there = a.len() as u64;
        assert!((self.pairs.0..=self.pairs.1).contains(&there), "{:?} transactions, {there} there", self.pairs);
        self.pairs = (there, there);
        for key in &self.gone {
            let Some(frame) = client.redis(&["EXISTS", key]) else { return };
            assert_eq!(frame, Frame::Line(b':', b"0".to_vec()), "{key} is back");
        }
        self.looks += u64::from(client.is_up());
    }

    fn check_task(&mut self, client: &mut Client, name: &str) -> Option<()> {
        let task = self.tasks.get_mut(name).unwrap();
        let told = client.http("GET", &format!("/api/v1/tasks/{name}"), "text/plain", "")?;
        if told.status == 404 {
            let none = task.removal != Asked::No || task.acked == 0;
            assert!(none, "{name} is forgotten: {task:?}");
            self.tasks.remove(name);
            return Some(());
        }
        assert_eq!(told.status, 200, "{name}: {}", told.body);
        assert!(task.removal != Asked::Done, "{name} is back: {}", told.body);
        if task.removal == Asked::Yes {
            // It may be half gone: it is still there to be removed.
            let answer = client.http("DELETE", &format!("/api/v1/tasks/{name}"), "text/plain", "")?;
            assert_eq!(answer.status, 204, "{name}: {}", answer.body);
            task.removal = Asked::Done;
            return Some(());
        }
        let log = client.http("GET", &format!("/api/v1/tasks/{name}/log?format=ndjson"), "text/plain", "")?;
        assert_eq!(log.status, 200, "{name}: {}", log.body);
        let mut there = 0;
        for row in log.body.lines() {
            // A server that dies cuts its answer short.
            let Ok(line) = serde_json::from_str::<Value>(row) else {
                client.up = false;
                return None;
            };
            there += 1;
            assert_eq!(line["n"].as_u64(), Some(there), "{name}: numbers are dense");
            assert_eq!(line["line"].as_str(), Some(there.to_string().as_str()), "{name}: each line once, in order");
        }
        if there < task.acked && client.try_http("GET", "/healthz", "text/plain", "").is_none() {
            client.up = false;
            return None;
        }
        assert!((task.acked..=task.sent).contains(&there), "{name}: {task:?}, {there} there");
        (task.acked, task.sent) = (there, there);
        let ended = told.json()["status"] == "completed";
        match task.end {
            Asked::No => assert!(!ended, "{name}: {}", told.body),
            Asked::Done => assert!(ended, "{name}: {}", told.body),
            Asked::Yes => task.end = if ended { Asked::Done } else { Asked::No },
        }
        Some(())
    }
}

/// The numbers of a key's entries.
fn ids(client: &mut Client, key: &str) -> Option<Vec<u64>> {
    let found = client.redis(&["XRANGE", key, "-", "+"])?;
    let Frame::Many(_, Some(entries)) = &found else { panic!("{key}: {found}") };
    let id = |entry: &Frame| match entry {
        Frame::Many(_, Some(parts)) => {
            let text = String::from_utf8_lossy(parts[0].text().unwrap()).into_owned();
            text.strip_suffix("-1").unwrap().parse().unwrap()
        }
        other => panic!("{key}: {other}"),
    };
    Some(entries.iter().map(id).collect())
}
