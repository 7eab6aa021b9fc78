//! One sequence on all servers at once; after each command the replies are compared.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::differences::{self, Case, Ours};
use crate::normal::normalise;
use crate::oracle::{Server, Which, pause, servers};
use crate::script::{Call, Step};
use crate::wire::{Client, Frame, Lost, PATIENCE, Protocol};

/// Commands that are sent before their answers are read.
const PIPELINE: usize = 200;

/// The servers and what stands between a sequence and its end.
pub(crate) struct Play {
    seats: Vec<Seat>,
    protocol: Protocol,
    /// What each connection has queued since its MULTI.
    queued: BTreeMap<usize, Vec<Call>>,
    /// The commands that are under way, by connection.
    blocked: BTreeMap<usize, Call>,
    /// The older oracle took another way.
    older_out: bool,
    transcript: Vec<String>,
}

/// One server, its connections, and one more to look at it.
struct Seat {
    server: Server,
    control: Client,
    connections: BTreeMap<usize, Connection>,
}

struct Connection {
    client: Client,
    id: Vec<u8>,
}

type Answer = Result<Frame, Lost>;

impl Play {
    /// Starts all servers.
    pub(crate) fn new() -> Self {
        let seats = servers()
            .into_iter()
            .map(|server| Seat { control: server.connect(), server, connections: BTreeMap::new() })
            .collect();
        Self {
            seats,
            protocol: Protocol::Resp2,
            queued: BTreeMap::new(),
            blocked: BTreeMap::new(),
            older_out: false,
            transcript: Vec::new(),
        }
    }

    /// Plays a sequence from an empty keyspace; the error says what differs and what led there. Commands of
    /// one connection that follow each other are sent together, so none of them may end it.
    pub(crate) fn run(&mut self, protocol: Protocol, steps: &[Step]) -> Result<(), String> {
        self.begin(protocol);
        let together = |one: &Step, next: &Step| match (one.calls_of(), next.calls_of()) {
            (Some(one), Some(next)) => one == next,
            _ => false,
        };
        let done = steps.chunk_by(together).try_for_each(|steps| match steps {
            [step] => self.step(step),
            steps => {
                self.transcript.extend(steps.iter().map(ToString::to_string));
                self.pipelines(&steps.iter().flat_map(Step::calls).collect::<Vec<_>>())
            }
        });
        done.map_err(|error| format!("{protocol:?}\n{}\n{error}", self.transcript.join("\n")))
    }

    /// The same, and goes on after a difference: the error tells all of them.
    pub(crate) fn run_all(&mut self, protocol: Protocol, steps: &[Step]) -> Result<(), String> {
        self.begin(protocol);
        let (mut told, mut from) = (Vec::new(), 0);
        for step in steps {
            if let Err(error) = self.step(step) {
                told.push(format!("{}\n{error}", self.transcript[from..].join("\n")));
                from = self.transcript.len();
            }
        }
        if told.is_empty() { Ok(()) } else { Err(format!("{protocol:?}\n{}", told.join("\n"))) }
    }

    /// Forgets all keys; connections are kept, in the state of new ones, but for those that block.
    fn begin(&mut self, protocol: Protocol) {
        for seat in &mut self.seats {
            for number in self.blocked.keys() {
                seat.connections.remove(number);
            }
            if self.older_out && seat.server.which == Which::Redis {
                seat.connections.clear();
            }
            seat.connections.values_mut().for_each(|connection| connection.send_reset(protocol));
            seat.control.send(&["FLUSHALL"]);
        }
        for seat in &mut self.seats {
            seat.connections.retain(|_, connection| connection.is_reset(protocol));
            seat.control.reply().unwrap_or_else(|lost| panic!("{:?}: {lost}", seat.server.which));
            if !self.blocked.is_empty() {
                seat.until_blocked(0).unwrap();
            }
        }
        self.protocol = protocol;
        self.queued.clear();
        self.blocked.clear();
        self.transcript.clear();
        self.older_out = false;
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.transcript.push(step.to_string());
        match step {
            Step::Call(call) => {
                self.send(call);
                self.answers(call)
            }
            Step::Block(call) => {
                self.send(call);
                self.blocked.insert(call.connection, call.clone());
                self.until_blocked(self.blocked.len())
            }
            Step::Read(call) => {
                self.send(call);
                self.blocked.insert(call.connection, call.clone());
                self.settle(call.connection)
            }
            Step::Settled(number) => self.settle(*number),
            Step::Answer(number) => {
                let call = self.blocked.remove(number).ok_or("nothing is under way on this connection")?;
                self.answers(&call)
            }
            Step::Repeat(..) => self.pipelines(&step.calls()),
            Step::Wait(ms) => {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(*ms) {
                    pause();
                }
                Ok(())
            }
            Step::Blocked(count) => self.until_blocked(*count),
            Step::OlderOut => {
                self.older_out = true;
                Ok(())
            }
        }
    }

