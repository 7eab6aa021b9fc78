//! `tasktail verify`: a data folder, looked at offline.

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::VerifyArgs;
use super::output::Output;
use super::{Context, text};
use crate::tasks::{self, VerifyReport};

/// Something is wrong in the folder.
const EXIT_FAULTS: u8 = 1;

pub(super) async fn run(_args: VerifyArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let data = settings.data.clone();
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
    let report = verified??;
    for fault in &report.faults {
        if output.json() {
            output.object(fault)?;
        } else {
            output.line(text::words(&format!("{}: {}", fault.at, fault.what)))?;
        }
    }
    if report.in_use {
        output.note("a server has this folder: only sealed archives were checked; stop it to check everything");
    }
    if output.json() {
        output.object(&Summary::of(&report))?;
    } else {
        output.line(summary(&report))?;
    }
    Ok(if report.faults.is_empty() { 0 } else { EXIT_FAULTS })
}

/// The last object of `--json`.
#[derive(serde::Serialize)]
struct Summary {
    tasks: u64,
    archives: u64,
    lines: u64,
    journals: u64,
    entries: u64,
    in_use: bool,
    faults: usize,
}

impl Summary {
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

/// Drawn on stderr, on a terminal only.
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
