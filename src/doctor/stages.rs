//! Checks over plain HTTP, and checks of files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::Value;

use super::{CheckFailure, CheckOutcome, DoctorRun, Reporter, request_failure};
use crate::client::http::Probe;
use crate::events::{EventLog, FileFollower, FollowFileOptions, FollowItem, SyncMode};
use crate::model::Event;

/// Interval between two polls of a slow result.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl DoctorRun {
    pub(super) async fn server(&self) -> CheckOutcome {
        let expected = "a tasktail server at the address";
        let url = self.options.endpoint.to_string();
        match self.client.probe(self.options.timeout).await {
            Probe::Tasktail(_) => Ok(()),
            Probe::HttpsRequired => Err(CheckFailure::new(
                format!("the server at {url} accepts only https"),
                expected,
                "use https:// in the address",
            )),
            Probe::Untrusted(why) => Err(CheckFailure::new(
                format!("{url}: {why}"),
                expected,
                "the certificate or the trusted CA (--ca-file) is wrong",
            )),
            Probe::Other | Probe::Silent => Err(CheckFailure::new(
                format!("{url} is not a tasktail server"),
                expected,
                "another program uses the port, or a proxy answers for a stopped server",
            )),
            Probe::Free => Err(CheckFailure::new(
                format!("connection refused at {url}"),
                expected,
                "no server is running there: start one with `tasktail serve`, or name it with --url",
            )),
        }
    }

    pub(super) async fn store(&self) -> CheckOutcome {
        let ready: Result<Value, _> = self.client.get("/readyz", &[]).await;
        ready.map(drop).map_err(|error| {
            let failure = request_failure(&error, "readyz: the store can be written");
            CheckFailure {
                cause: "the disk is full, read-only or failing: check the server's log".to_owned(),
                ..failure
            }
        })
    }

    /// Posts the lines by HTTP when the worker's socket is broken.
    pub(super) async fn lines_by_http(&self) -> CheckOutcome {
        let path = format!("/api/v1/tasks/{}/lines", self.test_message.name());
        let body = Bytes::from(self.test_message.lines().join("\n"));
        let answer: Result<Value, _> = self.client.post(&path, &[], "text/plain", body).await;
        answer.map(drop).map_err(|error| request_failure(&error, "the lines are appended"))
    }

    pub(super) async fn journal(&self) -> CheckOutcome {
        let expected = self.test_message.lines();
        let path = format!("/api/v1/tasks/{}/lines", self.test_message.name());
        let page: Value = self
            .client
            .get(&path, &[("stream", Some("stdout".to_owned()))])
            .await
            .map_err(|error| request_failure(&error, "the lines that were sent"))?;
        let lines = page["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        let arrived: Vec<&str> = lines.iter().filter_map(|line| line["line"].as_str()).collect();
        same_lines(&arrived, &expected, "the store lost or changed a line: check another task with `tasktail show`")
    }

    pub(super) async fn sse(&self) -> CheckOutcome {
        let expected = self.test_message.lines();
        let path = format!("/api/v1/tasks/{}/stream", self.test_message.name());
        let (_, body) = self
            .client
            .download(&path, &[("from", Some("1".to_owned()))])
            .await
            .map_err(|error| request_failure(&error, "a stream of events"))?;
        let mut body = Box::pin(body);
        let (mut text, mut count) = (String::new(), 0);
        while count < expected.len() {
            let Some(chunk) = body.next().await else { break };
            let chunk = chunk.map_err(|error| request_failure(&error, "a stream that stays open"))?;
            text.push_str(&String::from_utf8_lossy(&chunk));
            count = data_lines(&text).len();
        }
        let lines = data_lines(&text);
        let arrived: Vec<&str> = lines.iter().filter_map(|line| line["line"].as_str()).collect();
        same_lines(&arrived, &expected, "a proxy between here and the server buffers or cuts event streams")
    }

    /// Checks the stages that are files: written and followed here, and read by the server where it
    /// bridges a folder.
    pub(super) async fn check_files(&self, reporter: &mut Reporter<'_>, served: bool) {
        let bridged = self.pipeline.as_ref().and_then(|pipeline| pipeline.runs_folder.clone()).map(PathBuf::from);
        let here = bridged.as_deref().filter(|folder| folder.is_dir());
        let temporary = match (here, &self.options.folder) {
            (None, None) => tempfile::tempdir().ok(),
            _ => None,
        };
        let named = here.map(Path::to_owned).or_else(|| self.options.folder.clone());
        let root = named.or_else(|| temporary.as_ref().map(|folder| folder.path().to_owned()));
        let (Some(root), Some(run), [Some(first), Some(second)]) =
            (root, self.test_message.file_run(), self.test_message.events())
        else {
            reporter.skip("events_file", "no folder for the file: set one with --folder");
            return reporter.skip("follower", "no events file");
        };
        let folder = root.join(run.as_str());
        let log = EventLog::new(folder.join("events.jsonl"));
        let written = reporter.report("events_file", self.timed(async { events_file(&log, &first) }).await);
        if !written {
            reporter.skip("follower", "cannot write the events file");
        } else {
            reporter.report("follower", self.timed(follower(&log, &second)).await);
        }
        match (served, &bridged, here) {
            (true, Some(_), Some(_)) if written => {
                reporter.report("runs_folder", self.timed(self.runs_folder(&run)).await);
            }
            (true, Some(folder), None) => {
                let why = format!("the server bridges {}, which does not exist on this machine", folder.display());
                reporter.skip("runs_folder", &why);
            }
            (true, Some(_), _) => reporter.skip("runs_folder", "cannot write the events file"),
            _ => reporter.skip("runs_folder", "the server bridges no folder of runs (`serve --runs DIR`)"),
        }
        if let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %folder.display(), "cannot delete the test data");
        }
    }

    /// Deletes the test task and runs from the server.
    pub(super) async fn clean_up(&self, served: bool) {
        if !served {
            return;
        }
        let paths = [
            self.test_message.task().map(|task| format!("/api/v1/tasks/{task}")),
            self.test_message.run().map(|run| format!("/api/v1/runs/{run}")),
            self.test_message.file_run().map(|run| format!("/api/v1/runs/{run}")),
        ];
        for path in paths.into_iter().flatten() {
            let removed = tokio::time::timeout(self.options.timeout, self.client.delete(&path)).await;
            match removed {
                Ok(Err(error)) if !error.is_not_found() => {
                    tracing::warn!(%error, "cannot delete {path} from the server")
                }
                Err(_) => tracing::warn!("cannot delete {path} from the server"),
                _ => {}
            }
        }
    }
}