    fn until_blocked(&mut self, count: usize) -> Result<(), String> {
        let older_out = self.older_out;
        let mut seats = self.seats.iter_mut().filter(|seat| !(older_out && seat.server.which == Which::Redis));
        seats.try_for_each(|seat| seat.until_blocked(count))
    }

    fn pipelines(&mut self, calls: &[Call]) -> Result<(), String> {
        calls.chunks(PIPELINE).try_for_each(|calls| self.pipeline(calls))
    }

    /// Sends all, then compares all; the first difference is told.
    fn pipeline(&mut self, calls: &[Call]) -> Result<(), String> {
        calls.iter().for_each(|call| self.send(call));
        let mut done = Ok(());
        for call in calls {
            done = done.and(self.answers(call));
        }
        done
    }

    /// Waits until the only command under way blocks or is answered, in ours as in the newer oracle.
    fn settle(&mut self, number: usize) -> Result<(), String> {
        let mut wanted = None;
        let older_out = self.older_out;
        let seats = self.seats.iter_mut().filter(|seat| !(older_out && seat.server.which == Which::Redis));
        for seat in seats.rev() {
            let begun = Instant::now();
            let blocks = loop {
                let blocks = seat.blocked()? == "1";
                let answered = seat.connections.get_mut(&number).is_none_or(|connection| connection.client.has_reply());
                let agreed = wanted.is_none_or(|wanted| wanted == blocks) || seat.server.which == Which::Redis;
                if blocks != answered && agreed {
                    break blocks;
                }
                if begun.elapsed() > PATIENCE / 4 {
                    return Err(format!(
                        "{:?}: blocked is {blocks}, the newer oracle's is {wanted:?}",
                        seat.server.which
                    ));
                }
            };
            wanted = wanted.or(Some(blocks));
        }
        Ok(())
    }

    fn send(&mut self, call: &Call) {
        let protocol = self.protocol;
        for seat in self.seats.iter_mut().filter(|seat| !(self.older_out && seat.server.which == Which::Redis)) {
            let args: Vec<Vec<u8>> = call.args.iter().map(|arg| seat.filled_in(arg, protocol)).collect();
            seat.connection(call.connection, protocol).client.send(&args);
        }
    }

    fn answers(&mut self, call: &Call) -> Result<(), String> {
        let mut ours = None;
        let mut redis = None;
        let mut valkey = Err(Lost::Silent);
        for seat in self.seats.iter_mut().filter(|seat| !(self.older_out && seat.server.which == Which::Redis)) {
            let answer = seat.connection(call.connection, self.protocol).client.reply();
            if answer.is_err() {
                seat.connections.remove(&call.connection);
            }
            match seat.server.which {
                Which::Ours => ours = Some(answer),
                Which::Redis => redis = Some(answer),
                Which::Valkey => valkey = answer,
            }
        }
        let queued = self.follow(call, &valkey);
        let parts = judge(call, queued.as_deref(), &Answers { ours, redis, valkey })?;
        self.older_out |= parts;
        Ok(())
    }

    /// Keeps what is queued for EXEC; gives it when the command is EXEC.
    fn follow(&mut self, call: &Call, answer: &Answer) -> Option<Vec<Call>> {
        let text = answer.as_ref().ok().and_then(Frame::text).unwrap_or_default();
        if text == b"QUEUED" {
            self.queued.entry(call.connection).or_default().push(call.clone());
            return None;
        }
        let ends = matches!(call.name().as_str(), "EXEC" | "DISCARD" | "RESET" | "QUIT");
        if ends { self.queued.remove(&call.connection) } else { None }
    }
}

/// The answers to one command.
struct Answers {
    /// None while only the oracles are compared.
    ours: Option<Answer>,
    /// None once the older oracle took another way.
    redis: Option<Answer>,
    valkey: Answer,
}

