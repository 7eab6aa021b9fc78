//! What may differ: between the oracles, and between them and ours. A difference that is not written
//! here fails a comparison; one that the fixed sequences never show fails them.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::script::Call;
use crate::wire::Frame;

/// One thing that may differ.
pub(crate) struct Difference {
    pub(crate) name: &'static str,
    /// Why ours does what it does.
    pub(crate) reason: &'static str,
    /// Whether this is it. The older oracle may no longer be asked.
    when: fn(&Case<'_>) -> bool,
    pub(crate) ours: Ours,
    /// The older oracle's data is another from here on.
    pub(crate) parts: bool,
}

/// What ours answers.
#[derive(Clone, Copy)]
pub(crate) enum Ours {
    /// As the newer oracle.
    Newer,
    /// Something of its own, which this accepts.
    Own(fn(&Frame) -> bool),
}

/// A command and what the oracles answer, in RESP and without the clock.
pub(crate) struct Case<'a> {
    pub(crate) call: &'a Call,
    pub(crate) redis: Option<&'a str>,
    pub(crate) valkey: &'a str,
}

impl Case<'_> {
    fn is(&self, name: &str) -> bool {
        self.call.name() == name
    }

    fn sub(&self, name: &str, subcommands: &[&str]) -> bool {
        self.is(name) && subcommands.contains(&self.call.word(1).as_str())
    }

    fn blocks_on_lists(&self) -> bool {
        ["BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH"].iter().any(|name| self.is(name))
    }

    /// The oracles differ, or the older one is not asked.
    fn apart(&self) -> bool {
        self.redis.is_none_or(|redis| redis != self.valkey)
    }

    fn redis(&self, start: &str) -> bool {
        self.redis.is_some_and(|redis| redis.starts_with(start))
    }

    fn valkey(&self, start: &str) -> bool {
        self.valkey.starts_with(start)
    }

    fn has(&self, word: &str) -> bool {
        (1..self.call.args.len()).any(|index| self.call.word(index) == word)
    }
}

