//! Requests of webhooks and to ntfy.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::failure::SendFailure;
use super::notice::Notice;
use super::rule::NoticeTarget;
use super::sign::{read_secret, signature};
use crate::client::post::post_json;

/// Sends a notice as a signed request.
///
/// # Errors
/// The secret cannot be read, or the receiver did not accept the notice.
pub(super) async fn send_webhook(target: &NoticeTarget, secret: &Path, notice: &Notice) -> Result<(), SendFailure> {
    let secret = read_secret(secret).map_err(|error| unusable(secret, &error))?;
    let body = serde_json::to_vec(notice).map_err(|error| SendFailure::Final(error.to_string()))?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let headers = [
        ("webhook-id", notice.id.clone()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", signature(&secret, &notice.id, seconds, &body)),
    ];
    post(target, &headers, body).await
}

/// Sends a notice as a message of a topic.
///
/// # Errors
/// The token cannot be read, or the server did not accept the message.
pub(super) async fn send_ntfy(
    target: &NoticeTarget,
    topic: &str,
    token: Option<&Path>,
    notice: &Notice,
) -> Result<(), SendFailure> {
    let headers = match token {
        Some(file) => {
            let token = std::fs::read_to_string(file).map_err(|error| unusable(file, &error))?;
            vec![("authorization", format!("Bearer {}", token.trim()))]
        }
        None => Vec::new(),
    };
    let is_bad = notice.task.is_failed() || notice.trigger != "status";
    let (priority, tag) = if is_bad { (4, "warning") } else { (3, "white_check_mark") };
    let message = json!({
        "topic": topic,
        "title": notice.rule,
        "message": notice.text,
        "priority": priority,
        "tags": [tag],
        "click": notice.url,
    });
    post(target, &headers, message.to_string().into_bytes()).await
}

async fn post(target: &NoticeTarget, headers: &[(&'static str, String)], body: Vec<u8>) -> Result<(), SendFailure> {
    match post_json(&target.endpoint, &target.path, headers, body.into()).await {
        Ok(200..=299) => Ok(()),
        // The receiver may accept it later.
        Ok(status @ (408 | 425 | 429 | 500..)) => Err(SendFailure::Transient(format!("HTTP status {status}"))),
        Ok(status) => Err(SendFailure::Final(format!("HTTP status {status}"))),
        Err(error) => Err(SendFailure::Transient(error.to_string())),
    }
}

fn unusable(path: &Path, error: &io::Error) -> SendFailure {
    SendFailure::Final(format!("cannot use {}: {error}", path.display()))
}
