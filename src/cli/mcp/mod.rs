//! `tasktail mcp`: serves the logs to a language model over stdio, in the Model Context Protocol.
//!
//! ```text
//! rmcp (the protocol) -> server (tools/list, tools/call) -> fields (arguments) -> one file for each tool
//!   -> the client of the other commands -> fitting (size, hostile text) -> a JSON text
//! ```
//!
//! Log text is output of programs, which an attacker may control. It is only ever the value of a JSON string, so that
//! it cannot pass for a member of a result, and invisible characters are left out of it.

mod access;
mod explain;
mod fields;
mod fitting;
mod list;
mod read;
mod search;
mod server;
mod tools;
mod wait;

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::Args;
use rmcp::transport::async_rw::AsyncRwTransport;

use super::{Context, EXIT_INTERRUPTED, interrupted};
use crate::model::units;
use server::LogToolServer;

/// Maximum bytes of a message of the client; a longer one is dropped.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Smallest and largest value of `--result-bytes-max`.
const RESULT_BYTES_LEAST: u64 = 8 * 1024;
const RESULT_BYTES_MOST: u64 = 1024 * 1024;

/// `tasktail mcp`.
#[derive(Debug, Args)]
#[command(after_help = "\
A program that uses a language model starts this command and talks to it on stdin and
stdout. The tools only read: list_tasks, read_log, search_logs, explain_log, diff_logs
and wait_for_task. Server, token and data folder are those of the other commands:
--url, --token-file, --data, the environment, or the settings file. A token of scope
`read` is enough, and limits the tasks that the model can see.

Log text is output of programs and can contain instructions to a model. It is marked
as data, and invisible characters are left out. A program that acts on what a model
answers needs limits of its own.

Examples:
  tasktail mcp
  tasktail --url https://logs.example --token-file ~/.tasktail-token mcp

  In the settings of a client:
  {\"mcpServers\": {\"tasktail\": {\"command\": \"tasktail\", \"args\": [\"mcp\"]}}}")]
pub struct McpArgs {
    /// Limit the text of each result to this size, from 8KiB to 1MiB
    #[arg(long, value_name = "SIZE", default_value = "32KiB", value_parser = result_bytes)]
    result_bytes_max: usize,
}

fn result_bytes(text: &str) -> Result<usize, String> {
    let bytes = units::size(text)?;
    if !(RESULT_BYTES_LEAST..=RESULT_BYTES_MOST).contains(&bytes) {
        return Err(format!("`{text}` is out of range: use a size from 8KiB to 1MiB"));
    }
    usize::try_from(bytes).map_err(|error| error.to_string())
}

pub(super) async fn run(args: McpArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    if std::io::stdin().is_terminal() {
        output.note("waiting for the messages of an MCP client on stdin; Ctrl-C ends it; see `tasktail mcp --help`");
    }
    let server = LogToolServer::new(settings, output, args.result_bytes_max);
    let result = tokio::select! {
        result = serve(server.clone()) => result.map(|()| 0),
        result = interrupted() => result.map(|()| EXIT_INTERRUPTED),
    };
    server.close().await;
    result
}

/// Serves one client until it closes stdin.
async fn serve(server: LogToolServer) -> anyhow::Result<()> {
    let transport = AsyncRwTransport::new_server(tokio::io::stdin(), tokio::io::stdout());
    let transport = transport.with_max_line_length(MESSAGE_BYTES_MAX);
    match rmcp::service::serve_server(server, transport).await {
        Ok(service) => service.waiting().await.map(drop).context("the server of the tools failed"),
        // The client closed stdin before its first message.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(error).context("the client does not speak the Model Context Protocol"),
    }
}
