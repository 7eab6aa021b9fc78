//! The limits that can be set, as one table: a row is a name, a kind, a default and a sentence. The
//! struct, the settings, the flags with their help, and the metrics all follow from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::kind::{Bytes, BytesOrOff, Count, CountOrOff, Kind, Time, TimeOrOff};

macro_rules! limits {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident = $default:expr;)+) => {
        /// The limits in force.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $help])+ pub $name: <$kind as Kind>::Value,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// The name of a limit, as its setting has it.
        #[expect(non_camel_case_types, reason = "a limit has one name everywhere")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Limit {
            $($(#[doc = $help])+ $name,)+
        }

        impl Limit {
            /// All of them, in the order of the table.
            pub const ALL: &[Limit] = &[$(Limit::$name),+];

            /// The setting's name.
            pub const fn name(self) -> &'static str {
                match self { $(Limit::$name => stringify!($name),)+ }
            }

            /// What it limits, in one sentence.
            pub fn help(self) -> &'static str {
                match self { $(Limit::$name => concat!($($help),+).trim(),)+ }
            }

            /// What stands for its value in a usage text: `N`, `SIZE`, `TIME`.
            pub const fn value_name(self) -> &'static str {
                match self { $(Limit::$name => <$kind as Kind>::VALUE_NAME,)+ }
            }
        }

        impl Limits {
            /// Sets a limit to what a person wrote.
            ///
            /// # Errors
            /// What is wrong with the text, and what would be right.
            pub fn set(&mut self, limit: Limit, text: &str) -> Result<(), String> {
                match limit { $(Limit::$name => self.$name = <$kind as Kind>::parse(text)?,)+ }
                Ok(())
            }

            /// Its value as a number: a count, bytes, or seconds; `None` if it is off.
            pub fn number(&self, limit: Limit) -> Option<f64> {
                match limit { $(Limit::$name => <$kind as Kind>::number(&self.$name),)+ }
            }

            /// Its value as a person writes it.
            pub fn show(&self, limit: Limit) -> String {
                match limit { $(Limit::$name => <$kind as Kind>::show(&self.$name),)+ }
            }
        }
    };
}

