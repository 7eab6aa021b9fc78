//! The checks of a run's hops at the server: out of the lines, once, into its state, and out again.

use bytes::Bytes;
use serde::Deserialize;

use super::hops::LOOK_AGAIN;
use super::sentinel::Sentinel;
use super::{Examination, Outcome, Trouble, request_trouble};
use crate::client::{ClientError, HttpClient, RunFollowStart, RunFollower, RunItem};
use crate::model::{Event, RepetitionStatus, RunId, RunState};

#[derive(Debug, Deserialize)]
struct EventsPage {
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct Posted {
    appended: u64,
    duplicates: u64,
    rejected: Vec<serde_json::Value>,
}

impl Examination {
    /// The events in the task's lines reach their run.
    pub(super) async fn extraction(&self) -> Outcome {
        let expected = "the two events that stand in the lines, word for word";
        let events = match self.wait_for(self.sentinel.run(), 2).await {
            Ok(events) => events,
            Err(arrived) => {
                let cause = format!(
                    "events are not taken out of this task's output: it has the label events=off, or the extraction \
                     failed{}",
                    self.counted("extraction").await
                );
                return Err(Trouble::new(arrived, expected, cause));
            }
        };
        if events.iter().all(Sentinel::is_whole) {
            return Ok(());
        }
        let arrived = events.iter().find(|event| !Sentinel::is_whole(event)).map(ToString::to_string);
        Err(Trouble::new(arrived.unwrap_or_default(), expected, "the escaping was not taken off as it was put on"))
    }

    /// Events posted by HTTP are taken; those that came by the task's lines are known already.
    pub(super) async fn runs_http(&self) -> Outcome {
        let posted = self.post_again().await?;
        if posted.rejected.is_empty() && posted.appended + posted.duplicates == 2 {
            return Ok(());
        }
        let arrived =
            format!("{} appended, {} duplicates, rejected {:?}", posted.appended, posted.duplicates, posted.rejected);
        Err(Trouble::new(arrived, "two events taken or known, none rejected", "the server is of another version"))
    }

    /// The same two events once more: nothing is added.
    pub(super) async fn dedupe(&self) -> Outcome {
        let expected = "two duplicates, and still two events";
        let posted = self.post_again().await?;
        let events = self
            .wait_for(self.sentinel.run(), 2)
            .await
            .map_err(|arrived| Trouble::new(arrived, expected, "events that were taken are not given back"))?;
        if (posted.appended, posted.duplicates, events.len()) == (0, 2, 2) {
            return Ok(());
        }
        let arrived =
            format!("{} appended, {} duplicates, {} events", posted.appended, posted.duplicates, events.len());
        Err(Trouble::new(arrived, expected, "events lose their event_id on the way, or two servers answer by turns"))
    }

    /// The run's state is what its events say.
    pub(super) async fn run_state(&self) -> Outcome {
        let expected = "one repetition, done, out of its two events";
        let path = format!("/api/v1/runs/{}", self.sentinel.name());
        let run: RunState = self.client.get(&path, &[]).await.map_err(|error| request_trouble(&error, expected))?;
        match run.journal.as_slice() {
            [only] if only.status == RepetitionStatus::Done && run.events >= 2 => Ok(()),
            rows => {
                let states: Vec<String> = rows.iter().map(|row| row.status.to_string()).collect();
                let arrived = format!("{} events, repetitions {states:?}", run.events);
                Err(Trouble::new(arrived, expected, format!("an event is missing{}", self.counted("run_state").await)))
            }
        }
    }

    /// A follower of the run is given both.
    pub(super) async fn runs_sse(&self) -> Outcome {
        let expected = "the two events by server-sent events";
        let Some(run) = self.sentinel.run() else { return Ok(()) };
        let client = HttpClient::new(self.options.endpoint.clone());
        let mut follower = RunFollower::new(client, run, RunFollowStart::First);
        let (mut count, mut trouble) = (0, None);
        let wait = self.options.timeout.mul_f64(0.9);
        let read = async {
            while count < 2 {
                match follower.next().await {
                    Ok(RunItem::Event { .. }) => count += 1,
                    Ok(RunItem::Disconnected { why, .. }) => trouble = Some(why),
                    Ok(_) => {}
                    Err(error) => {
                        trouble = Some(error.to_string());
                        break;
                    }
                }
            }
        };
        if tokio::time::timeout(wait, read).await.is_ok() && count == 2 {
            return Ok(());
        }
        let arrived = trouble.map_or_else(|| format!("{count} events"), |why| format!("{count} events, then: {why}"));
        Err(Trouble::new(arrived, expected, "a proxy between here and the server buffers or cuts event streams"))
    }

    /// What stands in the file reaches the server by itself.
    pub(super) async fn runs_folder(&self, run: &RunId) -> Outcome {
        self.wait_for(Some(run.clone()), 2).await.map(drop).map_err(|arrived| {
            let path = format!("run {run}: {arrived}");
            Trouble::new(path, "the two events of the file", "the server cannot read the folder, or does not watch it")
        })?;
        Ok(())
    }

    async fn post_again(&self) -> Result<Posted, Trouble> {
        let lines: Vec<String> = self.sentinel.events().into_iter().flatten().map(|event| event.to_string()).collect();
        let path = format!("/api/v1/runs/{}/events", self.sentinel.name());
        let answer = self.client.post(&path, &[], "application/x-ndjson", Bytes::from(lines.join("\n"))).await;
        answer.map_err(|error| request_trouble(&error, "the events are taken"))
    }

    /// Waits for so many events of a run, most of the time there is; says what came instead.
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
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
