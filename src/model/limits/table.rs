//! The configurable limits as one table: a row is a name, a unit, a default and a help text. The
//! struct, the settings, the flags with their help, and the metrics are generated from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::unit::{Bytes, BytesOrOff, Count, CountOrOff, LimitUnit, Time, TimeOrOff};

macro_rules! limits {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident = $default:expr;)+) => {
        /// The configured limits.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $help])+ pub $name: <$kind as LimitUnit>::Value,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// The name of a limit, identical to the name of its setting.
        #[expect(non_camel_case_types, reason = "a limit has one name everywhere")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Limit {
            $($(#[doc = $help])+ $name,)+
        }

        impl Limit {
            /// All limits, in the order of the table.
            pub const ALL: &[Limit] = &[$(Limit::$name),+];

            /// Returns the setting's name.
            pub const fn name(self) -> &'static str {
                match self { $(Limit::$name => stringify!($name),)+ }
            }

            /// Returns the help text, one sentence.
            pub fn help(self) -> &'static str {
                match self { $(Limit::$name => concat!($($help),+).trim(),)+ }
            }

            /// Returns the placeholder for its value in a usage text: `N`, `SIZE`, `TIME`.
            pub const fn value_name(self) -> &'static str {
                match self { $(Limit::$name => <$kind as LimitUnit>::VALUE_NAME,)+ }
            }
        }

        impl Limits {
            /// Sets a limit from text.
            ///
            /// # Errors
            /// The reason why the text is invalid, and an example of a valid one.
            pub fn set(&mut self, limit: Limit, text: &str) -> Result<(), String> {
                match limit { $(Limit::$name => self.$name = <$kind as LimitUnit>::parse(text)?,)+ }
                Ok(())
            }

            /// Returns its value as a number: a count, bytes, or seconds; `None` if it is off.
            pub fn number(&self, limit: Limit) -> Option<f64> {
                match limit { $(Limit::$name => <$kind as LimitUnit>::number(&self.$name),)+ }
            }

            /// Returns its value as text that [`Limits::set`] accepts.
            pub fn show(&self, limit: Limit) -> String {
                match limit { $(Limit::$name => <$kind as LimitUnit>::show(&self.$name),)+ }
            }
        }
    };
}

