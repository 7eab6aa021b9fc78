//! Events out of Ansible's output: what the search costs where there are none, and what they cost.
//! The input is what real Ansible printed, many times over, in pieces as a pipe gives them.

#![allow(clippy::expect_used, missing_docs, reason = "a bench that cannot set up has nothing to say")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tasktail::events::{Extractor, ExtractorOptions, Identities};
use tasktail::model::Event;

const INPUT_BYTES: usize = 64 * 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
const JSON: &str = include_str!("../data/samples/ansible-json-v.txt");
const YAML: &str = include_str!("../data/samples/ansible-yaml-v.txt");
const COLOUR: &str = include_str!("../data/samples/ansible-json-v-colour.txt");

/// What a playbook prints beside its events: results of modules, with -v.
const NOISE: &str = "TASK [workload_runner : [run:dd] Execute dd repetition 1] **********************************
ok: [target-1] => {\"changed\": false, \"cmd\": [\"cat\", \"/tmp/out.log\"], \"delta\": \"0:00:00.005260\", \"end\": \"2026-01-03 11:55:41.647912\", \"msg\": \"\", \"rc\": 0, \"start\": \"2026-01-03 11:55:41.642652\", \"stderr\": \"\", \"stderr_lines\": [], \"stdout\": \"read 1024 MB\\nwrote 1024 MB\", \"stdout_lines\": [\"read 1024 MB\", \"wrote 1024 MB\"]}
skipping: [target-2] => {\"changed\": false, \"false_condition\": \"poll_done\", \"skip_reason\": \"Conditional result was False\"}
changed: [target-3] => {
    \"changed\": true,
    \"checksum\": \"da39a3ee5e6b4b0d3255bfef95601890afd80709\",
    \"dest\": \"/etc/workload/runner.conf\"
}

";
const NOISE_YAML: &str = "TASK [workload_runner : [run:dd] Execute dd repetition 1] **********************************
ok: [target-1] =>
    changed: false
    cmd:
    - cat
    - /tmp/out.log
    delta: '0:00:00.005260'
    msg: ''
    rc: 0
    stdout: |-
        read 1024 MB
        wrote 1024 MB
    stdout_lines: <omitted>

";

fn many(unit: &str) -> Vec<u8> {
    unit.repeat(INPUT_BYTES / unit.len()).into_bytes()
}

fn extract(input: &[u8], texts: bool) -> u64 {
    let mut extractor = Extractor::new(ExtractorOptions { host: None, texts });
    let mut found = 0;
    for piece in input.chunks(PIECE_BYTES) {
        extractor.feed(piece, &mut |item| {
            black_box(item);
            found += 1;
        });
    }
    found
}

fn extraction(c: &mut Criterion) {
    let mut group = c.benchmark_group("extract");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    // One poll in a playbook's output: its noise, then the events of a loop.
    let mixed = |events: &str, noise: &str| format!("{}{events}", noise.repeat(8 * events.len() / noise.len()));
    let inputs = [
        ("without events", many(NOISE), false),
        ("without events, lines given", many(NOISE), true),
        ("without events, YAML", many(NOISE_YAML), false),
        ("events in a ninth of the bytes", many(&mixed(JSON, NOISE)), false),
        ("events in a ninth of the bytes, YAML", many(&mixed(YAML, NOISE_YAML)), false),
        ("nothing but events", many(JSON), false),
        ("nothing but events, YAML", many(YAML), false),
        ("nothing but events, coloured", many(COLOUR), false),
        ("nothing but events, plain", many(&plain()), false),
    ];
    for (name, input, texts) in inputs {
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |b| b.iter(|| extract(&input, texts)));
    }
    group.finish();
}

fn plain() -> String {
    let events = include_str!("../tests/events/ansible/events.jsonl").lines().filter(|line| line.contains("\"host\""));
    events.map(|line| format!("LB_EVENT {line}\n")).collect()
}

fn identity(c: &mut Criterion) {
    let line = include_str!("../tests/events/ansible/events.jsonl").lines().next().expect("an event");
    let event = Event::parse(line).expect("an event");
    let mut group = c.benchmark_group("identity");
    group.throughput(Throughput::Elements(1));
    group.bench_function("identify", |b| {
        b.iter_batched_ref(Identities::default, |identities| identities.identify(&event), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, extraction, identity);
criterion_main!(benches);