/// Compares the lines received with the lines sent, in order.
pub(super) fn same_lines(arrived: &[&str], expected: &[String], cause: &str) -> CheckOutcome {
    if arrived.len() == expected.len() && arrived.iter().zip(expected).all(|(a, b)| a == b) {
        return Ok(());
    }
    let shown = arrived.iter().zip(expected).find(|(a, b)| *a != b);
    let arrived = match shown {
        Some((line, _)) => format!("{} lines, including {line:?}", arrived.len()),
        None => format!("{} lines", arrived.len()),
    };
    Err(CheckFailure::new(arrived, format!("{} lines, as sent", expected.len()), cause))
}

/// Returns the JSON of each complete `data:` line.
fn data_lines(text: &str) -> Vec<Value> {
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    whole.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim_start()).ok()).collect()
}

fn events_file(log: &EventLog, event: &Event) -> CheckOutcome {
    let path = log.path().display();
    let expected = format!("one event appended to {path} and read back");
    let failure = |arrived: String, cause: &str| CheckFailure::new(arrived, expected.clone(), cause);
    let appended = log.append(std::slice::from_ref(event), SyncMode::Flush);
    appended
        .map_err(|error| failure(error.to_string(), "the folder is not writable for this user, or the disk is full"))?;
    let read = log.read_all().map_err(|error| failure(error.to_string(), "the file is not readable for this user"))?;
    match read.events.as_slice() {
        [only] if super::test_message::TestMessage::is_whole(&only.event) && read.faults.is_empty() => Ok(()),
        others => {
            let arrived = format!("{} events and {} invalid lines", others.len(), read.faults.len());
            Err(failure(arrived, "another program writes to the same file"))
        }
    }
}

/// Follows the file from its end, and appends one event.
async fn follower(log: &EventLog, event: &Event) -> CheckOutcome {
    let expected = "the appended event from the follower";
    let failed = |error: &dyn std::fmt::Display, cause: &str| CheckFailure::new(error.to_string(), expected, cause);
    let options = FollowFileOptions::default();
    let mut follower = FileFollower::new(log.path(), options)
        .map_err(|error| failed(&error, "no file watches or handles left, or the file is not readable"))?;
    log.append(std::slice::from_ref(event), SyncMode::Flush)
        .map_err(|error| failed(&error, "the folder is not writable for this user, or the disk is full"))?;
    loop {
        match follower.next().await {
            Ok(FollowItem::Lines { bytes, .. }) => {
                let text = String::from_utf8_lossy(&bytes);
                let found = text
                    .lines()
                    .filter_map(|line| Event::parse(line).ok())
                    .any(|event| super::test_message::TestMessage::is_whole(&event));
                return if found { Ok(()) } else { Err(failed(&text, "another program writes to the same file")) };
            }
            Ok(_) => {}
            Err(error) => return Err(failed(&error, "the file was deleted, or is not readable")),
        }
    }
}
