//! A sentinel through every hop of the pipe, and where it stops.
//!
//! ```text
//! server, store
//! worker_socket -> journal -> viewer_socket, sse        lines of a task of its own
//!               -> extraction -> dedupe -> run_state -> runs_sse     the events in them
//! events_file -> follower -> runs_folder                a file, and the server's bridge from it
//! ```
//!
//! [`explain`] is the other half: what became of each event in output that was captured.
//!
//! Every hop is looked at by itself as far as that is possible: where the worker's socket is broken
//! the lines go in by HTTP, so that one fault is one finding. What the sentinel left is removed.

pub mod explain;
mod hops;
mod runs;
mod sentinel;
mod sockets;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::client::{ClientError, Endpoint, HttpClient};
use crate::model::Pipeline;
use sentinel::Sentinel;

/// What is to be examined.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// The server.
    pub endpoint: Endpoint,
    /// A hop that has not answered by then is broken.
    pub timeout: Duration,
    /// The folder for the events file when the server bridges none, or not one of this machine.
    pub folder: Option<PathBuf>,
}

/// What was found at one hop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The hop.
    pub hop: &'static str,
    /// How it is.
    #[serde(flatten)]
    pub finding: Finding,
}

/// How a hop is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Finding {
    /// The sentinel came through.
    Ok {
        /// Milliseconds it took.
        ms: f64,
    },
    /// It did not.
    Failed(Trouble),
    /// It was not looked at.
    Skipped {
        /// Why not.
        why: String,
    },
}

/// What is wrong at a hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What came.
    pub arrived: String,
    /// What should have come.
    pub expected: String,
    /// What it is likely to be, and what to do.
    pub cause: String,
}

impl Trouble {
    fn new(arrived: impl Into<String>, expected: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { arrived: arrived.into(), expected: expected.into(), cause: cause.into() }
    }
}

type Outcome = Result<(), Trouble>;

/// What all checks share.
struct Examination {
    client: HttpClient,
    options: DoctorOptions,
    sentinel: Sentinel,
    pipeline: Option<Pipeline>,
}

/// Examines every hop and tells each finding as it is made. Answers whether all is well.
pub async fn run(options: DoctorOptions, each: &mut (dyn FnMut(&Check) + Send)) -> bool {
    let client = HttpClient::new(options.endpoint.clone());
    let mut at = Examination { client, options, sentinel: Sentinel::new(), pipeline: None };
    let mut told = Told { each, healthy: true };
    let served = told.tell("server", at.timed(at.server()).await);
    if served {
        at.pipeline = at.client.get("/api/v1/pipeline", &[]).await.ok();
        at.server_hops(&mut told).await;
    } else {
        for hop in SERVER_HOPS {
            told.skip(hop, "the server was not reached");
        }
    }
    at.file_hops(&mut told, served).await;
    at.clean_up(served).await;
    told.healthy
}

/// The hops that need a server, in order.
const SERVER_HOPS: [&str; 10] = [
    "store",
    "worker_socket",
    "journal",
    "viewer_socket",
    "sse",
    "extraction",
    "runs_http",
    "dedupe",
    "run_state",
    "runs_sse",
];

/// Tells findings and remembers whether all were good.
struct Told<'a> {
    each: &'a mut (dyn FnMut(&Check) + Send),
    healthy: bool,
}

impl Told<'_> {
    /// Answers whether it was good.
    fn tell(&mut self, hop: &'static str, (outcome, ms): (Outcome, f64)) -> bool {
        let good = outcome.is_ok();
        self.healthy &= good;
        let finding = match outcome {
            Ok(()) => Finding::Ok { ms },
            Err(trouble) => Finding::Failed(trouble),
        };
        (self.each)(&Check { hop, finding });
        good
    }

    fn skip(&mut self, hop: &'static str, why: &str) {
        (self.each)(&Check { hop, finding: Finding::Skipped { why: why.to_owned() } });
    }
}

impl Examination {
    /// The outcome and the milliseconds it took; one that does not come in time is a trouble.
    async fn timed(&self, check: impl Future<Output = Outcome>) -> (Outcome, f64) {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(self.options.timeout, check).await.unwrap_or_else(|_| {
            let arrived = format!("nothing within {:.1} s", self.options.timeout.as_secs_f64());
            Err(Trouble::new(arrived, "an answer", "what stands between here and there holds it back, or it hangs"))
        });
        (outcome, begun.elapsed().as_secs_f64() * 1000.0)
    }

    async fn server_hops(&self, told: &mut Told<'_>) {
        told.tell("store", self.timed(self.store()).await);
        let mut sent = told.tell("worker_socket", self.timed(self.worker_socket()).await);
        if !sent {
            // The other hops are examined all the same.
            sent = self.timed(self.lines_by_http()).await.0.is_ok();
        }
        if !sent {
            for hop in ["journal", "viewer_socket", "sse", "extraction"] {
                told.skip(hop, "no line of the sentinel could be brought to the server");
            }
        } else {
            told.tell("journal", self.timed(self.journal()).await);
            told.tell("viewer_socket", self.timed(self.viewer_socket()).await);
            told.tell("sse", self.timed(self.sse()).await);
            told.tell("extraction", self.timed(self.extraction()).await);
        }
        told.tell("runs_http", self.timed(self.runs_http()).await);
        told.tell("dedupe", self.timed(self.dedupe()).await);
        told.tell("run_state", self.timed(self.run_state()).await);
        told.tell("runs_sse", self.timed(self.runs_sse()).await);
    }

    /// What the server's own counters say of a hop.
    async fn counted(&self, hop: &str) -> String {
        let pipeline: Result<Pipeline, ClientError> = self.client.get("/api/v1/pipeline", &[]).await;
        let Ok(pipeline) = pipeline else { return String::new() };
        let Some(hop) = pipeline.stages.iter().find(|found| found.name == hop) else { return String::new() };
        let rejected: u64 = hop.rejected.values().sum();
        let mut words = format!(" (the server counts there: received {}, rejected {rejected}", hop.received);
        if let Some(error) = &hop.last_error {
            words.push_str(&format!(", last error {}: {}", error.at, error.message));
        }
        words.push(')');
        words
    }
}

/// A request that failed, as a trouble.
fn request_trouble(error: &ClientError, expected: &str) -> Trouble {
    let cause = match error {
        ClientError::Connect { .. } => {
            "no server listens there: start one with `tasktail serve`, or name it with --url"
        }
        ClientError::Broken { .. } => "the server, or a proxy before it, closed the connection: look at its own output",
        ClientError::Refused(_) => "the server is there and says no: its words tell why",
        ClientError::UnexpectedResponse { .. } => {
            "what answers there is another program, an older tasktail, or a proxy's own page"
        }
    };
    Trouble::new(error.to_string(), expected, cause)
}
