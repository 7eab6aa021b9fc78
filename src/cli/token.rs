//! `tasktail token`: manages the access tokens in a data folder. A running server applies every
//! change at once, but none needs to be running.

use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use super::{Context, text};
use crate::auth::{IdPattern, IdPatterns, NewToken, Scope, Token, TokenName, TokenStatus, Tokens};
use crate::model::{Timestamp, units};

/// `tasktail token`.
#[derive(Debug, Args)]
#[command(after_help = "\
With the first token of a data folder, every client needs a token, also after
the last one is revoked. A running server applies each change at once and
closes the connections of a revoked token.

Examples:
  tasktail token create --name ci --scope write --task 'build-*' --expires 30d > ci.token
  tasktail token create --name me --scope admin
  tasktail token list
  tasktail token revoke ci

  TASKTAIL_TOKEN=$(cat ci.token) tasktail --url http://logs.example:7117 run -- make
  tasktail --token-file ci.token list")]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create a token and print it (shown once)
    Create(CreateArgs),
    /// List the tokens, revoked and expired ones too
    List,
    /// Revoke a token and close its connections
    Revoke(RevokeArgs),
}

/// `tasktail token create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Scopes: `read` allows reading tasks and runs, `write` also appending lines and
events and ending tasks, `admin` also deleting and changing the server.
Patterns are ids in which `*` matches any characters and `?` one. By default a
task's events belong to the run with the task's id, so without --run the runs
have the same patterns as the tasks.

Examples:
  tasktail token create --name ci --scope write --task 'build-*'
  tasktail token create --name wall --scope read --expires 12h
  tasktail token create --name deploy --scope write --task 'deploy-*' --run 'release-*' --run nightly")]
struct CreateArgs {
    /// Set the token's name, shown in lists and in the server's log; names are never reused
    #[arg(long, value_name = "N")]
    name: TokenName,
    /// Set the scope: read, write or admin
    #[arg(long, value_name = "SCOPE")]
    scope: Scope,
    /// Allow access to these tasks; repeatable [default: *]
    #[arg(long = "task", value_name = "PATTERN")]
    tasks: Vec<IdPattern>,
    /// Allow access to these runs; repeatable [default: the tasks' patterns]
    #[arg(long = "run", value_name = "PATTERN")]
    runs: Vec<IdPattern>,
    /// Expire the token after this time, such as 30d [default: never]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    expires: Option<Duration>,
}

/// `tasktail token revoke`.
#[derive(Debug, Args)]
struct RevokeArgs {
    /// The token's name
    #[arg(value_name = "NAME")]
    name: TokenName,
}

pub(super) fn run(args: TokenArgs, context: &Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let tokens = Tokens::at(settings.data()?);
    match args.command {
        TokenCommand::Create(args) => create(args, &tokens, *output)?,
        TokenCommand::List => list(&tokens, *output)?,
        TokenCommand::Revoke(args) => {
            let changed = tokens.revoke(&args.name)?;
            if !changed {
                output.note(format_args!("the token `{}` was already revoked", args.name));
            }
            if output.json() {
                output.object(&json!({ "revoked": args.name }))?;
            } else {
                output.line(&args.name)?;
            }
        }
    }
    Ok(0)
}

fn create(args: CreateArgs, tokens: &Tokens, output: Output) -> anyhow::Result<()> {
    let CreateArgs { name, scope, tasks, runs, expires } = args;
    let tasks = if tasks.is_empty() { None } else { Some(IdPatterns::new(tasks)) };
    let runs = if runs.is_empty() { tasks.clone().unwrap_or_else(IdPatterns::all) } else { IdPatterns::new(runs) };
    let tasks = tasks.unwrap_or_else(IdPatterns::all);
    let expires = expires.map(|time| {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(Timestamp::now().as_millis().saturating_add(ms))
    });
    let first = tokens.list()?.is_empty();
    let (secret, token) = tokens.create(NewToken { name, scope, tasks, runs, expires })?;
    if output.json() {
        let mut object = facts(&token, None);
        object["token"] = secret.reveal().into();
        output.object(&object)?;
    } else {
        output.line(secret.reveal())?;
    }
    let until = token.expires.map_or_else(|| "until it is revoked".to_owned(), |expires| format!("until {expires}"));
    let Token { name, scope, tasks, runs, .. } = &token;
    output.note(format_args!(
        "token `{name}`: {scope} for tasks {tasks} and runs {runs}, {until}; it is shown only once"
    ));
    if first {
        output.note("this is the first token of the data folder: from now on everyone needs a token");
    }
    Ok(())
}

/// Returns the details of a token as JSON.
fn facts(token: &Token, used: Option<Timestamp>) -> serde_json::Value {
    json!({
        "name": token.name,
        "status": token.status(Timestamp::now()),
        "scope": token.scope,
        "tasks": token.tasks,
        "runs": token.runs,
        "created": token.created,
        "expires": token.expires,
        "revoked": token.revoked,
        "last_used": used,
        "fingerprint": token.sha256.fingerprint(),
    })
}

fn list(tokens: &Tokens, output: Output) -> anyhow::Result<()> {
    let (rows, used) = (tokens.list()?, tokens.last_used());
    if output.json() {
        for token in &rows {
            output.object(&facts(token, used.get(&token.name).copied()))?;
        }
        return Ok(());
    }
    if rows.is_empty() {
        output.note("there are no tokens: every client that can connect has full access");
        return Ok(());
    }
    let head = ["NAME", "STATUS", "SCOPE", "TASKS", "RUNS", "CREATED", "EXPIRES", "LAST USED"].map(str::to_owned);
    let cells: Vec<[String; 8]> = rows.iter().map(|token| row(token, used.get(&token.name).copied())).collect();
    let mut widths = head.each_ref().map(String::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let bold = Style::new().bold();
    output.line(format_args!("{bold}{}{bold:#}", line(&head, &widths, Style::new())))?;
    for (cells, token) in cells.iter().zip(&rows) {
        output.line(line(cells, &widths, colour(token)))?;
    }
    Ok(())
}

fn row(token: &Token, used: Option<Timestamp>) -> [String; 8] {
    let now = Timestamp::now().as_millis();
    let since =
        |time: Timestamp| format!("{} ago", text::age(Duration::from_millis(now.saturating_sub(time.as_millis()))));
    let expires = match token.expires.map(Timestamp::as_millis) {
        None => "never".to_owned(),
        Some(at) if at > now => format!("in {}", text::age(Duration::from_millis(at - now))),
        Some(at) => since(Timestamp::from_millis(at)),
    };
    [
        token.name.to_string(),
        token.status(Timestamp::now()).to_string(),
        token.scope.to_string(),
        token.tasks.to_string(),
        token.runs.to_string(),
        since(token.created),
        expires,
        used.map_or_else(|| "-".to_owned(), since),
    ]
}

/// Formats a row with its status in `colour`.
fn line(cells: &[String; 8], widths: &[usize; 8], colour: Style) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let (on, off) = if index == 1 { (format!("{colour}"), format!("{colour:#}")) } else { Default::default() };
        line.push_str(&format!("{on}{cell:<width$}{off}  "));
    }
    line.truncate(line.trim_end().len());
    line
}

fn colour(token: &Token) -> Style {
    match token.status(Timestamp::now()) {
        TokenStatus::Active => AnsiColor::Green.on_default(),
        TokenStatus::Expired | TokenStatus::Revoked => Style::new().dimmed(),
    }
}
