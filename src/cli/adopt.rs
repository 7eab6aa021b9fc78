//! `tasktail adopt`: lists the logs of an object store again in a Redis that has lost them.

use std::ffi::OsString;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::ProgressBar;

use super::settings::pick;
use super::{Context, text};
use crate::config::FlagValues;
use crate::home::Engine;
use crate::tasks::{self, AdoptReport};

/// Exit code if a record cannot be used.
const EXIT_FAULTS: u8 = 1;
/// Name of the command among the servers of a store.
const SERVER: &str = "adopt";

/// `tasktail adopt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads the record beside each log in the object store, and creates the tasks that
Redis does not have; servers list them at once. What exists is not changed, so
the command can be repeated. If an id was used again, its newest log is adopted.
The logs of tasks that had not ended are counted: their newest lines were in
Redis alone.
The exit code is 1 if a record cannot be used or a log is missing.

Examples:
  tasktail adopt --journal redis://db.example --archive s3://logs/tasktail
  tasktail adopt --json | jq .adopted")]
pub struct AdoptArgs {
    /// Redis or Valkey that lists the tasks [env: TASKTAIL_JOURNAL]
    #[arg(long, value_name = "URL")]
    journal: Option<OsString>,
    /// Trust the certificates of these authorities for Redis [env: TASKTAIL_JOURNAL_CA_FILE]
    #[arg(long, value_name = "FILE")]
    journal_ca_file: Option<OsString>,
    /// Do not check the settings of Redis [env: TASKTAIL_JOURNAL_TRUST]
    #[arg(long)]
    journal_trust: bool,
    /// Object store with the logs: s3://BUCKET[/PREFIX], or file:///DIR [env: TASKTAIL_ARCHIVE]
    #[arg(long, value_name = "URL")]
    archive: Option<OsString>,
    /// Address of the S3 service [env: TASKTAIL_ARCHIVE_ENDPOINT] [default: that of AWS]
    #[arg(long, value_name = "URL")]
    archive_endpoint: Option<OsString>,
    /// Region of the bucket [env: TASKTAIL_ARCHIVE_REGION] [default: that of the environment]
    #[arg(long, value_name = "NAME")]
    archive_region: Option<OsString>,
    /// Also trust these certificates (PEM) for an S3 service over https [env: TASKTAIL_ARCHIVE_CA_FILE]
    #[arg(long, value_name = "FILE")]
    archive_ca_file: Option<OsString>,
}

impl AdoptArgs {
    /// Returns the settings given on the command line.
    pub(super) fn flags(&self) -> FlagValues {
        let mut flags = pick([
            ("journal", &self.journal),
            ("journal_ca_file", &self.journal_ca_file),
            ("archive", &self.archive),
            ("archive_endpoint", &self.archive_endpoint),
            ("archive_region", &self.archive_region),
            ("archive_ca_file", &self.archive_ca_file),
        ]);
        if self.journal_trust {
            flags.push(("journal_trust", "true".into()));
        }
        flags
    }
}

pub(super) async fn run(_args: AdoptArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let Some(home) = settings.home else {
        bail!("this needs a Redis and an object store: pass --journal URL and --archive URL");
    };
    let objects = home.open_archive()?;
    let engine = Engine::connect(&home.journal, home.engine_options(SERVER)).await;
    let engine = engine.context("cannot use the Redis of --journal")?;
    let bar = if output.quiet() { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let report = tasks::adopt_archive(&engine, &objects, &mut || bar.inc(1)).await;
    bar.finish_and_clear();
    let report = report?;
    if output.json() {
        output.object(&report)?;
    } else {
        for fault in &report.faults {
            output.line(text::words(&format!("{}: {}", fault.at, fault.what)))?;
        }
        output.line(summary(&report))?;
    }
    Ok(if report.faults.is_empty() { 0 } else { EXIT_FAULTS })
}

fn summary(report: &AdoptReport) -> String {
    let AdoptReport { adopted, listed, existing, older, unfinished, faults } = report;
    let tasks = |count: u64| format!("{count} task{}", if count == 1 { "" } else { "s" });
    let mut parts = vec![format!("adopted {}", tasks(*adopted)), format!("{} existed", tasks(existing + listed))];
    if *listed > 0 {
        parts.push(format!("{listed} of them listed again"));
    }
    if *older > 0 {
        parts.push(format!("{older} older logs of the same ids left"));
    }
    if *unfinished > 0 {
        parts.push(format!("{unfinished} unfinished logs left"));
    }
    parts.push(match faults.len() {
        0 => "no faults".to_owned(),
        1 => "1 fault".to_owned(),
        count => format!("{count} faults"),
    });
    parts.join(", ")
}
