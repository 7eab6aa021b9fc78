//! The search for a server on this machine.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{ANSWER_TIMEOUT, FOLDER_TIMEOUT, HOLDER_TIMEOUT, Locator, PROBE_TIMEOUT, default_endpoint};
use crate::client::http::Probe;
use crate::client::{Endpoint, HttpClient};
use crate::server::{ServerFile, ServerProcess};

impl Locator {
    /// Returns a responding server on this machine.
    pub(super) async fn find(&self) -> Option<Endpoint> {
        if !self.settings.data_named
            && let Some(found) = self.at_default_address().await
        {
            // If it is the server of our data folder, its file has the public URL.
            let file = self.server_file().filter(|file| file.url == found.to_string());
            self.is_foreign.store(file.is_none(), Ordering::Relaxed);
            return Some(found.with_public_url(file.and_then(|file| file.public_url)));
        }
        self.in_data_folder().await
    }

    pub(super) async fn at_default_address(&self) -> Option<Endpoint> {
        let plain = default_endpoint("http", &self.settings.listen)?;
        match HttpClient::new(plain.clone()).probe(PROBE_TIMEOUT).await {
            Probe::Tasktail(_) => Some(plain),
            // It must authenticate with a trusted certificate, as on any machine; otherwise the data folder may
            // contain its certificate.
            Probe::HttpsRequired => {
                let secure =
                    default_endpoint("https", &self.settings.listen)?.with_ca_file(self.settings.ca_file.clone());
                let probe = HttpClient::new(secure.clone()).probe(HOLDER_TIMEOUT).await;
                matches!(probe, Probe::Tasktail(_)).then_some(secure)
            }
            Probe::Silent => {
                self.default_silent.store(true, Ordering::Relaxed);
                None
            }
            Probe::Untrusted(_) | Probe::Other | Probe::Free => None,
        }
    }

    /// Returns the endpoint of the server over the data folder, which authenticates with the certificate stored there.
    pub(super) fn reachable(&self, url: &str) -> anyhow::Result<Endpoint> {
        let (scheme, addr) = url.split_once("://").unwrap_or_default();
        let endpoint = default_endpoint(scheme, addr).with_context(|| format!("`{url}` is no address"))?;
        let certificate = std::path::absolute(self.settings.data()?.join("server.pem"))?;
        Ok(if scheme == "https" { endpoint.with_ca_file(Some(certificate)) } else { endpoint })
    }

    /// Returns the server that `server.json` names, if it answers and is the one that wrote the file: the file of a
    /// killed server may name a port that another server uses now.
    async fn in_data_folder(&self) -> Option<Endpoint> {
        let file = self.server_file()?;
        if file.process() != ServerProcess::Running {
            return None;
        }
        let endpoint = self.reachable(&file.url).ok()?.with_public_url(file.public_url);
        match HttpClient::new(endpoint.clone()).probe(HOLDER_TIMEOUT).await {
            Probe::Tasktail(instance) if instance.as_ref() == Some(&file.instance) => Some(endpoint),
            _ => None,
        }
    }

    pub(super) fn server_file(&self) -> Option<ServerFile> {
        ServerFile::read(self.settings.data().ok()?)
    }

    /// Reports a stopped server of the data folder at once: waiting for it would be in vain.
    ///
    /// # Errors
    /// The server is stopped.
    pub(super) fn check_not_stopped(&self) -> anyhow::Result<()> {
        match self.server_file() {
            Some(file) if file.process() == ServerProcess::Stopped => bail!(
                "the server of {} (process {pid}, stopped) does not answer; continue it with `kill -CONT {pid}`, or \
                 with `fg` in its terminal",
                self.settings.data()?.display(),
                pid = file.pid
            ),
            _ => Ok(()),
        }
    }

    /// Reports a process that has held the data folder for too long without an answer.
    ///
    /// # Errors
    /// The time is over.
    pub(super) fn check_holder(&self, waited: Duration) -> anyhow::Result<()> {
        self.check_not_stopped()?;
        let data = self.settings.data()?.display();
        match self.server_file().filter(|file| file.process() == ServerProcess::Running) {
            Some(file) if waited >= HOLDER_TIMEOUT => bail!(
                "the server of {data} (process {pid}) does not answer; end it with `kill {pid}`, or use another --data",
                pid = file.pid
            ),
            None if waited >= FOLDER_TIMEOUT => bail!(
                "the data folder {data} is in use by a process that does not answer; stop it, or use another --data"
            ),
            _ => Ok(()),
        }
    }

    /// Checks that the server given by its URL answers, so that a wait for it is explained.
    ///
    /// # Errors
    /// It is on this machine and does not answer.
    pub(super) async fn check_answers(&self, endpoint: &Endpoint) -> anyhow::Result<()> {
        if HttpClient::new(endpoint.clone()).probe(ANSWER_TIMEOUT).await != Probe::Silent {
            return Ok(());
        }
        let seconds = ANSWER_TIMEOUT.as_secs();
        if matches!(endpoint.host(), "localhost" | "::1") || endpoint.host().starts_with("127.") {
            let stopped = "if its process was stopped, continue it with `kill -CONT PID`";
            bail!("{endpoint} accepts connections but does not answer within {seconds} s; {stopped}");
        }
        self.output.note(format_args!("{endpoint} has not answered for {seconds} s; still waiting"));
        Ok(())
    }
}
