//! `tasktail backup` and `tasktail restore`: a consistent copy of a data folder that is in use, and its way back.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};

use super::locate::{Locator, Purpose};
use super::output::Output;
use super::{Context, text};
use crate::client::ClientError;
use crate::model::units;
use crate::tasks::backup::{self, BackupReport};
use crate::tasks::{self};

/// Exit code for a restored folder with faults.
const EXIT_FAULTS: u8 = 1;

/// `tasktail backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
Creates a folder in DIR, named by the time, which is a data folder of its own:
`tasktail list --data DIR/TIME` reads it. It has every line that was
acknowledged before the backup began. The server keeps running; it confirms
lines again once its journal is copied. Logs that were finished before the
backup before take no space: they are hard links to the files there. Remove
old backups with rm -r.

Run it on the machine of the server, with access to its data folder. A server
with access tokens requires one of scope admin without patterns.

Examples:
  tasktail backup /var/backups/tasktail
  tasktail backup /mnt/nas/tasktail --data /var/lib/tasktail
  tasktail restore /var/backups/tasktail --data /var/lib/tasktail")]
pub struct BackupArgs {
    /// The folder of backups; it is created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// `tasktail restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Copies a backup to the data folder (--data), which must be empty or not exist,
and checks it as `tasktail verify` does. DIR is a backup, or a folder of
backups, of which the newest is used. Access tokens and the key of share links
are restored too. If root restores to a folder of another account, that account
owns the files. The exit code is 1 if the check finds a fault.

Examples:
  tasktail restore /var/backups/tasktail --data /var/lib/tasktail
  tasktail restore /var/backups/tasktail/2026-11-30T222500.123Z --data ~/yesterday")]
pub struct RestoreArgs {
    /// The backup, or the folder of backups
    #[arg(value_name = "DIR")]
    backup: PathBuf,
}

/// The first row of the server's response.
#[derive(Debug, Deserialize)]
struct SnapshotRow {
    folder: PathBuf,
    files: Vec<SnapshotFile>,
}

#[derive(Debug, Deserialize)]
struct SnapshotFile {
    name: String,
    bytes: u64,
}

pub(super) async fn run(args: BackupArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let report = back_up(&args.folder, &locator).await;
    locator.close().await;
    let report = report?;
    if output.json() {
        output.object(&report)?;
    } else {
        output.line(report.backup.display())?;
        output.note(summary(&report));
    }
    Ok(0)
}

async fn back_up(folder: &Path, locator: &Locator) -> anyhow::Result<BackupReport> {
    let client = locator.client().await?;
    let mut rows = Box::pin(client.post_for_stream("/api/v1/backup").await?);
    let snapshot = first_row(&mut rows).await?;
    let stage = snapshot.folder;
    let data = stage.parent().map(Path::to_owned).unwrap_or_default();
    if !stage.join("journal").is_dir() {
        bail!(
            "cannot read {} of the server at {}: run this on its machine, with the account of the server or as root",
            text::words(&stage.display().to_string()),
            client.endpoint()
        );
    }
    if let Some(file) = snapshot.files.iter().find(|file| Path::new(&file.name).components().count() != 1) {
        bail!("the server names the archive {:?}, which is no file name", file.name);
    }
    let files: Vec<_> = snapshot.files.into_iter().map(|file| (file.name, file.bytes)).collect();
    let folder = folder.to_owned();
    let copying = tokio::task::spawn_blocking(move || backup::write_backup(&data, &stage, &files, &folder));
    // The snapshot exists as long as the response is read.
    let reading = async move { while let Some(Ok(_)) = rows.next().await {} };
    let mut reading = std::pin::pin!(reading);
    let mut copying = std::pin::pin!(copying);
    tokio::select! {
        copied = &mut copying => Ok(copied.context("the copy ended early")??),
        () = &mut reading => {
            // The files may be gone, or the copy may have them all.
            let copied = copying.await.context("the copy ended early")?;
            Ok(copied.context("the server ended the backup")?)
        }
    }
}

async fn first_row(
    rows: &mut (impl Stream<Item = Result<bytes::Bytes, ClientError>> + Unpin),
) -> anyhow::Result<SnapshotRow> {
    let mut row = Vec::new();
    while !row.contains(&b'\n') {
        let Some(bytes) = rows.next().await else { bail!("the server ended the backup") };
        row.extend_from_slice(&bytes?);
    }
    Ok(serde_json::Deserializer::from_slice(&row).into_iter().next().context("an empty response")??)
}

fn summary(report: &BackupReport) -> String {
    let archives = |count: u64| format!("{count} archive{}", if count == 1 { "" } else { "s" });
    format!(
        "copied {} and the journal ({} bytes), linked {}",
        archives(report.copied_archives),
        units::grouped(report.copied_bytes),
        archives(report.linked_archives)
    )
}

/// The JSON output of a restore.
#[derive(Serialize)]
struct Restored {
    backup: PathBuf,
    data: PathBuf,
    tasks: u64,
    faults: usize,
}

pub(super) async fn restore(args: RestoreArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let data = settings.data()?.to_owned();
    let folder = data.clone();
    let restored = tokio::task::spawn_blocking(move || {
        let backup = backup::restore(&args.backup, &folder)?;
        let report = tasks::verify(&folder, &mut |_, _| {})?;
        Ok::<_, anyhow::Error>((backup, report))
    });
    let (backup, report) = restored.await.context("the restore ended early")??;
    for fault in &report.faults {
        output.loss(format_args!("{}: {}", fault.at, fault.what));
    }
    print_restored(&Restored { backup, data, tasks: report.tasks, faults: report.faults.len() }, output)?;
    Ok(if report.faults.is_empty() { 0 } else { EXIT_FAULTS })
}

fn print_restored(restored: &Restored, output: Output) -> anyhow::Result<()> {
    if output.json() {
        return Ok(output.object(restored)?);
    }
    let tasks = format!("{} task{}", restored.tasks, if restored.tasks == 1 { "" } else { "s" });
    let faults = match restored.faults {
        0 => "no faults".to_owned(),
        count => format!("{count} faults"),
    };
    let (backup, data) = (restored.backup.display(), restored.data.display());
    Ok(output.line(format_args!("restored {tasks} from {backup} to {data}: {faults}"))?)
}
