//! `tasktail verify`: checks a data folder offline.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;
use super::{Context, text};
use crate::home::{self, ObjectStore, StoreUrl};
use crate::tasks::{self, VerifyReport};

/// Exit code for a folder with faults.
const EXIT_FAULTS: u8 = 1;

/// `tasktail verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads everything in --data and changes nothing: the frames, lines, checksums
and SHA-256 of each archive, the blocks of each journal against its record, and
whether archives and journals agree. Prints a line for each fault and a summary.
The store is read from a copy in the temporary folder (TMPDIR). While a server
uses the folder, only sealed archives are checked.

With --archive the logs of an object store are checked instead, each in a
temporary file. Servers may use it meanwhile. Credentials are read as `serve`
reads them.
The exit code is 0 if there are no faults, 1 otherwise.

Examples:
  tasktail verify
  tasktail verify --data /var/lib/tasktail
  tasktail verify --archive s3://logs/tasktail
  tasktail verify --json | jq -r 'select(.what) | .at'")]
pub struct VerifyArgs {
    /// Check the logs in this object store: s3://BUCKET[/PREFIX], or file:///DIR
    #[arg(long, value_name = "URL")]
    archive: Option<StoreUrl>,
    /// Address of the S3 service [default: that of AWS]
    #[arg(long, value_name = "URL", requires = "archive")]
    archive_endpoint: Option<String>,
    /// Region of the bucket [default: that of the environment]
    #[arg(long, value_name = "NAME", requires = "archive")]
    archive_region: Option<String>,
    /// Also trust these certificates (PEM) for an S3 service over https
    #[arg(long, value_name = "FILE", requires = "archive")]
    archive_ca_file: Option<PathBuf>,
}

pub(super) async fn run(args: VerifyArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let VerifyArgs { archive, archive_endpoint, archive_region, archive_ca_file } = args;
    let report = match archive {
        Some(url) => {
            let objects = home::open_archive(&url, archive_endpoint, archive_region, archive_ca_file)?;
            verify_archive(&objects, output).await?
        }
        None => verify_folder(settings.data()?.to_owned(), output).await?,
    };
    print(&report, output)?;
    Ok(if report.faults.is_empty() { 0 } else { EXIT_FAULTS })
}

/// Checks the objects of a store.
async fn verify_archive(objects: &ObjectStore, output: Output) -> anyhow::Result<VerifyReport> {
    let bar = if output.quiet() { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let report = tasks::verify_objects(objects, scratch.path(), &mut |bytes| bar.inc(bytes)).await;
    bar.finish_and_clear();
    Ok(report?)
}

/// Checks a data folder.
async fn verify_folder(data: PathBuf, output: Output) -> anyhow::Result<VerifyReport> {
    let bar = progress_bar(output);
    let shown = bar.clone();
    let verified = tokio::task::spawn_blocking(move || {
        tasks::verify(&data, &mut |bytes, all| {
            if let Some(all) = all {
                shown.set_length(all);
            }
            shown.inc(bytes);
        })
    });
    let verified = verified.await.context("the check ended early");
    bar.finish_and_clear();
    Ok(verified??)
}

/// Prints faults and the summary.
fn print(report: &VerifyReport, output: Output) -> anyhow::Result<()> {
    for fault in &report.faults {
        if output.json() {
            output.object(fault)?;
        } else {
            output.line(text::words(&format!("{}: {}", fault.at, fault.what)))?;
        }
    }
    if report.in_use {
        output.note("a server uses this folder: only sealed archives were checked; stop it to check everything");
    }
    if output.json() {
        output.object(&VerifySummary::of(report))?;
    } else {
        output.line(summary(report))?;
    }
    Ok(())
}

/// The last object of the JSON output.
#[derive(serde::Serialize)]
struct VerifySummary {
    tasks: u64,
    archives: u64,
    lines: u64,
    journals: u64,
    entries: u64,
    in_use: bool,
    faults: usize,
}

impl VerifySummary {
    fn of(report: &VerifyReport) -> Self {
        let VerifyReport { tasks, archives, lines, journals, entries, in_use, ref faults } = *report;
        Self { tasks, archives, lines, journals, entries, in_use, faults: faults.len() }
    }
}

fn summary(report: &VerifyReport) -> String {
    let many = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let faults = match report.faults.len() {
        0 => "no faults".to_owned(),
        count => many(count as u64, "fault"),
    };
    format!(
        "checked {}, {} ({}), {} ({}): {faults}",
        many(report.tasks, "task"),
        many(report.archives, "archive"),
        many(report.lines, "line"),
        many(report.journals, "journal"),
        if report.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", report.entries) },
    )
}

/// Returns a progress bar on stderr, which is drawn only on a terminal.
fn progress_bar(output: Output) -> ProgressBar {
    if output.quiet() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
