//! Programs that are run for a notice.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::failure::SendFailure;
use super::notice::Notice;

/// Maximum time of a program; then it is killed.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Runs a program, with the notice as JSON on stdin and its main members in the environment. No text of a log is part
/// of the command line, so that a shell never interprets it.
///
/// # Errors
/// The program cannot be started, fails, or takes too long. It is not started again: it may have had an effect.
pub(super) async fn run_command(words: &[String], notice: &Notice) -> Result<(), SendFailure> {
    let fail = |why: String| SendFailure::Final(why);
    let Some((program, arguments)) = words.split_first() else { return Err(fail("there is no program".to_owned())) };
    let body = serde_json::to_vec(notice).map_err(|error| fail(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.env("TASKTAIL_NOTICE_RULE", &notice.rule).env("TASKTAIL_NOTICE_TASK", notice.task.exact_id());
    command.env("TASKTAIL_NOTICE_TEXT", notice.text.replace('\0', "")).env("TASKTAIL_NOTICE_URL", &notice.url);
    let mut child = command.spawn().map_err(|error| fail(format!("cannot start `{program}`: {error}")))?;
    let stdin = child.stdin.take();
    let ended = timeout(TIME_MAX, async {
        if let Some(mut stdin) = stdin {
            // A program need not read it.
            stdin.write_all(&body).await.ok();
        }
        child.wait().await
    });
    match ended.await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(fail(format!("`{program}` failed: {status}"))),
        Ok(Err(error)) => Err(fail(format!("`{program}`: {error}"))),
        Err(_) => Err(fail(format!("`{program}` took longer than {} s and was killed", TIME_MAX.as_secs()))),
    }
}
