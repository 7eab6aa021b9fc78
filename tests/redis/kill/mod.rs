//! The Redis port of the real server under SIGKILL, at random moments, while several connections add, trim,
//! delete, read by groups and acknowledge in pipelines.
//!
//! Of each connection the server must have, after the kill, all that was answered; what was not answered may be
//! there in part. No id comes again, nothing that was deleted or acknowledged comes back, and what a reader saw
//! is there.
//!
//! `TASKTAIL_CRASH_ROUNDS` makes it longer.

mod model;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::wire::{Client, Frame, Lost};
use model::{Id, Op, Seen, State, entries, field, id_of, pairs};

const ROUNDS_DEFAULT: u64 = 20;
/// By turns. Both survive a kill; only the first a power cut.
const DURABILITIES: [&str; 2] = ["commit", "interval"];
const WRITERS: usize = 4;
/// Commands that a connection sends together, and those it leaves unanswered, at most.
const PIPELINE: u64 = 40;
const UNDER_WAY: u64 = 120;
/// Answers after which a round ends, at most.
const ROUND_ANSWERS: u64 = 4_000;

struct Server(Child);

impl Server {
    /// On an address that is free between two of them.
    fn start(data: &Path, address: SocketAddr, durability: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tasktail"))
            .args(["serve", "--listen", "127.0.0.1:0", "--resp", &address.to_string(), "--data"])
            .arg(data)
            .args(["--durability", durability])
            .env("TASKTAIL_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while lines.read_line(&mut said).unwrap() > 0 && !said.contains("redis on") {}
        assert!(said.contains(&format!("redis on redis://{address}")), "it said {said:?}");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A small generator, seeded by the process: what is killed when differs from run to run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What a connection knows when it breaks.
struct Broken {
    /// What it was answered.
    answered: State,
    /// What it was not, in order.
    open: VecDeque<Op>,
    /// The ids it was given in the stream of all, and their numbers.
    given: Vec<(Id, u64)>,
}

/// Sends pipelines until the connection breaks; each answer is looked at, and counted.
fn write(mut client: Client, state: State, mut dice: Dice, count: &Sender<()>) -> Broken {
    let mut planned = state.clone();
    let mut broken = Broken { answered: state, open: VecDeque::new(), given: Vec::new() };
    loop {
        let mut bytes = Vec::new();
        for _ in 0..=dice.roll(PIPELINE) {
            let op = planned.next_op(&mut dice);
            planned.apply(&op);
            op.encode(planned.writer, &mut bytes);
            broken.open.push_back(op);
        }
        client.send_raw(&bytes);
        let left = usize::try_from(dice.roll(UNDER_WAY)).unwrap();
        while broken.open.len() > left {
            let op = broken.open.front().unwrap().clone();
            match (0..op.replies()).map(|_| client.reply()).collect::<Result<Vec<Frame>, Lost>>() {
                Ok(frames) => {
                    broken.answered.answer(&op, &frames);
                    match (&op, id_of(&frames[0])) {
                        (Op::AddStar, Some(id)) => planned.learn(id),
                        (Op::AddAll(number), Some(id)) => broken.given.push((id, *number)),
                        _ => {}
                    }
                    broken.open.pop_front();
                    // Nobody counts any more once the server is to be killed.
                    count.send(()).ok();
                }
                Err(Lost::Closed) => return broken,
                Err(Lost::Silent) => panic!("the server is silent at {op:?}"),
            }
        }
    }
}

/// Follows the stream of all until the connection breaks.
fn follow(mut client: Client, mut after: Id) -> Vec<(Id, String)> {
    let mut seen = Vec::new();
    loop {
        let last = format!("{}-{}", after.0, after.1);
        match client.ask(&["XREAD", "COUNT", "50", "BLOCK", "0", "STREAMS", "all", &last]) {
            Ok(Frame::Many(b'*', Some(streams))) => {
                let Frame::Many(_, Some(stream)) = &streams[0] else { panic!("{}", streams[0]) };
                for (id, value) in entries(&stream[1]) {
                    assert!(id > after, "{id:?} after {after:?}");
                    after = id;
                    seen.push((id, value));
                }
            }
            Ok(other) => panic!("{other}"),
            Err(Lost::Closed) => return seen,
            Err(Lost::Silent) => panic!("the reader was forgotten"),
        }
    }
}

/// The stream that all connections write to.
#[derive(Default)]
struct All {
    entries: BTreeMap<Id, String>,
    /// How many each writer has in it.
    counts: [u64; WRITERS],
}

impl All {
    /// Reads what is new; a number of a writer comes once, and in order.
    fn read(&mut self, client: &mut Client) {
        let (ms, seq) = self.last();
        let new = client.ask(&["XRANGE", "all", &format!("({ms}-{seq}"), "+"]).unwrap();
        for (id, value) in entries(&new) {
            let (writer, number) = value.split_once(':').unwrap();
            let count = &mut self.counts[writer.parse::<usize>().unwrap()];
            *count += 1;
            assert_eq!(number.parse(), Ok(*count), "writer {writer} at {id:?}");
            self.entries.insert(id, value);
        }
    }

    fn last(&self) -> Id {
        self.entries.last_key_value().map_or((0, 0), |(id, _)| *id)
    }
}

/// What the server has of a writer.
fn look(client: &mut Client, writer: usize, all: &All) -> Seen {
    let mut ask = |line: &str| {
        let frame = client.ask(&line.replace('#', &writer.to_string()).split(' ').collect::<Vec<_>>()).unwrap();
        assert!(!matches!(frame, Frame::Line(b'-', _)), "{line}: {frame}");
        frame
    };
    let star = pairs(&ask("XINFO STREAM star:#"));
    let exact = pairs(&ask("XINFO STREAM exact:#"));
    let Frame::Many(_, Some(groups)) = ask("XINFO GROUPS work:#") else { panic!("groups") };
    let Frame::Many(_, Some(pending)) = ask("XPENDING work:# g - + 1000000") else { panic!("pending") };
    let ids = |frame: &Frame| entries(frame).into_iter().map(|(id, _)| id);
    Seen {
        exact: ids(&ask("XRANGE exact:# - +")).map(|id| id.0).collect(),
        exact_last: field(&exact, "last-generated-id").split('-').next().unwrap().parse().unwrap(),
        about: ids(&ask("XRANGE about:# - +")).map(|id| id.0).collect(),
        star: ids(&ask("XRANGE star:# - +")).collect(),
        star_added: field(&star, "entries-added").parse().unwrap(),
        work: ids(&ask("XRANGE work:# - +")).map(|id| id.0).collect(),
        delivered: field(&pairs(&groups[0]), "last-delivered-id").split('-').next().unwrap().parse().unwrap(),
        pending: pending.iter().map(|entry| model::first_id(entry).0).collect::<BTreeSet<_>>(),
        all: all.counts[writer],
    }
}

/// An id that was given is not given again, whatever was deleted or trimmed.
fn no_id_again(client: &mut Client, state: &State) {
    for (stream, last) in [("exact", state.exact_last), ("about", state.about)] {
        let again = client.ask(&["XADD", &format!("{stream}:{}", state.writer), &format!("{last}-0"), "f", "v"]);
        let text = again.as_ref().ok().and_then(Frame::text).map(<[u8]>::to_vec).unwrap_or_default();
        let refused = text.starts_with(b"ERR The ID specified in XADD is equal or smaller");
        assert!(refused, "{stream} of {}: {last} again gave {again:?}", state.writer);
    }
}

fn round(
    address: SocketAddr,
    server: Server,
    states: Vec<State>,
    all: &All,
    dice: &mut Dice,
) -> (Vec<Broken>, Vec<(Id, String)>) {
    let (count, counted): (Sender<()>, Receiver<()>) = channel();
    let after = all.last();
    std::thread::scope(|scope| {
        let reader = Client::connect(address).unwrap();
        let reader = scope.spawn(move || follow(reader, after));
        let writers: Vec<_> = states
            .into_iter()
            .map(|state| {
                let (client, count) = (Client::connect(address).unwrap(), count.clone());
                let dice = Dice(dice.roll(u64::MAX >> 1));
                scope.spawn(move || write(client, state, dice, &count))
            })
            .collect();
        drop(count);
        for _ in 0..=dice.roll(ROUND_ANSWERS) {
            if counted.recv().is_err() {
                break;
            }
        }
        drop(server);
        let broken = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        (broken, reader.join().unwrap())
    })
}

#[test]
fn acknowledged_entries_survive_kills_and_ids_are_not_reused() {
    let rounds = std::env::var("TASKTAIL_CRASH_ROUNDS").ok().map_or(ROUNDS_DEFAULT, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut dice = Dice(u64::from(std::process::id()));
    let mut server = Server::start(folder.path(), address, DURABILITIES[1]);
    let mut states: Vec<State> =
        (0..WRITERS).map(|writer| State::begin(writer, &mut Client::connect(address).unwrap())).collect();
    let mut all = All::default();
    all.read(&mut Client::connect(address).unwrap());
    let mut answers = 0;
    for number in 0..rounds {
        let last = all.last();
        let (broken, seen) = round(address, server, states, &all, &mut dice);
        server = Server::start(folder.path(), address, DURABILITIES[usize::from(number % 2 == 1)]);
        let mut client = Client::connect(address).unwrap();
        all.read(&mut client);
        for (id, value) in seen {
            assert_eq!(all.entries.get(&id), Some(&value), "round {number}: a reader saw {id:?}");
        }
        states = broken
            .into_iter()
            .map(|mut broken| {
                let writer = broken.answered.writer;
                for (id, given) in &broken.given {
                    assert!(*id > last, "round {number}: {id:?} was there before {last:?}");
                    assert_eq!(all.entries.get(id), Some(&format!("{writer}:{given}")), "round {number}: {id:?}");
                }
                answers += broken.given.len();
                let mut state = broken.answered.settle(broken.open.make_contiguous(), look(&mut client, writer, &all));
                no_id_again(&mut client, &state);
                state.shorten(&mut client);
                state
            })
            .collect();
    }
    assert!(answers > 0, "nothing was answered in {rounds} rounds");
}
