//! A proxy that can be shut, and a viewer that is no part of the product.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use crate::support::LIMIT;

/// What the proxy does with connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Connections are cut, new ones too.
    Shut,
    /// Connections stand, and nothing passes.
    Stalled,
}

struct Shared {
    gate: Mutex<(Gate, HashMap<u64, TcpStream>)>,
    moved: Condvar,
}

/// A TCP proxy in front of a server.
pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy to the server at this URL.
    pub(crate) fn start(url: &str) -> Self {
        let target = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { gate: Mutex::new((Gate::Open, HashMap::new())), moved: Condvar::new() });
        let for_all = shared.clone();
        std::thread::spawn(move || {
            for (number, near) in listener.incoming().enumerate() {
                let Ok(near) = near else { return };
                if for_all.gate.lock().unwrap().0 == Gate::Shut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&target) else { continue };
                for (side, from, to) in [(0, &near, &far), (1, &far, &near)] {
                    let key = number as u64 * 2 + side;
                    for_all.gate.lock().unwrap().1.insert(key, from.try_clone().unwrap());
                    let (from, to, shared) = (from.try_clone().unwrap(), to.try_clone().unwrap(), for_all.clone());
                    std::thread::spawn(move || {
                        pump(from, to, &shared);
                        shared.gate.lock().unwrap().1.remove(&key);
                    });
                }
            }
        });
        Self { url: own, shared }
    }

    pub(crate) fn shut(&self) {
        let mut gate = self.shared.gate.lock().unwrap();
        gate.0 = Gate::Shut;
        gate.1.values().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
        self.shared.moved.notify_all();
    }

    pub(crate) fn stall(&self) {
        self.shared.gate.lock().unwrap().0 = Gate::Stalled;
    }

    pub(crate) fn open(&self) {
        self.shared.gate.lock().unwrap().0 = Gate::Open;
        self.shared.moved.notify_all();
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let gate = shared.gate.lock().unwrap();
        let gate = shared.moved.wait_while(gate, |gate| gate.0 == Gate::Stalled).unwrap();
        let shut = gate.0 == Gate::Shut;
        drop(gate);
        if shut || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

/// What a viewer has of a task.
#[derive(Default)]
pub(crate) struct Seen {
    /// All lines, in the order they came.
    pub(crate) lines: Vec<Value>,
    pub(crate) gaps: Vec<Value>,
    pub(crate) resets: usize,
    pub(crate) connections: usize,
    pub(crate) close: Option<CloseFrame>,
    pub(crate) end: Option<Value>,
}

impl Seen {
    /// The texts of one channel.
    pub(crate) fn texts(&self, channel: &str) -> Vec<String> {
        let of = self.lines.iter().filter(|line| line["stream"] == channel);
        of.map(|line| line["line"].as_str().unwrap().to_owned()).collect()
    }

    /// Each line number once, from 1, without a hole.
    pub(crate) fn check_dense(&self) {
        for (index, line) in self.lines.iter().enumerate() {
            assert_eq!(line["n"].as_u64(), Some(index as u64 + 1), "not dense: {line}");
        }
    }
}

/// Reads a task on a thread of its own from line 1, and resumes at its cursor when it is cut off.
pub(crate) struct Viewer {
    seen: Arc<Mutex<Seen>>,
    thread: JoinHandle<()>,
}

impl Viewer {
    /// A viewer that comes back until the task's end.
    pub(crate) fn start(url: &str, task: &str) -> Self {
        Self::with(url, task, true)
    }

    /// One that reads a single connection to its end.
    pub(crate) fn once(url: &str, task: &str) -> Self {
        Self::with(url, task, false)
    }

    fn with(url: &str, task: &str, again: bool) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (for_thread, base) = (seen.clone(), url.to_owned());
        let task = task.to_owned();
        let thread = std::thread::spawn(move || {
            let mut cursor = None;
            let begun = Instant::now();
            while begun.elapsed() < LIMIT {
                if let Some(socket) = dial(&base, &task, cursor.as_deref()) {
                    for_thread.lock().unwrap().connections += 1;
                    read(socket, &for_thread, &mut cursor);
                    if !again || for_thread.lock().unwrap().end.is_some() {
                        return;
                    }
                }
                crate::tools::pause();
            }
        });
        Self { seen, thread }
    }

    /// Lines so far.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().lines.len()
    }

    /// Whether a line of this text has come.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.seen.lock().unwrap().lines.iter().any(|line| line["line"] == text)
    }

    /// All it has seen, at the task's end or its connection's.
    pub(crate) fn finish(self) -> Seen {
        self.thread.join().unwrap();
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// A WebSocket of a viewer, if the server answers.
pub(crate) fn dial(url: &str, task: &str, cursor: Option<&str>) -> Option<WebSocket<TcpStream>> {
    let host = url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(host).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let after = cursor.map(|cursor| format!("&after={cursor}")).unwrap_or_default();
    let url = format!("ws://{host}/ws/v1/tasks/{task}?wait=1{after}");
    client(url, stream).ok().map(|(socket, _)| socket)
}

fn read(mut socket: WebSocket<TcpStream>, seen: &Mutex<Seen>, cursor: &mut Option<String>) {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                if let Some(at) = message["cursor"].as_str() {
                    *cursor = Some(at.to_owned());
                }
                let mut seen = seen.lock().unwrap();
                match message["type"].as_str().unwrap() {
                    "lines" => seen.lines.extend(message["lines"].as_array().unwrap().iter().cloned()),
                    "gap" => seen.gaps.push(message),
                    "reset" => seen.resets += 1,
                    "end" => seen.end = Some(message["task"].clone()),
                    "error" => panic!("{message}"),
                    _ => {}
                }
            }
            Ok(Message::Close(frame)) => seen.lock().unwrap().close = frame,
            Ok(_) => {}
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

/// An answer's body; the answer must be 200.
pub(crate) fn get(url: &str, path: &str) -> String {
    let (status, body) = ask(url, path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// A task's facts.
pub(crate) fn facts(url: &str, task: &str) -> Value {
    serde_json::from_str(&get(url, &format!("/api/v1/tasks/{task}"))).unwrap()
}

fn ask(url: &str, path: &str) -> (u16, String) {
    let host = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(host).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
