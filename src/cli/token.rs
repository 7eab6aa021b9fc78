//! `tasktail token`: the access tokens of a store, in its data folder. A server that runs takes every
//! change in at once; none has to run.

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
The first token of a store closes it: from then on everyone needs one, and it
stays closed when the last one is revoked. A server that runs over the data
folder takes each change in at once, and ends the connections of a token that
is revoked.

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
    /// Make a token and print it, alone and only now
    Create(CreateArgs),
    /// List the tokens, revoked and expired ones too
    List,
    /// Take a token back: it is refused from now on, and its connections end
    Revoke(RevokeArgs),
}

/// `tasktail token create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Scopes: `read` looks at tasks and runs, `write` brings lines and events and ends
tasks too, `admin` also removes and changes the server. Patterns are ids with
`*` for any characters and `?` for one. A task's events are in the run of its
name unless told otherwise: so with --task alone the runs have the same
patterns.

Examples:
  tasktail token create --name ci --scope write --task 'build-*'
  tasktail token create --name wall --scope read --expires 12h
  tasktail token create --name deploy --scope write --task 'deploy-*' --run 'release-*' --run nightly")]
struct CreateArgs {
    /// What it is called, in lists and in the server's traces; a name is used once
    #[arg(long, value_name = "N")]
    name: TokenName,
    /// What it is for: read, write or admin
    #[arg(long, value_name = "SCOPE")]
    scope: Scope,
    /// The tasks it is for; may be repeated [default: *]
    #[arg(long = "task", value_name = "PATTERN")]
    tasks: Vec<IdPattern>,
    /// The runs it is for; may be repeated [default: the tasks' patterns]
    #[arg(long = "run", value_name = "PATTERN")]
    runs: Vec<IdPattern>,
    /// It is refused after this time, such as 30d [default: never]
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
    let tokens = Tokens::at(&settings.data);
    match args.command {
        TokenCommand::Create(args) => create(args, &tokens, *output)?,
        TokenCommand::List => list(&tokens, *output)?,
        TokenCommand::Revoke(args) => {
            let news = tokens.revoke(&args.name)?;
            if !news {
                output.note(format_args!("the token `{}` was revoked before", args.name));
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
    output
        .note(format_args!("token `{name}`: {scope} for tasks {tasks} and runs {runs}, {until}; it is shown only now"));
    if first {
        output.note("it is the first one of this store: from now on everyone needs a token");
    }
    Ok(())
}

/// What is told of a token.
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
        output.note("this store has no token: it is open to everyone who reaches it");
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

/// One row, its status in `colour`.
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