limits! {
    /// Keep this many lines of a task in its journal; older ones move to its archive
    live_window_lines: Count = 10_000;
    /// Expire an unfinished task's journal this long after its last line
    journal_expiry: Time = Duration::from_hours(24);
    /// Mark a task lost when its worker is silent this long; it may still reconnect
    worker_grace: Time = Duration::from_secs(60);
    /// With a shared store: let another server archive the tasks of one that is silent this long
    keeper_lease: Time = Duration::from_secs(15);
    /// Delete finished tasks this long after their end, such as 30d
    retention_age: TimeOrOff = None;
    /// Keep at most this many finished tasks, the newest
    retention_count: CountOrOff = None;
    /// Keep at most this many bytes of finished tasks, the newest, such as 10GiB
    retention_bytes: BytesOrOff = None;
    /// Maximum size of a task's archive; a longer log keeps its head and tail, with a gap in the middle
    task_bytes_max: BytesOrOff = Some(1 << 30);
    /// Reject lines while less than this, or less than a quarter of the disk, is free; reads and deletes still work
    disk_free_min: BytesOrOff = Some(64 * 1024 * 1024);
    /// Time allowed for a commit; on timeout its lines get an error, and may or may not have been stored
    commit_timeout: Time = Duration::from_secs(30);
    /// Minimum time between two commits, so that many slow writers share one; adds to their latency
    commit_interval_min: TimeOrOff = None;
    /// Size of a file of the journal, and of what is replayed from it after a kill
    journal_segment_bytes: Bytes = 32 << 20;
    /// Part of a file of the journal, in percent, that must be dead before the rest is copied to free it
    journal_dead_percent: Count = 50;
    /// Maximum lines per second of a task; excess lines from a worker are dropped, and the log records how many
    task_lines_per_second_max: CountOrOff = None;
    /// Maximum bytes per second of a task's lines; excess lines from a worker are dropped, and the log records how many
    task_bytes_per_second_max: BytesOrOff = None;
    /// Maximum lines per second read from one connection; a faster sender is slowed down
    connection_lines_per_second_max: CountOrOff = None;
    /// Maximum bytes per second read from one connection that sends lines; a faster sender is slowed down
    connection_bytes_per_second_max: BytesOrOff = None;
    /// Maximum number of tasks; existing tasks are unaffected
    tasks_max: Count = 100_000;
    /// Maximum number of ended tasks that wait for their archive; then an end is answered when there is room
    seal_backlog_max: Count = 500;
    /// Maximum number of runs; existing runs are unaffected
    runs_max: Count = 100_000;
    /// Maximum size of archives and journal on disk; beyond it, tasks that ended first are deleted
    disk_max: BytesOrOff = None;
    /// Maximum size of a search pattern; a longer one is rejected
    search_pattern_bytes_max: Bytes = 4 * 1024;
    /// Maximum size of a compiled search pattern; a larger one is rejected
    search_program_bytes_max: Bytes = 256 * 1024;
    /// Time allowed for one search request; then it returns its matches and where to continue
    search_time_max: Time = Duration::from_secs(2);
    /// Time allowed for the comparison or the explanation of a log; then it covers the lines read so far
    analysis_time_max: Time = Duration::from_secs(20);
    /// Maximum number of concurrent searches; further ones wait briefly, then get 503
    searches_max: Count = 4;
    /// Maximum number of tasks that one worker connection may write to at the same time
    connection_tasks_max: Count = 4096;
    /// Maximum number of tasks that one viewer connection may follow at the same time
    connection_subscriptions_max: Count = 256;
    /// Maximum number of connections; further ones get 503
    connections_max: Count = 4096;
    /// Maximum number of Redis connections; further connections are refused
    resp_connections_max: Count = 4096;
    /// Time allowed for the TLS handshake
    handshake_timeout: Time = Duration::from_secs(10);
    /// Maximum number of connections from one address (IPv6: one /64) per port; further ones get 429
    connections_per_address_max: Count = 2048;
    /// Time allowed for request headers, or for the first Redis command
    header_timeout: Time = Duration::from_secs(20);
    /// Maximum number of wrong access tokens from one address per minute; further attempts get a delayed 429
    auth_failures_max: Count = 10;
    /// Close a keep-alive connection after this long without a request
    idle_timeout: Time = Duration::from_secs(75);
    /// Time allowed for a request body that is not appended, plus one second for every KiB received
    body_timeout: Time = Duration::from_secs(60);
    /// End the body of an append after this long without a byte; until then a job may write it
    append_idle_timeout: Time = Duration::from_hours(24);
    /// Maximum ratio of a compressed body's size to that sent, beyond 16 MiB; a further one is rejected
    append_ratio_max: Count = 500;
    /// Drop a peer that has accepted no data for this long
    send_timeout: Time = Duration::from_secs(30);
    /// Abort a log download that has made no progress for this long; long enough to read in a pager
    download_timeout: Time = Duration::from_mins(10);
    /// Interval of WebSocket pings and SSE comments; a peer that is silent for 2.5 intervals is dropped
    heartbeat: Time = Duration::from_secs(15);
    /// Maximum size of the entries in one reply to a Redis client; a larger reply is refused (use COUNT)
    resp_reply_bytes_max: Bytes = 64 << 20;
    /// Maximum size of the strings, hashes and lists of a temporary server; beyond it they cannot grow (Redis: maxmemory)
    resp_values_bytes_max: Bytes = 256 << 20;
    /// Close a Redis connection that is idle this long, unless it waits in a command (Redis: timeout)
    resp_idle_timeout: TimeOrOff = None;
    /// Trust a clock jump only after it has held for this long; nothing expires until then
    clock_hold: Time = Duration::from_hours(24);
    /// Lifetime of a browser session; then the browser is asked for a token again
    session_life: Time = Duration::from_hours(12);
    /// Maximum number of browser sessions; a further one ends the oldest
    sessions_max: Count = 1000;
    /// Maximum number of notices that wait for one receiver; further ones are dropped
    notices_queued_max: Count = 1000;
    /// Maximum number of attempts to deliver a notice to a webhook or to ntfy
    notice_attempts_max: Count = 7;
    /// Maximum lifetime of a share link
    share_life_max: Time = Duration::from_hours(90 * 24);
}

impl Limit {
    /// Returns the limit with this name.
    pub fn from_name(name: &str) -> Option<Limit> {
        Limit::ALL.iter().copied().find(|limit| limit.name() == name)
    }
}

/// Counters of how often each limit was reached.
#[derive(Debug)]
pub struct LimitCounters([AtomicU64; Limit::ALL.len()]);

impl Default for LimitCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl LimitCounters {
    /// Counts that the limit was reached.
    pub fn count(&self, limit: Limit) {
        self.add(limit, 1);
    }

    /// Counts that the limit was reached `times` times.
    pub fn add(&self, limit: Limit, times: u64) {
        if let Some(hits) = self.0.get(limit as usize) {
            hits.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// Returns the count since the start.
    pub fn get(&self, limit: Limit) -> u64 {
        self.0.get(limit as usize).map_or(0, |hits| hits.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_values_can_be_set() {
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
    fn each_unit_names_its_format() {
        assert!(Count::parse("0").unwrap_err().contains("above zero"));
        assert!(BytesOrOff::parse("much").unwrap_err().ends_with(", or off"));
        assert_eq!(TimeOrOff::parse("off"), Ok(None));
        assert_eq!(CountOrOff::parse("5"), Ok(Some(5)));
        assert_eq!(BytesOrOff::show(&Some(3 << 20)), "3MiB");
        assert_eq!(Time::show(&Duration::from_secs(5_400)), "90m");
    }

    #[test]
    fn counters_are_separate() {
        let counters = LimitCounters::default();
        counters.count(Limit::resp_connections_max);
        counters.add(Limit::resp_connections_max, 2);
        assert_eq!((counters.get(Limit::resp_connections_max), counters.get(Limit::connections_max)), (3, 0));
    }
}
