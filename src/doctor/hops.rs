//! The checks by plain HTTP, and those of files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::Value;

use super::{Examination, Outcome, Told, Trouble, request_trouble};
use crate::client::http::Probe;
use crate::events::{EventLog, FileFollower, FollowFileOptions, FollowItem, SyncMode};
use crate::model::Event;

/// Between two looks at something that takes its time.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Examination {
    pub(super) async fn server(&self) -> Outcome {
        let expected = "a tasktail server at the address";
        let url = self.options.endpoint.to_string();
        match self.client.probe(self.options.timeout).await {
            Probe::Tasktail => Ok(()),
            Probe::HttpsRequired => Err(Trouble::new(
                format!("the server at {url} speaks https only"),
                expected,
                "its address begins with https://",
            )),
            Probe::Untrusted(why) => Err(Trouble::new(
                format!("{url}: {why}"),
                expected,
                "the certificate, or what is trusted here (--ca-file), is not the right one",
            )),
            Probe::Other => Err(Trouble::new(
                format!("{url} answers, but not as tasktail does"),
                expected,
                "another program has the port, or a proxy answers for a server that is gone",
            )),
            Probe::Free => Err(Trouble::new(
                format!("nobody accepts at {url}"),
                expected,
                "no server runs there: start one with `tasktail serve`, or name it with --url",
            )),
        }
    }

    pub(super) async fn store(&self) -> Outcome {
        let ready: Result<Value, _> = self.client.get("/readyz", &[]).await;
        ready.map(drop).map_err(|error| {
            let trouble = request_trouble(&error, "readyz: the store can be written");
            Trouble {
                cause: "the disk is full, read-only or failing: look at the server's own output".to_owned(),
                ..trouble
            }
        })
    }

    /// The way in for the lines when the worker's socket is broken.
    pub(super) async fn lines_by_http(&self) -> Outcome {
        let path = format!("/api/v1/tasks/{}/lines", self.sentinel.name());
        let body = Bytes::from(self.sentinel.lines().join("\n"));
        let answer: Result<Value, _> = self.client.post(&path, &[], "text/plain", body).await;
        answer.map(drop).map_err(|error| request_trouble(&error, "the lines are appended"))
    }

    pub(super) async fn journal(&self) -> Outcome {
        let expected = self.sentinel.lines();
        let path = format!("/api/v1/tasks/{}/lines", self.sentinel.name());
        let page: Value = self
            .client
            .get(&path, &[("stream", Some("stdout".to_owned()))])
            .await
            .map_err(|error| request_trouble(&error, "the lines that were sent"))?;
        let lines = page["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        let arrived: Vec<&str> = lines.iter().filter_map(|line| line["line"].as_str()).collect();
        same_lines(&arrived, &expected, "the store lost or changed a line: run `tasktail show` on a task of yours")
    }

    pub(super) async fn sse(&self) -> Outcome {
        let expected = self.sentinel.lines();
        let path = format!("/api/v1/tasks/{}/stream", self.sentinel.name());
        let (_, body) = self
            .client
            .download(&path, &[("from", Some("1".to_owned()))])
            .await
            .map_err(|error| request_trouble(&error, "a stream of events"))?;
        let mut body = Box::pin(body);
        let (mut text, mut count) = (String::new(), 0);
        while count < expected.len() {
            let Some(chunk) = body.next().await else { break };
            let chunk = chunk.map_err(|error| request_trouble(&error, "a stream that stays open"))?;
            text.push_str(&String::from_utf8_lossy(&chunk));
            count = data_lines(&text).len();
        }
        let lines = data_lines(&text);
        let arrived: Vec<&str> = lines.iter().filter_map(|line| line["line"].as_str()).collect();
        same_lines(&arrived, &expected, "a proxy between here and the server buffers or cuts event streams")
    }

    /// The hops that are files: written here, followed here, and by the server where it bridges a folder.
    pub(super) async fn file_hops(&self, told: &mut Told<'_>, served: bool) {
        let bridged = self.pipeline.as_ref().and_then(|pipeline| pipeline.runs_folder.clone()).map(PathBuf::from);
        let here = bridged.as_deref().filter(|folder| folder.is_dir());
        let temporary = match (here, &self.options.folder) {
            (None, None) => tempfile::tempdir().ok(),
            _ => None,
        };
        let named = here.map(Path::to_owned).or_else(|| self.options.folder.clone());
        let root = named.or_else(|| temporary.as_ref().map(|folder| folder.path().to_owned()));
        let (Some(root), Some(run), [Some(first), Some(second)]) =
            (root, self.sentinel.file_run(), self.sentinel.events())
        else {
            told.skip("events_file", "there is no folder for a file: name one with --folder");
            return told.skip("follower", "there is no events file");
        };
        let folder = root.join(run.as_str());
        let log = EventLog::new(folder.join("events.jsonl"));
        let written = told.tell("events_file", self.timed(async { events_file(&log, &first) }).await);
        if !written {
            told.skip("follower", "the events file could not be written");
        } else {
            told.tell("follower", self.timed(follower(&log, &second)).await);
        }
        match (served, &bridged, here) {
            (true, Some(_), Some(_)) if written => {
                told.tell("runs_folder", self.timed(self.runs_folder(&run)).await);
            }
            (true, Some(folder), None) => {
                let why = format!("the server bridges {}, which is not on this machine", folder.display());
                told.skip("runs_folder", &why);
            }
            (true, Some(_), _) => told.skip("runs_folder", "the events file could not be written"),
            _ => told.skip("runs_folder", "the server bridges no folder of runs (`serve --runs DIR`)"),
        }
        if let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %folder.display(), "what the sentinel left could not be removed");
        }
    }

    /// Removes what the sentinel left at the server.
    pub(super) async fn clean_up(&self, served: bool) {
        if !served {
            return;
        }
        let paths = [
            self.sentinel.task().map(|task| format!("/api/v1/tasks/{task}")),
            self.sentinel.run().map(|run| format!("/api/v1/runs/{run}")),
            self.sentinel.file_run().map(|run| format!("/api/v1/runs/{run}")),
        ];
        for path in paths.into_iter().flatten() {
            let removed = tokio::time::timeout(self.options.timeout, self.client.delete(&path)).await;
            match removed {
                Ok(Err(error)) if !error.is_not_found() => tracing::warn!(%error, "{path} is left at the server"),
                Err(_) => tracing::warn!("{path} is left at the server"),
                _ => {}
            }
        }
    }
}

