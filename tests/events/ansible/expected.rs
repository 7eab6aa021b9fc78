//! The events of `play.yml`, in the order in which it prints them.

const EVENTS: &str = include_str!("events.jsonl");
const STREAM: &str = include_str!("stream.txt");

/// Each as the object that was printed; those without a host have the one of their line in front.
pub(crate) fn events(verbose: bool) -> Vec<String> {
    let polled: Vec<&str> = STREAM.lines().filter_map(|line| line.strip_prefix("LB_EVENT ")).collect();
    let event = |workload: &str, repetition: u32, status: &str, message: &str| {
        let message = serde_json::Value::from(message);
        format!(
            r#"{{"host": "localhost", "workload": "{workload}", "repetition": {repetition}, "status": "{status}", "message": {message}}}"#
        )
    };
    let mut all = vec![r#"{"run_id": "run-1", "host": "localhost", "workload": "dfaas", "repetition": 1, "total_repetitions": 3, "status": "running"}"#.to_owned()];
    all.extend(EVENTS.lines().map(with_host));
    if verbose {
        all.extend(polled.iter().map(ToString::to_string));
    }
    all.push(event("block", 1, "running", "one of \"two\" in a block"));
    all.push(event("block", 1, "done", "two of \"two\" in a block"));
    all.extend(polled.iter().map(ToString::to_string));
    all.extend([event("looped", 1, "running", "a \"b\" {"), event("looped", 1, "running", "a \"b\" {")]);
    all.extend([event("lines", 1, "running", "first"), event("lines", 2, "running", "second")]);
    all.push(event("mapped", 1, "running", "it's \"quoted\" and C:\\tmp\nnext"));
    let words = "a long text, so that it is folded: it's not for want of words that there would be no fold";
    all.push(event("compact", 1, "running", words));
    all.push(event("later", 1, "running", "it's after a fold"));
    all.extend(polled.iter().map(ToString::to_string));
    for host in ["h1", "h2"] {
        all.push(format!(r#"{{"host": "{host}", "workload": "glued", "repetition": 1, "status": "running"}}"#));
    }
    all.push(event("failing", 1, "failed", "it said: \"no\""));
    all.push(event("failing", 2, "failed", "second"));
    all.push(event("failing", 3, "failed", "third, of no host"));
    all
}

fn with_host(line: &str) -> String {
    let has_one = line.contains("\"host\"") || line.contains("\"event_type\"");
    if has_one { line.to_owned() } else { line.replacen('{', "{\"host\": \"localhost\", ", 1) }
}