limits! {
    /// Lines of a task that stay in its journal; older ones move to its archive
    live_window_lines: Count = 10_000;
    /// A journal nobody finished goes this long after its last line
    journal_expiry: Time = Duration::from_hours(24);
    /// A task whose worker is silent this long is called lost; the worker can still come back
    worker_grace: Time = Duration::from_secs(60);
    /// Finished tasks are removed this long after their end, such as 30d
    retention_age: TimeOrOff = None;
    /// Finished tasks kept, the newest
    retention_count: CountOrOff = None;
    /// Finished tasks are kept up to this size altogether, the newest, such as 10GiB
    retention_bytes: BytesOrOff = None;
    /// Bytes of a task's archive; of a longer log head and tail are kept, and the middle goes with a gap that says so
    task_bytes_max: BytesOrOff = Some(1 << 30);
    /// Lines are refused while less than this, or less than a fourth of the disk, is free; reads and removals go on
    disk_free_min: BytesOrOff = Some(64 * 1024 * 1024);
    /// Lines whose commit has not come back from the disk by then are answered with an error; they may be stored or not
    commit_timeout: Time = Duration::from_secs(30);
    /// Lines a second that a task may get; what a worker sends beyond is dropped, and its log says how much
    task_lines_per_second_max: CountOrOff = None;
    /// Bytes of lines a second that a task may get; what a worker sends beyond is dropped, and its log says how much
    task_bytes_per_second_max: BytesOrOff = None;
    /// Lines a second that are read from one connection; a faster one is read more slowly
    connection_lines_per_second_max: CountOrOff = None;
    /// Bytes a second that are read from one connection with lines; a faster one is read more slowly
    connection_bytes_per_second_max: BytesOrOff = None;
    /// Tasks in the store; one more is refused, and those that are there go on
    tasks_max: Count = 100_000;
    /// Runs in the store; one more is refused, and those that are there go on
    runs_max: Count = 100_000;
    /// Bytes of the data folder's archives and journal; beyond them the tasks that ended first are removed
    disk_max: BytesOrOff = None;
    /// Bytes of a search's pattern; a longer one is refused
    search_pattern_bytes_max: Bytes = 4 * 1024;
    /// Bytes that a search's pattern may take once it is compiled; a larger one is refused
    search_program_bytes_max: Bytes = 256 * 1024;
    /// Time that one request searches; then it answers with what it has found, and where to go on
    search_time_max: Time = Duration::from_secs(2);
    /// Searches at the same time; one more waits for its turn, and is answered 503 if that is long in coming
    searches_max: Count = 4;
    /// Tasks that one worker's connection speaks of at the same time
    connection_tasks_max: Count = 4096;
    /// Tasks that one viewer's connection follows at the same time
    connection_subscriptions_max: Count = 256;
    /// Connections served at the same time; one more is answered 503
    connections_max: Count = 4096;
    /// Redis clients served at the same time; one more is told so and closed
    resp_connections_max: Count = 4096;
    /// A client must have shaken hands by then, where TLS is spoken
    handshake_timeout: Time = Duration::from_secs(10);
    /// Connections of one address (of IPv6: one /64) at the same time, on each port; one more is answered 429
    connections_per_address_max: Count = 2048;
    /// A client must have sent the head of its request by then, or its first Redis command
    header_timeout: Time = Duration::from_secs(20);
    /// Wrong access tokens from one address in a minute; more are answered 429, late
    auth_failures_max: Count = 10;
    /// A connection kept for another request is closed when none came for so long
    idle_timeout: Time = Duration::from_secs(75);
    /// The body of a request must come by then; it has a second more for every KiB that came
    body_timeout: Time = Duration::from_secs(60);
    /// A peer that takes nothing of what is sent to it for so long is given up
    send_timeout: Time = Duration::from_secs(30);
    /// A download of a log that nobody takes for so long is cut: a pager may be looked at for a while
    download_timeout: Time = Duration::from_mins(10);
    /// Between two pings on a WebSocket or comments on an SSE stream; a peer silent for 2.5 of them is given up
    heartbeat: Time = Duration::from_secs(15);
    /// Bytes of entries in one reply to a Redis client; more are refused, to be asked for with COUNT
    resp_reply_bytes_max: Bytes = 64 << 20;
    /// A Redis client that sends nothing for so long is closed, unless it waits in a command (Redis: timeout)
    resp_idle_timeout: TimeOrOff = None;
    /// A system clock that jumped is believed when it has stayed there for so long; until then nothing expires by it
    clock_hold: Time = Duration::from_hours(24);
    /// A browser is signed in this long, then it is asked for a token again
    session_life: Time = Duration::from_hours(12);
    /// Browsers signed in at the same time; then the one that signed in first is signed out
    sessions_max: Count = 1000;
    /// A share link is good for this long at most
    share_life_max: Time = Duration::from_hours(90 * 24);
}

impl Limit {
    /// The limit of this name.
    pub fn from_name(name: &str) -> Option<Limit> {
        Limit::ALL.iter().copied().find(|limit| limit.name() == name)
    }
}

/// How often each limit was reached.
#[derive(Debug)]
pub struct Hits([AtomicU64; Limit::ALL.len()]);

impl Default for Hits {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Hits {
    /// The limit was reached once more.
    pub fn count(&self, limit: Limit) {
        self.add(limit, 1);
    }

    /// The limit was reached so many times more.
    pub fn add(&self, limit: Limit, times: u64) {
        if let Some(hits) = self.0.get(limit as usize) {
            hits.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// How often it was reached since the start.
    pub fn get(&self, limit: Limit) -> u64 {
        self.0.get(limit as usize).map_or(0, |hits| hits.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_set() {
        let mut limits = Limits::default();
        for limit in Limit::ALL {
            let shown = limits.show(*limit);
            assert_eq!(limits.set(*limit, &shown), Ok(()), "{}: {shown}", limit.name());
            assert_eq!(Limit::from_name(limit.name()), Some(*limit));
            assert!(!limit.help().ends_with('.') && limit.help().len() > 10, "{}", limit.name());
        }
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn each_kind_says_what_it_takes() {
        assert!(Count::parse("0").unwrap_err().contains("above zero"));
        assert!(BytesOrOff::parse("much").unwrap_err().ends_with(", or off"));
        assert_eq!(TimeOrOff::parse("off"), Ok(None));
        assert_eq!(CountOrOff::parse("5"), Ok(Some(5)));
        assert_eq!(BytesOrOff::show(&Some(3 << 20)), "3MiB");
        assert_eq!(Time::show(&Duration::from_secs(5_400)), "90m");
    }

    #[test]
    fn hits_are_counted_by_limit() {
        let hits = Hits::default();
        hits.count(Limit::resp_connections_max);
        hits.add(Limit::resp_connections_max, 2);
        assert_eq!((hits.get(Limit::resp_connections_max), hits.get(Limit::connections_max)), (3, 0));
    }
}