/// Where the oracles differ; ours follows the newer one unless it says otherwise.
const LIST: &[Difference] = &[
    Difference {
        name: "a full millisecond",
        reason: "`ms-*` at the last sequence number: the newer text tells what is wrong",
        when: |case| {
            case.is("XADD") && case.redis("-ERR Elements are too large") && case.valkey("-ERR The ID specified")
        },
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "unbalanced XREAD",
        reason: "both oracles are older than `+` in this text; Redis 8 names it, and clients of today know that text",
        when: |case| case.is("XREAD") && case.valkey("-ERR Unbalanced"),
        ours: Ours::Own(|frame| {
            let text =
                "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.";
            frame.text() == Some(text.as_bytes())
        }),
        parts: false,
    },
    Difference {
        name: "unbalanced XREADGROUP",
        reason: "the newer text names the command that was called",
        when: |case| case.is("XREADGROUP") && case.apart() && case.valkey("-ERR Unbalanced"),
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "a timeout that overflows",
        reason: "the older one takes any number and adds it to its clock",
        when: |case| {
            (case.has("BLOCK") || case.blocks_on_lists()) && case.apart() && case.valkey("-ERR timeout is out of range")
        },
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "the last entry by +",
        reason: "the older one does not know `+`; after XDEL of the newest entry ours gives the last that is there, \
                 as Redis 8 does, where the newer oracle gives nothing",
        when: |case| case.is("XREAD") && case.has("+") && !case.valkey("-"),
        ours: Ours::Own(|frame| !matches!(frame, Frame::Line(b'-', _))),
        parts: false,
    },
    Difference {
        name: "+ in XREADGROUP",
        reason: "the older one does not know `+`",
        when: |case| case.is("XREADGROUP") && case.apart() && case.valkey("-ERR The + ID is meaningless"),
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "a task's ids",
        reason: "a task's entries stay in its log when its key is deleted, so no id of it comes again",
        when: |case| case.is("XADD") && case.call.word(1).starts_with("TASK:LOGS:") && case.valkey("$"),
        ours: Ours::Own(|frame| match frame {
            Frame::Blob(b'$', id) => id.is_some(),
            error => error.text().is_some_and(|text| text.starts_with(b"ERR The ID specified in XADD is equal or")),
        }),
        parts: false,
    },
    Difference {
        name: "settings",
        reason: "ours keeps everything",
        when: |case| case.sub("CONFIG", &["GET"]) && case.has("APPENDONLY"),
        ours: Ours::Own(|frame| {
            let Frame::Many(_, Some(pair)) = frame else { return false };
            matches!(pair.as_slice(), [_, value] if value.text() == Some(b"yes"))
        }),
        parts: false,
    },
    Difference {
        name: "HELP",
        reason: "ours has help of its own words",
        when: |case| case.call.args.len() == 2 && case.call.word(1) == "HELP" && !case.valkey("-"),
        ours: Ours::Own(|frame| matches!(frame, Frame::Many(b'*', Some(lines)) if !lines.is_empty())),
        parts: false,
    },
    Difference {
        name: "XSETID below the greatest deleted id",
        reason: "the older one looks only when such an id is given with it, and at the last entry first",
        when: |case| {
            case.is("XSETID") && case.apart() && case.valkey("-ERR The ID specified in XSETID is smaller than current")
        },
        ours: Ours::Newer,
        parts: true,
    },
    Difference {
        name: "a cursor that is no number",
        reason: "each is strict about something else; ours is as the newer",
        when: |case| {
            let wrong = "-ERR invalid cursor";
            case.is("SCAN") && case.apart() && (case.redis(wrong) || case.valkey(wrong))
        },
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "SCAN for a type that does not exist",
        reason: "the older one finds nothing, the newer one says why",
        when: |case| case.is("SCAN") && case.apart() && case.valkey("-ERR unknown type name"),
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "MULTI or WATCH inside MULTI",
        reason: "the newer one treats both as any command that may not be queued, and EXEC then aborts",
        when: |case| (case.is("MULTI") || case.is("WATCH")) && case.apart() && case.valkey("-ERR Command '"),
        ours: Ours::Newer,
        parts: true,
    },
    Difference {
        name: "a NUL in a client's name",
        reason: "the newer one looks at a name up to a NUL only, and lists it so; ours refuses it, as the older one does",
        when: |case| {
            let named = case.sub("CLIENT", &["SETNAME"]) || case.sub("CLIENT", &["SETINFO"]);
            named && case.valkey("+OK") && case.call.args.last().is_some_and(|name| name.contains(&0))
        },
        ours: Ours::Own(|frame| frame.text().is_some_and(|text| text.ends_with(b"newlines or special characters."))),
        parts: false,
    },
    Difference {
        name: "subcommands of CLIENT that came later",
        reason: "clients send SETINFO on connect",
        when: |case| case.sub("CLIENT", &["SETINFO", "NO-TOUCH"]) && case.redis("-ERR unknown subcommand"),
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "arguments of CLIENT",
        reason: "the newer one looks at them in another order",
        when: |case| case.sub("CLIENT", &["UNBLOCK", "LIST"]) && case.redis("-ERR") && case.apart(),
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "what XINFO tells of groups",
        reason: "the newer one has `inactive` and `active-time`, and counts what a group has read also after deletions",
        when: |case| {
            case.sub("XINFO", &["CONSUMERS", "GROUPS", "STREAM"])
                && case.redis.is_some()
                && case.apart()
                && case.valkey.contains(if case.word_is(1, "CONSUMERS") { "inactive" } else { "entries-read" })
        },
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "what a wake tells",
        reason: "the newer one runs the command again when it is woken: all its streams are told, and a group that \
                 has gone is told as in any XREADGROUP",
        when: |case| {
            let blocks = (case.is("XREAD") || case.is("XREADGROUP")) && case.has("BLOCK");
            (blocks || case.blocks_on_lists()) && case.redis.is_some() && case.apart()
        },
        ours: Ours::Newer,
        parts: true,
    },
    Difference {
        name: "whom a wake wakes",
        reason: "the older one also wakes for what is gone again by the end of a transaction",
        when: |case| case.sub("CLIENT", &["UNBLOCK"]) && case.redis(":0") && case.valkey(":1"),
        ours: Ours::Newer,
        parts: true,
    },
    Difference {
        name: "a wrong time in GETEX",
        reason: "the newer one looks at the time before it looks for the key",
        when: |case| case.is("GETEX") && case.apart() && case.valkey("-ERR"),
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "the least rank",
        reason: "the older one takes it and counts from the other end",
        when: |case| case.is("LPOS") && case.apart() && case.valkey("-ERR value is out of range"),
        ours: Ours::Newer,
        parts: false,
    },
    Difference {
        name: "encodings",
        reason: "the oracles have other sizes up to which a value is stored in one piece; lists are as in the newer, \
                 strings as in the older one",
        when: |case| case.sub("OBJECT", &["ENCODING"]) && case.apart(),
        ours: Ours::Own(|frame| {
            let known: [&[u8]; 5] = [b"embstr", b"raw", b"listpack", b"quicklist", b"hashtable"];
            frame.text().is_some_and(|text| known.contains(&text))
        }),
        parts: false,
    },
    Difference {
        name: "a consumer made by XCLAIM",
        reason: "the newer one makes the consumer also when nothing is claimed",
        when: |case| case.sub("XGROUP", &["CREATECONSUMER"]) && case.redis(":1") && case.valkey(":0"),
        ours: Ours::Newer,
        parts: false,
    },
];

/// How often each was seen.
static SEEN: [AtomicUsize; LIST.len()] = [const { AtomicUsize::new(0) }; LIST.len()];

impl Case<'_> {
    fn word_is(&self, index: usize, word: &str) -> bool {
        self.call.word(index) == word
    }
}

/// The difference that explains these replies.
pub(crate) fn find(case: &Case<'_>) -> Option<&'static Difference> {
    let index = LIST.iter().position(|difference| (difference.when)(case))?;
    SEEN[index].fetch_add(1, Ordering::Relaxed);
    Some(&LIST[index])
}

/// The names of those that were never seen.
pub(crate) fn never_seen() -> Vec<&'static str> {
    let unseen = SEEN.iter().map(|count| count.load(Ordering::Relaxed) == 0);
    LIST.iter().zip(unseen).filter_map(|(difference, unseen)| unseen.then_some(difference.name)).collect()
}
