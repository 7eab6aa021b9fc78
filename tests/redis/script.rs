//! The language of the fixed sequences.
//!
//! ```text
//! == a name starts a sequence; every sequence starts with no key and no connection
//! XADD k 1-1 "a field\r\n\x00" %500xv      words; %500xv is v 500 times
//! 2> XLEN k                                on a second connection
//! 2>> XREAD BLOCK 0 STREAMS k $            sent, and it blocks
//! 2>? XREADGROUP ..                        sent, and it may block
//! @settled 2                               until ours blocks, or has answered, as the newer oracle
//! 2<                                       the reply of what was sent
//! @5 XADD k #-1 f #                        five times, # from 1 to 5; @2..4 from 2 to 4
//! @wait 30                                 that many milliseconds, for expiry
//! @blocked 1                               until INFO says that many clients are blocked
//! @older out                               redis 7.0 is not asked any more in this sequence
//! [near] TTL k                             a number that the clock moves; [sort], [shape], [any]
//! CLIENT UNBLOCK {2}                       {2} is the id of the second connection
//! XADD task:logs:7{protocol} ..            2 or 3, for what outlives a sequence
//! ```

use std::fmt;

use crate::wire::escape;

/// How much of a reply is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Compare {
    /// All of it.
    #[default]
    Exact,
    /// An integer, roughly.
    Near,
    /// An array whose order is free.
    Sorted,
    /// Kinds and counts.
    Shape,
    /// The kind of the outermost frame.
    Kind,
}

/// A command and where it goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) connection: usize,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) compare: Compare,
}

/// One step of a sequence.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sent, and its reply compared.
    Call(Call),
    /// Sent; it must block.
    Block(Call),
    /// Sent; it may block.
    Read(Call),
    /// Until ours is blocked, or has answered, as the newer oracle.
    Settled(usize),
    /// The reply of the command that blocked on this connection.
    Answer(usize),
    /// So many times, `#` counting between the two.
    Repeat(u64, u64, String),
    /// Milliseconds that pass.
    Wait(u64),
    /// Until so many clients are blocked.
    Blocked(usize),
    /// The older oracle differs from here on, by something in the list.
    OlderOut,
}

/// A named sequence.
pub(crate) struct Sequence {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// All sequences of a file.
pub(crate) fn sequences(text: &str) -> Vec<Sequence> {
    let mut found: Vec<Sequence> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("# ")) {
        match line.strip_prefix("== ") {
            Some(name) => found.push(Sequence { name: name.to_owned(), steps: Vec::new() }),
            None => found.last_mut().expect("a name before the first command").steps.push(step(line)),
        }
    }
    found
}

/// One line.
pub(crate) fn step(line: &str) -> Step {
    if let Some(rest) = line.strip_prefix('@') {
        let (word, rest) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        return match word {
            "wait" => Step::Wait(rest.parse().unwrap()),
            "blocked" => Step::Blocked(rest.parse().unwrap()),
            "older" => Step::OlderOut,
            "settled" => Step::Settled(rest.parse().unwrap()),
            _ => {
                let (from, to) = word.split_once("..").unwrap_or(("1", word));
                Step::Repeat(from.parse().unwrap(), to.parse().unwrap(), rest.to_owned())
            }
        };
    }
    let (connection, rest) = match line.split_once(['>', '<']) {
        Some((number, _)) if number.len() == 1 && number.as_bytes()[0].is_ascii_digit() => {
            (number.parse().unwrap(), &line[1..])
        }
        _ => (1, line),
    };
    if rest == "<" {
        return Step::Answer(connection);
    }
    if connection != 1 || line.starts_with("1>") {
        if let Some(rest) = rest.strip_prefix(">>") {
            return Step::Block(call(connection, rest));
        }
        if let Some(rest) = rest.strip_prefix(">?") {
            return Step::Read(call(connection, rest));
        }
        return Step::Call(call(connection, rest.strip_prefix('>').unwrap_or(rest)));
    }
    Step::Call(call(connection, rest))
}

/// A command of a line; tags in brackets first.
pub(crate) fn call(connection: usize, text: &str) -> Call {
    let text = text.trim_start();
    let tags = [
        ("[near] ", Compare::Near),
        ("[sort] ", Compare::Sorted),
        ("[shape] ", Compare::Shape),
        ("[any] ", Compare::Kind),
    ];
    for (tag, compare) in tags {
        if let Some(rest) = text.strip_prefix(tag) {
            return Call { connection, args: words(rest), compare };
        }
    }
    Call { connection, args: words(text), compare: Compare::Exact }
}

