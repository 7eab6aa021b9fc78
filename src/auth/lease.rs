//! How long a live connection keeps its caller.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Caller, Held, Keyring};
use crate::model::Timestamp;

/// A clock that is set may make a time come sooner than a sleep: it is looked at this often.
const CLOCK_CHECK: Duration = Duration::from_secs(5);

/// Why a caller's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its token was taken back.
    Revoked,
    /// Its token's time is over, or its own.
    Expired,
    /// What its token may was changed.
    Changed,
    /// It was taken back by itself: signed out.
    Withdrawn,
    /// It came without a token, and one is needed now.
    TokenNeeded,
    /// The tokens cannot be read any more.
    Unreadable,
}

impl Ended {
    /// In words, for whoever is at the other end; short enough for a WebSocket's close.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Revoked => "the access token was revoked",
            Self::Expired => "the access token has expired",
            Self::Changed => "what the access token may do was changed",
            Self::Withdrawn => "signed out",
            Self::TokenNeeded => "an access token is needed here now",
            Self::Unreadable => "the access tokens of this store cannot be read",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// A caller on a live connection.
#[derive(Clone, Debug)]
pub struct Lease {
    pub(super) caller: Caller,
    pub(super) owner: Arc<Held>,
    pub(super) keyring: watch::Receiver<Arc<Keyring>>,
}

impl Lease {
    /// Whose it is.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether it is over now, and why.
    pub fn is_over(&self) -> Option<Ended> {
        self.keyring.borrow().ended(&self.caller, &self.owner, Timestamp::now())
    }

    /// Waits until it is over. Cancel-safe; called again it looks again.
    pub async fn ended(&mut self) -> Ended {
        loop {
            // Marked first: what changes while we look wakes us.
            self.keyring.mark_unchanged();
            if let Some(ended) = self.is_over() {
                return ended;
            }
            let time_is_up = async {
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
                    // The server goes, and ends its connections itself.
                    std::future::pending::<()>().await;
                },
                () = time_is_up => {}
                () = withdrawn => {}
            }
        }
    }

    /// When it ends at the latest.
    fn expires(&self) -> Option<Timestamp> {
        let token = self.caller.held().and_then(|held| held.expires);
        [token, self.caller.until].into_iter().flatten().min()
    }
}
