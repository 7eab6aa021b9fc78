//! Applying changed settings to a running server.
//!
//! Tokens and certificates are reloaded when their files change, and at once by a reload. Of the settings, the
//! rules of notices and those in [`LIVE_LIMITS`] take effect; the others require a restart.

use super::Server;
use super::net::tls;
use super::options::ServeOptions;
use crate::model::limits::{Limit, Limits};

/// Limits that can change while the server runs.
const LIVE_LIMITS: [Limit; 6] = [
    Limit::worker_grace,
    Limit::journal_expiry,
    Limit::retention_age,
    Limit::retention_count,
    Limit::retention_bytes,
    Limit::disk_max,
];

/// The result of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// Settings that changed and are in effect, with their new values.
    pub applied: Vec<(&'static str, String)>,
    /// Settings that changed and require a restart.
    pub restart: Vec<&'static str>,
}

impl Server {
    /// Returns the reason if the store accepts no writes until the server is restarted.
    pub fn needs_restart(&self) -> Option<String> {
        self.state.tasks.needs_restart()
    }

    /// Reloads tokens and certificates, and applies `options` as far as possible.
    pub async fn reload(&self, options: &ServeOptions) -> ReloadReport {
        let state = &self.state;
        state.auth.clone().reload().await;
        tls::reload_certificate(state).await;
        let limits = state.tasks.limits();
        let (mut report, mut next) = (ReloadReport::default(), (*limits).clone());
        for limit in changed_limits(&limits, &options.limits) {
            if LIVE_LIMITS.contains(&limit) {
                let value = options.limits.show(limit);
                // A value that was shown can be parsed.
                next.set(limit, &value).ok();
                report.applied.push((limit.name(), value));
            } else if options.limits.show(limit) != self.configured.limits.show(limit) {
                report.restart.push(limit.name());
            }
        }
        state.tasks.set_limits(next);
        if state.notices.set_rules(&options.notices, &options.limits, &state.tracker) {
            let names: Vec<&str> = options.notices.iter().map(|rule| rule.name.as_str()).collect();
            report.applied.push(("notify", names.join(", ")));
        }
        report.restart.extend(changed_options(&self.configured, options));
        report
    }
}

fn changed_limits(before: &Limits, after: &Limits) -> Vec<Limit> {
    Limit::ALL.iter().copied().filter(|limit| before.show(*limit) != after.show(*limit)).collect()
}

/// Returns the names of the settings other than limits that differ.
fn changed_options(before: &ServeOptions, after: &ServeOptions) -> impl Iterator<Item = &'static str> {
    let changed = [
        ("listen", before.listen != after.listen),
        ("data", before.data != after.data),
        ("durability", before.durability != after.durability),
        ("resp", before.resp != after.resp),
        ("journal, archive", before.home != after.home),
        ("runs", before.runs != after.runs),
        ("tls_cert, tls_key", before.tls != after.tls),
        ("insecure", before.insecure != after.insecure),
        ("public_url", before.public_url != after.public_url),
        ("trusted_proxy", before.trusted_proxy != after.trusted_proxy),
        ("allowed_origins", before.allowed_origins != after.allowed_origins),
        ("frame_ancestors", before.frame_ancestors != after.frame_ancestors),
        ("share_jwt_key_file", before.share_jwt_key_file != after.share_jwt_key_file),
        ("share_jwt_audience", before.share_jwt_audience != after.share_jwt_audience),
    ];
    changed.into_iter().filter_map(|(name, changed)| changed.then_some(name))
}
