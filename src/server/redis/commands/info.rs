//! `INFO`: details and counters of the server, in the fields that clients and tools parse.

use std::fmt::Write as _;

use super::CommandResult;
use crate::server::redis::session::RedisSession;
use crate::server::redis::{RedisPort, VERSION};
use crate::tasks::Durability;
use crate::tasks::keys::{Database, JournalError, KeyReader};
use crate::wire::resp::{Reply, Request};

const SECTIONS: [&str; 9] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "cluster", "keyspace"];
/// Words that select all sections.
const ALL: [&str; 3] = ["all", "default", "everything"];

/// `INFO [section..]`
pub(in super::super) fn info(
    session: &mut RedisSession,
    reader: &mut dyn KeyReader,
    request: &Request,
    reply: &mut Reply,
) -> CommandResult {
    let selected = |name: &str| {
        let mut words = request.args().skip(1);
        let is = |word: &[u8]| word.eq_ignore_ascii_case(name.as_bytes());
        request.len() == 1
            || words.any(|word| is(word) || ALL.iter().any(|all| word.eq_ignore_ascii_case(all.as_bytes())))
    };
    let mut text = String::new();
    for name in SECTIONS.iter().filter(|name| selected(name)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let (first, rest) = name.split_at(1);
        let title = if *name == "cpu" { "CPU".to_owned() } else { first.to_uppercase() + rest };
        text.push_str(&format!("# {title}\r\n"));
        let mut fields = InfoFields(&mut text);
        match *name {
            "server" => server(&session.port, &mut fields),
            "clients" => clients(&session.port, &mut fields),
            "memory" => memory(&mut fields),
            "persistence" => persistence(&session.port, &mut fields),
            "stats" => stats(&session.port, &mut fields),
            "replication" => replication(&session.port, &mut fields),
            "cpu" => cpu(&mut fields),
            "cluster" => fields.put("cluster_enabled", 0),
            _ => keyspace(reader, &mut fields)?,
        }
    }
    reply.verbatim(&text);
    Ok(())
}

/// Writes lines of the form `name:value`.
struct InfoFields<'t>(&'t mut String);

impl InfoFields<'_> {
    fn put(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a String never fails.
        write!(self.0, "{name}:{value}\r\n").unwrap_or_default();
    }

    fn put_all(&mut self, values: &[(&str, u64)]) {
        values.iter().for_each(|(name, value)| self.put(name, value));
    }
}

fn server(port: &RedisPort, fields: &mut InfoFields<'_>) {
    let uptime = port.started.elapsed().as_secs();
    fields.put("redis_version", VERSION);
    fields.put("redis_mode", "standalone");
    fields.put("server_name", "tasktail");
    fields.put("tasktail_version", env!("CARGO_PKG_VERSION"));
    fields.put("os", std::env::consts::OS);
    fields.put("arch_bits", usize::BITS);
    fields.put("process_id", std::process::id());
    fields.put("run_id", &port.run_id);
    fields.put("tcp_port", port.addr.port());
    fields.put("uptime_in_seconds", uptime);
    fields.put("uptime_in_days", uptime / 86_400);
    fields.put("config_file", "");
}

fn clients(port: &RedisPort, fields: &mut InfoFields<'_>) {
    fields.put("connected_clients", port.clients.len());
    fields.put("cluster_connections", 0);
    fields.put("maxclients", port.limits().resp_connections_max);
    fields.put("blocked_clients", port.clients.blocked());
    fields.put_all(&[("tracking_clients", 0), ("clients_in_timeout_table", 0)]);
}

fn memory(fields: &mut InfoFields<'_>) {
    let bytes = resident_bytes();
    fields.put("used_memory", bytes);
    fields.put("used_memory_human", format_args!("{:.2}M", bytes as f64 / f64::from(1 << 20)));
    fields.put("used_memory_rss", bytes);
    fields.put("used_memory_peak", bytes);
    fields.put("maxmemory", 0);
    fields.put("maxmemory_human", "0B");
    fields.put("maxmemory_policy", "noeviction");
    fields.put("mem_fragmentation_ratio", "1.00");
}

/// Returns the resident memory of the process, or 0 if unknown.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or_default() * rustix::param::page_size() as u64
}

fn persistence(port: &RedisPort, fields: &mut InfoFields<'_>) {
    fields.put_all(&[("loading", 0), ("rdb_changes_since_last_save", 0), ("rdb_bgsave_in_progress", 0)]);
    fields.put("rdb_last_bgsave_status", "ok");
    fields.put_all(&[("aof_enabled", 1), ("aof_rewrite_in_progress", 0), ("aof_rewrite_scheduled", 0)]);
    fields.put("aof_last_bgrewrite_status", "ok");
    let written = if port.state.tasks.health().is_ok() { "ok" } else { "err" };
    fields.put("aof_last_write_status", written);
    let durability = if port.state.options.durability == Durability::Commit { "commit" } else { "interval" };
    fields.put("tasktail_durability", durability);
}

fn stats(port: &RedisPort, fields: &mut InfoFields<'_>) {
    let counters = port.counters();
    fields.put_all(&[
        ("total_connections_received", counters.connections),
        ("total_commands_processed", counters.commands),
        ("instantaneous_ops_per_sec", port.commands_per_second()),
        ("total_net_input_bytes", counters.bytes_in),
        ("total_net_output_bytes", counters.bytes_out),
        ("rejected_connections", counters.rejected),
        ("expired_keys", 0),
        ("evicted_keys", 0),
        ("keyspace_hits", 0),
        ("keyspace_misses", 0),
        ("pubsub_channels", 0),
        ("pubsub_patterns", 0),
        ("total_error_replies", counters.errors),
    ]);
}

fn replication(port: &RedisPort, fields: &mut InfoFields<'_>) {
    fields.put("role", "master");
    fields.put("connected_slaves", 0);
    fields.put("master_replid", &port.run_id);
    fields.put("master_repl_offset", 0);
}

fn cpu(fields: &mut InfoFields<'_>) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Starts after the command name, which may contain anything: utime is field 12, stime 13.
    let times = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
    let times: Vec<f64> = times.into_iter().flatten().filter_map(|ticks| ticks.parse().ok()).collect();
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    for (name, at) in [("used_cpu_sys", 1), ("used_cpu_user", 0)] {
        fields.put(name, format_args!("{:.6}", times.get(at).copied().unwrap_or_default() / per_second));
    }
}

fn keyspace(reader: &mut dyn KeyReader, fields: &mut InfoFields<'_>) -> Result<(), JournalError> {
    for database in Database::all() {
        reader.select(database);
        let names = reader.names()?;
        let mut expires = 0;
        for name in &names {
            expires += u64::from(reader.metadata(name)?.is_some_and(|metadata| metadata.expires.is_some()));
        }
        if !names.is_empty() {
            let field = format!("db{}", database.number());
            fields.put(&field, format_args!("keys={},expires={expires},avg_ttl=0", names.len()));
        }
    }
    Ok(())
}
