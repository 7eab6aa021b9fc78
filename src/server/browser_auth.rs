//! The credentials of browsers: sessions, the key of share links, and the key of another system's JWTs.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::options::{ServeError, ServeOptions};
use crate::auth::Authenticator;
use crate::auth::jwt::JwtKey;
use crate::auth::session::BrowserSessions;
use crate::auth::share::{Share, ShareFault, ShareKeyFile};
use crate::model::{TaskId, Timestamp};

/// Interval at which the share key's file is checked: a withdrawn key takes effect within a second.
const KEY_POLL_INTERVAL: Duration = Duration::from_millis(300);
/// Interval at which expired sessions are dropped.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The credentials that browsers can present instead of a token.
#[derive(Debug)]
pub(crate) struct BrowserAuth {
    pub(crate) sessions: BrowserSessions,
    pub(crate) share_key: ShareKeyFile,
    pub(crate) jwt: Option<JwtKey>,
}

impl BrowserAuth {
    /// Opens the sessions and keys in the data folder.
    pub(crate) fn open(options: &ServeOptions) -> Result<Self, ServeError> {
        let sessions_max = usize::try_from(options.limits.sessions_max).unwrap_or(usize::MAX);
        let sessions = BrowserSessions::open(&options.data, sessions_max);
        let read_jwt_key = |path: &Path| {
            let audience = options.share_jwt_audience.as_deref();
            let key = JwtKey::read(path, audience, options.limits.share_life_max);
            key.map_err(|source| ServeError::JwtKey { path: path.to_owned(), source })
        };
        Ok(Self {
            sessions: sessions.map_err(|source| ServeError::DataFolder { data: options.data.clone(), source })?,
            share_key: ShareKeyFile::new(&options.data),
            jwt: options.share_jwt_key_file.as_deref().map(read_jwt_key).transpose()?,
        })
    }

    /// Polls the share key's file and sweeps the sessions until `shutdown`.
    pub(crate) async fn maintain(&self, authenticator: &Authenticator, shutdown: &CancellationToken) {
        let mut last_sweep = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(KEY_POLL_INTERVAL) => {}
            }
            self.share_key.refresh();
            if last_sweep.elapsed() >= SWEEP_INTERVAL {
                last_sweep = Instant::now();
                tokio::task::block_in_place(|| {
                    self.sessions.sweep(Timestamp::now(), |name, sha256| {
                        authenticator.active(name).is_some_and(|held| held.sha256 == *sha256)
                    });
                });
            }
        }
    }

    /// Verifies a share link of this server for `task`. The returned token is cancelled when the key is
    /// withdrawn.
    pub(crate) fn verify_share(&self, task: &TaskId, text: &str) -> Result<(Share, CancellationToken), ShareFault> {
        let key = self.share_key.key().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the key of share links");
            None
        });
        let (key, withdrawn) = key.ok_or(ShareFault::Invalid)?;
        Ok((key.verify(task, text, Timestamp::now())?, withdrawn))
    }

    /// Verifies a share link of this server or another system's JWT for `task`.
    pub(crate) fn verify_share_or_jwt(&self, task: &TaskId, text: &str) -> Option<(Share, CancellationToken)> {
        // A share link has no dot, a JWT has two.
        if !text.contains('.') {
            return self.verify_share(task, text).ok();
        }
        let verified = self.jwt.as_ref()?.verify(text, Timestamp::now());
        let share = verified.ok().filter(|share| share.task == *task)?;
        Some((share, CancellationToken::new()))
    }
}
