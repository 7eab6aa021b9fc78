//! Sends a test message through every stage of the pipeline and reports where it stops.
//!
//! ```text
//! server, store
//! worker_socket -> journal -> viewer_socket, sse        lines of a separate task
//!               -> extraction -> dedupe -> run_state -> runs_sse     the events in them
//! events_file -> follower -> runs_folder                a file, and the server's bridge from it
//! ```
//!
//! [`explain`] is the other half: it explains each event in captured output.
//!
//! Every stage is checked independently as far as possible: where the worker's socket is broken the lines
//! are sent by HTTP, so that one fault is one failed check. Test data is deleted at the end.

pub mod explain;
mod runs;
mod sockets;
mod stages;
mod test_message;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::client::{ClientError, Endpoint, HttpClient};
use crate::model::Pipeline;
use test_message::TestMessage;

/// Options of a doctor run.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// The server.
    pub endpoint: Endpoint,
    /// Timeout of each check.
    pub timeout: Duration,
    /// Folder for the events file, if the server bridges none on this machine.
    pub folder: Option<PathBuf>,
}

/// The result of one stage's check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageCheck {
    /// The stage.
    pub hop: &'static str,
    /// The result.
    #[serde(flatten)]
    pub finding: CheckResult,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum CheckResult {
    /// The test message arrived.
    Ok {
        /// Duration in milliseconds.
        ms: f64,
    },
    /// The check failed.
    Failed(CheckFailure),
    /// The check was skipped.
    Skipped {
        /// The reason.
        why: String,
    },
}

/// A failure of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckFailure {
    /// The actual result.
    pub arrived: String,
    /// The expected result.
    pub expected: String,
    /// The likely cause and its remedy.
    pub cause: String,
}

impl CheckFailure {
    fn new(arrived: impl Into<String>, expected: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { arrived: arrived.into(), expected: expected.into(), cause: cause.into() }
    }
}

type CheckOutcome = Result<(), CheckFailure>;

/// The state shared by all checks.
struct DoctorRun {
    client: HttpClient,
    options: DoctorOptions,
    test_message: TestMessage,
    pipeline: Option<Pipeline>,
}

/// Checks every stage and passes each result to `each`. Returns whether all checks succeeded.
pub async fn run(options: DoctorOptions, each: &mut (dyn FnMut(&StageCheck) + Send)) -> bool {
    let client = HttpClient::new(options.endpoint.clone());
    let mut doctor = DoctorRun { client, options, test_message: TestMessage::new(), pipeline: None };
    let mut reporter = Reporter { each, healthy: true };
    let served = reporter.report("server", doctor.timed(doctor.server()).await);
    if served {
        doctor.pipeline = doctor.client.get("/api/v1/pipeline", &[]).await.ok();
        doctor.check_server(&mut reporter).await;
    } else {
        for hop in SERVER_STAGES {
            reporter.skip(hop, "the server is unreachable");
        }
    }
    doctor.check_files(&mut reporter, served).await;
    doctor.clean_up(served).await;
    reporter.healthy
}

/// The stages that need a server, in order.
const SERVER_STAGES: [&str; 10] = [
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

/// A reporter of results, which records whether all checks succeeded.
struct Reporter<'a> {
    each: &'a mut (dyn FnMut(&StageCheck) + Send),
    healthy: bool,
}

impl Reporter<'_> {
    /// Reports a result. Returns whether the check succeeded.
    fn report(&mut self, hop: &'static str, (outcome, ms): (CheckOutcome, f64)) -> bool {
        let ok = outcome.is_ok();
        self.healthy &= ok;
        let finding = match outcome {
            Ok(()) => CheckResult::Ok { ms },
            Err(failure) => CheckResult::Failed(failure),
        };
        (self.each)(&StageCheck { hop, finding });
        ok
    }

    fn skip(&mut self, hop: &'static str, why: &str) {
        (self.each)(&StageCheck { hop, finding: CheckResult::Skipped { why: why.to_owned() } });
    }
}

impl DoctorRun {
    /// Runs a check with the timeout. Returns the outcome and the duration in milliseconds.
    async fn timed(&self, check: impl Future<Output = CheckOutcome>) -> (CheckOutcome, f64) {
        let started = Instant::now();
        let outcome = tokio::time::timeout(self.options.timeout, check).await.unwrap_or_else(|_| {
            let arrived = format!("nothing within {:.1} s", self.options.timeout.as_secs_f64());
            Err(CheckFailure::new(arrived, "a response", "a proxy delays it, or the server hangs"))
        });
        (outcome, started.elapsed().as_secs_f64() * 1000.0)
    }

    async fn check_server(&self, reporter: &mut Reporter<'_>) {
        reporter.report("store", self.timed(self.store()).await);
        let mut sent = reporter.report("worker_socket", self.timed(self.worker_socket()).await);
        if !sent {
            // The other stages can still be checked.
            sent = self.timed(self.lines_by_http()).await.0.is_ok();
        }
        if !sent {
            for hop in ["journal", "viewer_socket", "sse", "extraction"] {
                reporter.skip(hop, "no line of the test message reached the server");
            }
        } else {
            reporter.report("journal", self.timed(self.journal()).await);
            reporter.report("viewer_socket", self.timed(self.viewer_socket()).await);
            reporter.report("sse", self.timed(self.sse()).await);
            reporter.report("extraction", self.timed(self.extraction()).await);
        }
        reporter.report("runs_http", self.timed(self.runs_http()).await);
        reporter.report("dedupe", self.timed(self.dedupe()).await);
        reporter.report("run_state", self.timed(self.run_state()).await);
        reporter.report("runs_sse", self.timed(self.runs_sse()).await);
    }

    /// Returns the server's own counters of a stage as text.
    async fn server_counters(&self, hop: &str) -> String {
        let pipeline: Result<Pipeline, ClientError> = self.client.get("/api/v1/pipeline", &[]).await;
        let Ok(pipeline) = pipeline else { return String::new() };
        let Some(hop) = pipeline.stages.iter().find(|found| found.name == hop) else { return String::new() };
        let rejected: u64 = hop.rejected.values().sum();
        let mut words = format!(" (the server's counters: received {}, rejected {rejected}", hop.received);
        if let Some(error) = &hop.last_error {
            words.push_str(&format!(", last error {}: {}", error.at, error.message));
        }
        words.push(')');
        words
    }
}

/// Converts a failed request.
fn request_failure(error: &ClientError, expected: &str) -> CheckFailure {
    let cause = match error {
        ClientError::Connect { .. } => {
            "no server listens there: start one with `tasktail serve`, or name it with --url"
        }
        ClientError::Broken { .. } => "the server, or a proxy before it, closed the connection: check its log",
        ClientError::Refused(_) => "the server rejected the request; see its message",
        ClientError::UnexpectedResponse { .. } => "another program, an older tasktail or a proxy answered",
    };
    CheckFailure::new(error.to_string(), expected, cause)
}
