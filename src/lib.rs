//! tasktail streams the output of tasks live to browsers and terminals, and stores it.
//!
//! A worker wraps a command, the server appends its lines to an ordered log, and viewers follow the log.
//! Events written by a workflow runner are stored in the same way, as a run with a dashboard and a page.
//! This page is the map of the code.
//!
//! # Terms
//!
//! - **task**: one execution of one command. **journal**: its ordered log while it runs, a stream with
//!   the semantics of Redis Streams. **archive**: its older lines, and all lines after its end; a complete
//!   archive is *sealed*.
//! - **entry**: one item of a journal, with an id `ms-seq`. **line number**: dense, from 1, never reused.
//!   **channel**: `stdout`, `stderr` or `internal`.
//! - **tip**: the end of a journal, its last durable entry; readers subscribe to it. **cursor**: an opaque
//!   position in a log. **generation**: the number of times that the store has been opened, part of every
//!   cursor.
//! - **gap**: missing lines, reported to readers. **gap marker**: an `internal` line in place of lines that
//!   were never stored.
//! - **key**: a journal on the Redis port; it can expire while its lines remain. **transaction**: Redis
//!   commands that run on the writer without anything in between.
//! - **event**: one JSON object of a runner. **run**: a workflow that emits events; its journal is
//!   `run:events:{id}`. **identity**: an event's `event_id`, assigned from its contents if it has none.
//! - **stage**: a step of the path of a line or an event, with counters.
//! - **session**, **seq**: a worker process, and the number it gives a line; they make a resend harmless.
//!   **origin**: the session and the seq of a stored line.
//! - **checksum**: the sum of the hashes of a session's lines. **verification**: comparing the stored lines
//!   with the worker's report at the end (*integrity*).
//!
//! # Layers
//!
//! A folder is a layer, and imports only point downward (`tests/structure/layers.rs` enforces this):
//!
//! ```text
//! model    domain types, no I/O       transport  TCP and TLS streams
//! store    segments, sled             wire       messages and codecs, no I/O
//! journal  ordered logs               archive    zstd files
//! home     Redis and an object store that several servers share
//! tasks    tasks over both            events     parsing events, the state of a run
//!                                     analysis   what lines show: search, errors, sections
//! auth     tokens and permissions
//! runs     a run's events             client     connecting to a server
//! notices  reports to programs
//! server   net, http, ws, web, redis  worker     process, lines, buffer, uplink
//!                                     dashboard, doctor
//! config, testing, cli, main
//! ```
//!
//! `client`, `worker`, `dashboard` and `doctor` never import the layers on the left except `model`: they
//! could be a separate program. `events` and `analysis` are used on both sides; `notices` sends with `client`.
//!
//! # The path of a line
//!
//! ```text
//! child's pipe or pty (worker/start) -> worker/reader -> worker/mask (secrets) -> worker/local_log/append (a file)
//!    -> worker/local_log/reader (worker/lines, numbers) -> worker/encode -> worker/uplink
//!    ===== socket: wire/worker =====
//! server/ws/worker (authorized? duplicate?) -> tasks/append -> tasks/rate_limit -> journal/append
//!    -> journal/queue -> journal/writer -> journal/stream_state (id, line number) -> store/commit -> store/log (durable)
//!    -> the tip moves --ack--> worker/uplink -> worker/local_log returns the space
//! tip -> tasks/follow (reads a page) -> server/ws/viewer -> wire/viewer -> browser
//! ```
//!
//! From a Redis client: `server/redis/connection` (a pipeline is one transaction) -> `tasks/keys` (the task
//! of the key) -> `server/redis/event_loop` (after the other clients that are ready) -> `journal/transaction` (on
//! the writer) -> the same tip, the same readers.
//!
//! With a shared store (`--journal`): `tasks/append` -> `tasks/shared/writes` -> `home/redis` (a script numbers and stores
//! the lines) -> `tasks/shared/mirror` copies them into the journal of every server -> the same tip, the same readers.
//!
//! Lines flow in one direction. The only arrow back is the ack, and it means durable.
//!
//! # The path of an event
//!
//! ```text
//! line of a task's log -> runs/bridge (follows the log) -> events/extract (unescapes, assigns an id)
//! file in the runs folder -> events/follow ------------------^
//! POST of NDJSON: server/http/runs ---------------------------> runs (new?) -> journal -> SSE -> dashboard, page
//!                                                                  ^--- events/fold: the state, rebuilt from the journal
//! ```
//!
//! # Invariants
//!
//! 1. Readers only see durable lines (unless `--durability interval` is set).
//! 2. Ids and line numbers are never reused, not even after a crash.
//! 3. Missing lines are reported as a gap, never silently skipped.
//! 4. Every queue is bounded. A slow viewer only delays itself; a slow server never slows the child.
//! 5. After a crash at any moment, every acknowledged line is present exactly once.
//! 6. An event is stored once in its run, whichever paths it arrives by; rejected events are counted.
//! 7. Every route and every Redis command is authorized before it runs; one without a rule does not exist.
//!    A resource hidden from a token is answered like a missing one.

pub mod analysis;
pub mod archive;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod dashboard;
pub mod doctor;
pub mod events;
pub mod guide;
pub mod home;
pub mod journal;
pub mod model;
pub mod notices;
pub mod runs;
pub mod server;
pub mod store;
pub mod tasks;
pub mod testing;
pub mod transport;
pub mod wire;
pub mod worker;