/// The lines as they should be, in order; lines of others in between are none of our business.
pub(super) fn same_lines(arrived: &[&str], expected: &[String], cause: &str) -> Outcome {
    if arrived.len() == expected.len() && arrived.iter().zip(expected).all(|(a, b)| a == b) {
        return Ok(());
    }
    let shown = arrived.iter().zip(expected).find(|(a, b)| *a != b);
    let arrived = match shown {
        Some((line, _)) => format!("{} lines, one of them {line:?}", arrived.len()),
        None => format!("{} lines", arrived.len()),
    };
    Err(Trouble::new(arrived, format!("{} lines, as they were sent", expected.len()), cause))
}

/// The JSON of each whole `data:` line.
fn data_lines(text: &str) -> Vec<Value> {
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    whole.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim_start()).ok()).collect()
}

fn events_file(log: &EventLog, event: &Event) -> Outcome {
    let path = log.path().display();
    let expected = format!("one event appended to {path} and read again");
    let trouble = |arrived: String, cause: &str| Trouble::new(arrived, expected.clone(), cause);
    let appended = log.append(std::slice::from_ref(event), SyncMode::Flush);
    appended.map_err(|error| {
        trouble(error.to_string(), "the folder cannot be written by this user, or the disk is full")
    })?;
    let read = log.read_all().map_err(|error| trouble(error.to_string(), "the file cannot be read by this user"))?;
    match read.events.as_slice() {
        [only] if super::sentinel::Sentinel::is_whole(&only.event) && read.faults.is_empty() => Ok(()),
        others => {
            let arrived = format!("{} events and {} lines that are none", others.len(), read.faults.len());
            Err(trouble(arrived, "another program writes to the same file"))
        }
    }
}

/// A follower from the file's end, and one event appended behind it.
async fn follower(log: &EventLog, event: &Event) -> Outcome {
    let expected = "the event that was appended, through the follower";
    let failed = |error: &dyn std::fmt::Display, cause: &str| Trouble::new(error.to_string(), expected, cause);
    let options = FollowFileOptions::default();
    let mut follower = FileFollower::new(log.path(), options)
        .map_err(|error| failed(&error, "the system has no watches or handles left, or the file cannot be read"))?;
    log.append(std::slice::from_ref(event), SyncMode::Flush)
        .map_err(|error| failed(&error, "the folder cannot be written by this user, or the disk is full"))?;
    loop {
        match follower.next().await {
            Ok(FollowItem::Lines { bytes, .. }) => {
                let text = String::from_utf8_lossy(&bytes);
                let found = text
                    .lines()
                    .filter_map(|line| Event::parse(line).ok())
                    .any(|event| super::sentinel::Sentinel::is_whole(&event));
                return if found { Ok(()) } else { Err(failed(&text, "another program writes to the same file")) };
            }
            Ok(_) => {}
            Err(error) => return Err(failed(&error, "the file was taken away, or cannot be read")),
        }
    }
}
