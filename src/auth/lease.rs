//! Continued access of a live connection's caller.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Caller, Keyring, TokenEntry};
use crate::model::Timestamp;

/// Longest sleep before the clock is read again: when the clock is set, expiry may come before a sleep ends.
const CLOCK_CHECK: Duration = Duration::from_secs(5);

/// The reason why a caller lost access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// The token was revoked.
    Revoked,
    /// The token, session or share has expired.
    Expired,
    /// The token's permissions have changed.
    Changed,
    /// The session or share was withdrawn, such as by a sign-out.
    Withdrawn,
    /// The caller has no token, and the store now requires one.
    TokenNeeded,
    /// The tokens have become unreadable.
    Unreadable,
}

impl LeaseEnd {
    /// Returns a message for the peer, short enough for the close frame of a WebSocket (123 bytes).
    pub fn reason(self) -> &'static str {
        match self {
            Self::Revoked => "access token was revoked",
            Self::Expired => "access token has expired",
            Self::Changed => "permissions of the access token have changed",
            Self::Withdrawn => "signed out",
            Self::TokenNeeded => "an access token is now required",
            Self::Unreadable => "cannot read the access tokens of this store",
        }
    }
}

impl fmt::Display for LeaseEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// The access of a caller on a live connection.
#[derive(Clone, Debug)]
pub struct Lease {
    pub(super) caller: Caller,
    pub(super) owner: Arc<TokenEntry>,
    pub(super) keyring: watch::Receiver<Arc<Keyring>>,
}

impl Lease {
    /// Returns the caller.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Returns the reason why the caller has lost access, if it has.
    pub fn end_reason(&self) -> Option<LeaseEnd> {
        self.keyring.borrow().end_reason(&self.caller, &self.owner, Timestamp::now())
    }

    /// Waits until the caller loses access, and returns the reason. Cancel-safe.
    pub async fn ended(&mut self) -> LeaseEnd {
        loop {
            // Marked before the check, so that a change during the check wakes this task.
            self.keyring.mark_unchanged();
            if let Some(ended) = self.end_reason() {
                return ended;
            }
            let expired = async {
                match self.expires() {
                    Some(expires) => {
                        let left = expires.as_millis().saturating_sub(Timestamp::now().as_millis());
                        tokio::time::sleep(Duration::from_millis(left).min(CLOCK_CHECK)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            let withdrawn = async {
                match &self.caller.end {
                    Some(end) => end.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            let mut keyring = self.keyring.clone();
            tokio::select! {
                changed = keyring.changed() => if changed.is_err() {
                    // The server is shutting down and closes its connections itself.
                    std::future::pending::<()>().await;
                },
                () = expired => {}
                () = withdrawn => {}
            }
        }
    }

    /// Returns the earlier expiry of the token and the session or share.
    fn expires(&self) -> Option<Timestamp> {
        let token = self.caller.token_entry().and_then(|token| token.expires);
        [token, self.caller.until].into_iter().flatten().min()
    }
}
