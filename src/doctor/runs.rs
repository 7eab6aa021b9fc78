//! Checks of a run's stages on the server: extraction, deduplication, state and output.

use bytes::Bytes;
use serde::Deserialize;

use super::stages::POLL_INTERVAL;
use super::test_message::TestMessage;
use super::{CheckFailure, CheckOutcome, DoctorRun, request_failure};
use crate::client::{ClientError, HttpClient, RunFollower, RunItem, RunStreamStart};
use crate::model::{Event, RepetitionStatus, RunId, RunState};

#[derive(Debug, Deserialize)]
struct EventsPage {
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct AppendReply {
    appended: u64,
    duplicates: u64,
    rejected: Vec<serde_json::Value>,
}

impl DoctorRun {
    /// Checks that the events in the task's lines reach their run.
    pub(super) async fn extraction(&self) -> CheckOutcome {
        let expected = "the two events in the lines, unchanged";
        let events = match self.wait_for(self.test_message.run(), 2).await {
            Ok(events) => events,
            Err(arrived) => {
                let cause = format!(
                    "events are not extracted from this task's output: it has the label events=off, or the extraction \
                     failed{}",
                    self.server_counters("extraction").await
                );
                return Err(CheckFailure::new(arrived, expected, cause));
            }
        };
        if events.iter().all(TestMessage::is_whole) {
            return Ok(());
        }
        let arrived = events.iter().find(|event| !TestMessage::is_whole(event)).map(ToString::to_string);
        Err(CheckFailure::new(arrived.unwrap_or_default(), expected, "the escaping was not removed correctly"))
    }

    /// Checks that events posted by HTTP are accepted; those from the task's lines are duplicates.
    pub(super) async fn runs_http(&self) -> CheckOutcome {
        let posted = self.post_events().await?;
        if posted.rejected.is_empty() && posted.appended + posted.duplicates == 2 {
            return Ok(());
        }
        let arrived =
            format!("{} appended, {} duplicates, rejected {:?}", posted.appended, posted.duplicates, posted.rejected);
        Err(CheckFailure::new(
            arrived,
            "two events appended or duplicate, none rejected",
            "the server has a different version",
        ))
    }

    /// Checks that posting the same two events again adds nothing.
    pub(super) async fn dedupe(&self) -> CheckOutcome {
        let expected = "two duplicates, and still two events";
        let posted = self.post_events().await?;
        let events = self
            .wait_for(self.test_message.run(), 2)
            .await
            .map_err(|arrived| CheckFailure::new(arrived, expected, "accepted events are not returned"))?;
        if (posted.appended, posted.duplicates, events.len()) == (0, 2, 2) {
            return Ok(());
        }
        let arrived =
            format!("{} appended, {} duplicates, {} events", posted.appended, posted.duplicates, events.len());
        Err(CheckFailure::new(arrived, expected, "events lose their event_id, or two servers answer in turn"))
    }

    /// Checks that the run's state matches its events.
    pub(super) async fn run_state(&self) -> CheckOutcome {
        let expected = "one repetition, done, from two events";
        let path = format!("/api/v1/runs/{}", self.test_message.name());
        let run: RunState = self.client.get(&path, &[]).await.map_err(|error| request_failure(&error, expected))?;
        match run.journal.as_slice() {
            [only] if only.status == RepetitionStatus::Done && run.events >= 2 => Ok(()),
            rows => {
                let states: Vec<String> = rows.iter().map(|row| row.status.to_string()).collect();
                let arrived = format!("{} events, repetitions {states:?}", run.events);
                Err(CheckFailure::new(
                    arrived,
                    expected,
                    format!("an event is missing{}", self.server_counters("run_state").await),
                ))
            }
        }
    }

    /// Checks that a follower of the run receives both events.
    pub(super) async fn runs_sse(&self) -> CheckOutcome {
        let expected = "the two events by server-sent events";
        let Some(run) = self.test_message.run() else { return Ok(()) };
        let client = HttpClient::new(self.options.endpoint.clone());
        let mut follower = RunFollower::new(client, run, RunStreamStart::First);
        let (mut count, mut failure) = (0, None);
        let wait = self.options.timeout.mul_f64(0.9);
        let read = async {
            while count < 2 {
                match follower.next().await {
                    Ok(RunItem::Event { .. }) => count += 1,
                    Ok(RunItem::Disconnected { why, .. }) => failure = Some(why),
                    Ok(_) => {}
                    Err(error) => {
                        failure = Some(error.to_string());
                        break;
                    }
                }
            }
        };
        if tokio::time::timeout(wait, read).await.is_ok() && count == 2 {
            return Ok(());
        }
        let arrived = failure.map_or_else(|| format!("{count} events"), |why| format!("{count} events, then: {why}"));
        Err(CheckFailure::new(arrived, expected, "a proxy between here and the server buffers or cuts event streams"))
    }

    /// Checks that the server reads the events from the file.
    pub(super) async fn runs_folder(&self, run: &RunId) -> CheckOutcome {
        self.wait_for(Some(run.clone()), 2).await.map(drop).map_err(|arrived| {
            let path = format!("run {run}: {arrived}");
            CheckFailure::new(path, "the two events of the file", "the server cannot read or does not watch the folder")
        })?;
        Ok(())
    }

    async fn post_events(&self) -> Result<AppendReply, CheckFailure> {
        let lines: Vec<String> =
            self.test_message.events().into_iter().flatten().map(|event| event.to_string()).collect();
        let path = format!("/api/v1/runs/{}/events", self.test_message.name());
        let answer = self.client.post(&path, &[], "application/x-ndjson", Bytes::from(lines.join("\n"))).await;
        answer.map_err(|error| request_failure(&error, "the events are accepted"))
    }

    /// Waits for `count` events of a run for most of the timeout. Returns the actual result as the
    /// error.
    async fn wait_for(&self, run: Option<RunId>, count: usize) -> Result<Vec<Event>, String> {
        let Some(run) = run else { return Err("no run".to_owned()) };
        let path = format!("/api/v1/runs/{run}/events");
        let until = tokio::time::Instant::now() + self.options.timeout.mul_f64(0.9);
        loop {
            let page: Result<EventsPage, ClientError> = self.client.get(&path, &[]).await;
            let arrived = match page {
                Ok(page) if page.events.len() >= count => return Ok(page.events),
                Ok(page) => format!("{} events", page.events.len()),
                Err(error) if error.is_not_found() => "no event".to_owned(),
                Err(error) => error.to_string(),
            };
            if tokio::time::Instant::now() >= until {
                return Err(arrived);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
