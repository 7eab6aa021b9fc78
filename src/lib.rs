//! tasktail: a task's output, live in the browser and the terminal, and kept when it ends.
//!
//! A worker wraps a command, a server keeps an ordered log for each task, people follow it. Events
//! that a runner writes go the same way, to a run, its dashboard and its page. This page is the map.
//!
//! # Words
//!
//! - **task**: one run of one command. **journal**: its ordered log while it runs, a stream with
//!   Redis' semantics. **archive**: its older lines, and all of them once it has ended; then it is
//!   *sealed*.
//! - **entry**: one item of a journal, with an id `ms-seq`. **line number**: dense, from 1, never
//!   reused: what a person cites. **channel**: `stdout`, `stderr` or `internal`.
//! - **tip**: where a journal ends; what readers watch. **cursor**: a place in a log, opaque.
//! - **key**: a journal as the Redis port sees it; it may go while the lines stay. **job**: a run of
//!   its commands, carried out with nothing in between.
//! - **event**: one JSON object of a runner. **run**: a workflow that emits events; its journal is
//!   `run:events:{id}`. **identity**: an event's `event_id`, its own or one made of what it says.
//! - **hop**: a place on the way of a line or an event that counts what it saw.
//! - **seq**: the number a worker gives a line in its *session*; what makes a resend harmless.
//! - **origin**: the session and the number of a stored line, if it has one. **sum**, **tally**: what
//!   lines add up to, by session; at the end it is compared with what the worker says (*integrity*).
//!
//! # Layers
//!
//! A folder is a layer; imports go only downward (`tests/layers.rs` holds this):
//!
//! ```text
//! model    words, no I/O             transport  a connection, plain or under TLS
//! store    sled and bytes             wire     what crosses a socket
//! journal  ordered logs               archive  zstd frames
//! tasks    a task's life over both    events   events out of text and files, a run's state
//! auth     tokens, who may do what
//! runs     a run's events, each once  client   the other end of the sockets
//! server   routes and sockets         worker   process, lines, buffer, uplink
//!                                     dashboard, doctor
//! config, testing, cli, main
//! ```
//!
//! `client`, `worker`, `dashboard` and `doctor` never reach the layers on the left: they could be a
//! program of their own. `events` is used on both sides.
//!
//! # One line of output
//!
//! ```text
//! child's pipe -> worker/reader -> worker/mask (secrets) -> worker/lines -> worker/buffer (numbered, kept) -> worker/uplink
//!    ===== socket: wire/worker =====
//! server/ingest -> tasks/task -> journal/append -> journal/writer (id, line number, block; durable; tip)
//!    --ack--> uplink -> buffer forgets (and worker/spool, where lines are on disk too until then)
//! tip -> tasks/follow (reads the page itself) -> server/live -> wire/viewer -> browser
//! ```
//!
//! From a Redis client: `server/redis/connection` (a pipeline is one job) -> `tasks/keys` (the task
//! behind the key) -> `journal/keys` (on the writer) -> the same tip, the same readers.
//!
//! Down once; the single arrow back is the ack, and it means durable.
//!
//! # One event of a runner
//!
//! ```text
//! line in a task's log -> server's bridge (follows the log) -> events/extract (out of any escaping, with an id)
//! file in the runs folder -> events/follow ------------------^
//! POST of NDJSON ---------------------------------------------> runs (known already?) -> journal -> SSE -> dashboard, page
//!                                                                          ^--- events/fold: the state, rebuilt from the journal
//! ```
//!
//! # Invariants
//!
//! 1. What a reader sees is durable (unless `--durability interval` says otherwise).
//! 2. Ids and line numbers are never reused, not even after a kill.
//! 3. A line that is not there is told: by a `gap`, never by silence.
//! 4. Every queue is bounded. A slow viewer costs only itself; a slow server never slows the child.
//! 5. A kill at any moment leaves what was acked, once.
//! 6. An event is in its run once, whatever ways it came by, and what could not be read is counted.
//! 7. Every route and every Redis command is asked who may use it before it runs; what has no rule is not
//!    there. What a token may not see answers as what does not exist.

pub mod archive;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod dashboard;
pub mod doctor;
pub mod events;
pub mod guide;
pub mod journal;
pub mod model;
pub mod runs;
pub mod server;
pub mod store;
pub mod tasks;
pub mod testing;
pub mod transport;
pub mod wire;
pub mod worker;
