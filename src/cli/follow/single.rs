//! Follows one task, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::timeout;

use super::super::locate::Locator;
use super::session::{FollowSession, status_code};
use super::view::TaskView;
use super::{FollowArgs, deadline, relocate, start};
use crate::client::HttpClient;
use crate::client::follow::{FollowError, LogFollower};
use crate::model::TaskId;

/// Maximum wait for the next message with `--no-follow`.
pub(super) const LAST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Prints a task's lines until it ends and returns the exit code.
///
/// # Errors
/// There is no such task, no response, or stdout is closed.
pub(super) async fn follow(
    args: &FollowArgs,
    id: TaskId,
    client: &HttpClient,
    locator: &Arc<Locator>,
    explicit: bool,
    session: &mut FollowSession,
) -> anyhow::Result<u8> {
    let begin = start::find(args, session.printer.grep(), &id, client).await?;
    if begin.is_empty {
        return Ok(0);
    }
    let mut follower = LogFollower::new(client.endpoint().clone(), id.clone(), begin.start.clone(), args.wait);
    if !explicit {
        follower = follower.with_relocate(relocate(locator));
    }
    follower = follower.with_partials(!args.no_follow && session.printer.shows_partials());
    let mut view = TaskView::new(id, 0, begin, args.until, args.no_follow);
    session.printer.fit(view.id.as_str());
    let result = tokio::select! {
        result = read(&mut follower, &mut view, session) => result,
        () = deadline(args.until) => Ok(()),
    };
    // Complete the output also before an error.
    session.finish(&mut view)?;
    follower.close().await;
    result?;
    Ok(if args.exit_status { status_code(view.details.as_ref()) } else { 0 })
}

async fn read(follower: &mut LogFollower, view: &mut TaskView, session: &mut FollowSession) -> anyhow::Result<()> {
    while !view.is_done() {
        let next = if view.is_bounded() {
            timeout(LAST_MESSAGE_TIMEOUT, follower.next()).await.unwrap_or(Ok(None))
        } else {
            follower.next().await
        };
        match next.map_err(|error| explain(error, &view.id))? {
            None => break,
            Some(update) => {
                if session.handle(view, update)? {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn explain(error: FollowError, task: &TaskId) -> anyhow::Error {
    match error {
        FollowError::Refused { code, .. } if code == "not_found" => {
            anyhow!("there is no task `{task}`; use --wait to wait for it")
        }
        error => error.into(),
    }
}