/// The words of a command: bare, in double quotes with escapes, or `%COUNTxBYTE`.
pub(crate) fn words(text: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(&first) = bytes.peek() {
        let mut word = Vec::new();
        if first == b' ' {
            bytes.next();
            continue;
        }
        let mut quoted = false;
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => quoted = !quoted,
                b' ' if !quoted => break,
                b'\\' if quoted => word.push(match bytes.next().expect("an escape") {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'x' => {
                        let digits = [bytes.next().expect("a digit"), bytes.next().expect("a digit")];
                        u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                    }
                    other => other,
                }),
                _ => word.push(byte),
            }
        }
        words.push(repeated(&word));
    }
    words
}

/// `%5xab` (also `pre%5xab`) is `a` five times, then `b`.
fn repeated(word: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(word);
    let parts = text.split_once('%').and_then(|(before, rest)| {
        let (count, after) = rest.split_once('x')?;
        let count: usize = count.parse().ok()?;
        let byte = after.get(..1)?;
        Some([before.to_owned(), byte.repeat(count), after[1..].to_owned()].concat().into_bytes())
    });
    parts.unwrap_or_else(|| word.to_vec())
}

impl Step {
    /// The connection, when all it does is to send commands that are answered at once.
    pub(crate) fn calls_of(&self) -> Option<usize> {
        match self {
            Self::Call(call) => Some(call.connection),
            Self::Repeat(..) => Some(1),
            _ => None,
        }
    }

    /// These commands.
    pub(crate) fn calls(&self) -> Vec<Call> {
        match self {
            Self::Call(one) => vec![one.clone()],
            Self::Repeat(from, to, text) => {
                (*from..=*to).map(|n| call(1, &text.replace('#', &n.to_string()))).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Call {
    /// The command's name in upper case.
    pub(crate) fn name(&self) -> String {
        self.word(0)
    }

    /// An argument in upper case; empty when there is none.
    pub(crate) fn word(&self, index: usize) -> String {
        self.args.get(index).map(|arg| escape(arg).to_ascii_uppercase()).unwrap_or_default()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.compare {
            Compare::Exact => "",
            Compare::Near => "[near] ",
            Compare::Sorted => "[sort] ",
            Compare::Shape => "[shape] ",
            Compare::Kind => "[any] ",
        })?;
        for (index, arg) in self.args.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let first = arg.first().copied().unwrap_or_default();
            if arg.len() > 40 && arg.iter().all(|&byte| byte == first && byte.is_ascii_alphanumeric()) {
                write!(f, "%{}x{}", arg.len(), char::from(first))?;
            } else if !arg.is_empty()
                && arg.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
            {
                f.write_str(&String::from_utf8_lossy(arg))?;
            } else {
                write!(f, "\"{}\"", arg.escape_ascii())?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) if call.connection == 1 => write!(f, "{call}"),
            Self::Call(call) => write!(f, "{}> {call}", call.connection),
            Self::Block(call) => write!(f, "{}>> {call}", call.connection),
            Self::Read(call) => write!(f, "{}>? {call}", call.connection),
            Self::Settled(connection) => write!(f, "@settled {connection}"),
            Self::Answer(connection) => write!(f, "{connection}<"),
            Self::Repeat(from, to, text) => write!(f, "@{from}..{to} {text}"),
            Self::Wait(ms) => write!(f, "@wait {ms}"),
            Self::Blocked(count) => write!(f, "@blocked {count}"),
            Self::OlderOut => f.write_str("@older out"),
        }
    }
}

#[test]
fn a_line_reads_back_as_it_is_shown() {
    for line in [
        "XADD k 1-1 f v",
        "2> XLEN \"a b\\x00\\r\"",
        "3>> XREAD BLOCK 0 STREAMS k $",
        "3<",
        "@1..5 XADD k #-1 f #",
        "[near] TTL k",
        "SET %50xa \"\"",
    ] {
        assert_eq!(step(line).to_string(), line);
    }
    assert_eq!(words("a%3xbc \"%2xd\""), [b"abbbc".to_vec(), b"dd".to_vec()]);
}
