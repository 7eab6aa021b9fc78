//! Metrics of this process, under the names that the client libraries of Prometheus agree on.

use std::fs;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};

/// Fields of `/proc/self/stat`, counted after the name of the program.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const THREADS: usize = 17;
const START_TICKS: usize = 19;
const VIRTUAL_BYTES: usize = 20;
const RESIDENT_PAGES: usize = 21;

/// Registers the metrics, as far as the system tells them.
pub(crate) fn register(registry: &mut Registry) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may contain spaces and parentheses.
    let fields: Vec<f64> = match stat.rsplit_once(')') {
        Some((_, rest)) => rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect(),
        None => return,
    };
    let field = |at: usize| fields.get(at).copied().unwrap_or(0.0);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by((field(USER_TICKS) + field(SYSTEM_TICKS)) / ticks);
    registry.register("process_cpu_seconds", "CPU time of the process, in user and system mode", cpu);
    let gauges = [
        ("process_threads", "Threads of the process", Some(field(THREADS))),
        ("process_virtual_memory_bytes", "Virtual memory of the process", Some(field(VIRTUAL_BYTES))),
        (
            "process_resident_memory_bytes",
            "Resident memory of the process",
            Some(field(RESIDENT_PAGES) * rustix::param::page_size() as f64),
        ),
        (
            "process_start_time_seconds",
            "Start of the process, in seconds since 1970",
            booted().map(|booted| booted + field(START_TICKS) / ticks),
        ),
        ("process_open_fds", "Open file descriptors", fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64)),
        (
            "process_max_fds",
            "Maximum number of open file descriptors",
            getrlimit(Resource::Nofile).current.map(|max| max as f64),
        ),
    ];
    for (name, help, value) in gauges {
        let Some(value) = value else { continue };
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
}

/// Returns the start of the system, in seconds since 1970.
fn booted() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}