/// Compares; true when the older oracle is not to be asked any more.
fn judge(call: &Call, queued: Option<&[Call]>, answers: &Answers) -> Result<bool, String> {
    if let Some(each) = queued.and_then(|queued| answers.split(queued.len())) {
        let mut parts = false;
        for (call, answers) in queued.unwrap_or_default().iter().zip(each) {
            parts |= judge(call, None, &answers).map_err(|error| format!("inside EXEC: {call}\n{error}"))?;
        }
        return Ok(parts);
    }
    let plain = |answer: &Answer| match answer {
        Ok(frame) => normalise(call.compare, frame.clone()).to_string(),
        Err(lost) => lost.to_string(),
    };
    let (redis, valkey) = (answers.redis.as_ref().map(plain), plain(&answers.valkey));
    let found = differences::find(&Case { call, redis: redis.as_deref(), valkey: &valkey });
    let told = |what: &str| {
        let show = |answer: &Option<Answer>| match answer {
            Some(Ok(frame)) => frame.to_string(),
            Some(Err(lost)) => lost.to_string(),
            None => "(not asked)".to_owned(),
        };
        let listed = found.map_or_else(String::new, |found| format!("\n  listed: {} ({})", found.name, found.reason));
        format!(
            "{what}: {call}\n  ours:   {}\n  redis:  {}\n  valkey: {}{listed}",
            show(&answers.ours),
            show(&answers.redis),
            show(&Some(answers.valkey.clone())),
        )
    };
    if found.is_none() && redis.as_ref().is_some_and(|redis| *redis != valkey) {
        return Err(told("the oracles differ and the list does not say so"));
    }
    if let Some(ours) = &answers.ours {
        let agrees = match found.map_or(Ours::Newer, |found| found.ours) {
            Ours::Newer => plain(ours) == valkey,
            Ours::Own(accepts) => ours.as_ref().is_ok_and(accepts),
        };
        if !agrees {
            return Err(told("ours differs"));
        }
    }
    Ok(found.is_some_and(|found| found.parts))
}

impl Answers {
    /// The answers inside EXEC's, when all servers gave that many.
    fn split(&self, count: usize) -> Option<Vec<Self>> {
        let inner = |answer: &Answer| match answer {
            Ok(Frame::Many(b'*', Some(inner))) if inner.len() == count => Some(inner.clone()),
            _ => None,
        };
        let valkey = inner(&self.valkey)?;
        let ours = self.ours.as_ref().map(inner);
        let redis = self.redis.as_ref().map(inner);
        if ours == Some(None) || redis == Some(None) {
            return None;
        }
        let at = |frames: &Option<Option<Vec<Frame>>>, index: usize| {
            frames.as_ref().and_then(|frames| frames.as_ref()).map(|frames| Ok(frames[index].clone()))
        };
        let each = valkey.into_iter().enumerate();
        Some(each.map(|(n, valkey)| Self { ours: at(&ours, n), redis: at(&redis, n), valkey: Ok(valkey) }).collect())
    }
}

impl Seat {
    fn connection(&mut self, number: usize, protocol: Protocol) -> &mut Connection {
        let server = &self.server;
        self.connections.entry(number).or_insert_with(|| {
            let mut client = server.connect();
            if protocol == Protocol::Resp3 {
                client.ask(&["HELLO", "3"]).unwrap();
            }
            let id = client.ask(&["CLIENT", "ID"]).unwrap().text().unwrap().to_vec();
            Connection { client, id }
        })
    }

    /// `{2}` is the second connection's id, `{protocol}` the protocol's number.
    fn filled_in(&mut self, arg: &[u8], protocol: Protocol) -> Vec<u8> {
        match arg {
            [b'{', digit @ b'0'..=b'9', b'}'] => self.connection(usize::from(digit - b'0'), protocol).id.clone(),
            _ => match arg.strip_suffix(b"{protocol}") {
                Some(start) if protocol == Protocol::Resp2 => [start, b"2"].concat(),
                Some(start) => [start, b"3"].concat(),
                None => arg.to_vec(),
            },
        }
    }

    /// Waits until the server says that so many clients are blocked.
    fn until_blocked(&mut self, count: usize) -> Result<(), String> {
        let begun = Instant::now();
        let mut said = self.blocked()?;
        while said != count.to_string() {
            if begun.elapsed() > PATIENCE / 4 {
                return Err(format!("{:?}: {count} blocked clients expected, INFO says {said}", self.server.which));
            }
            pause();
            said = self.blocked()?;
        }
        Ok(())
    }

    /// How many clients INFO says are blocked.
    fn blocked(&mut self) -> Result<String, String> {
        let info = self.control.ask(&["INFO", "clients"]).map_err(|lost| lost.to_string())?;
        let text = String::from_utf8_lossy(info.text().unwrap_or_default()).into_owned();
        let found = text.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
        Ok(found.unwrap_or("nothing").to_owned())
    }
}

impl Connection {
    fn send_reset(&mut self, protocol: Protocol) {
        self.client.send(&["RESET"]);
        if protocol == Protocol::Resp3 {
            self.client.send(&["HELLO", "3"]);
        }
    }

    /// Whether it is as a new one again; what was left unread on it says no.
    fn is_reset(&mut self, protocol: Protocol) -> bool {
        let reset = self.client.reply().is_ok_and(|reset| reset.text() == Some(b"RESET"));
        reset && (protocol == Protocol::Resp2 || self.client.reply().is_ok())
    }
}
