//! The outcome of a playbook in Ansible's recap, which a run without events ends with.

use crate::events::clean;

/// Hosts that are named in the outcome.
const HOSTS_MAX: usize = 8;

/// The hosts on which a playbook failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlayRecap {
    /// A recap was seen.
    seen: bool,
    /// Number of failed or unreachable hosts, and the first of their names.
    failed: u64,
    hosts: Vec<String>,
    /// The lines are inside the `stats` of the json callback.
    in_stats: bool,
}

impl PlayRecap {
    /// Reads a line of text without colours.
    pub(super) fn read(&mut self, line: &str) {
        let text = line.trim();
        if let Some((host, counts)) = text.split_once(": ok=") {
            return self.host(host, |name| count(counts, &format!("{name}=")));
        }
        if let Some((_, stats)) = text.split_once("\"stats\":{").filter(|_| text.starts_with("{\"")) {
            // A line of the jsonl callback holds all hosts.
            for entry in stats.split('}') {
                let host = entry.trim_start_matches([',', '{']).split('"').nth(1).unwrap_or_default();
                self.host(host, |name| count(entry, &format!("\"{}\":", json_name(name))));
            }
        } else if text == "\"stats\": {" && line.starts_with("    \"") {
            self.in_stats = true;
        } else if self.in_stats && line.starts_with("        ") {
            let failed = ["\"failures\": ", "\"unreachable\": "].iter().filter_map(|name| text.strip_prefix(name));
            let failed = failed.filter_map(|number| number.trim_end_matches(',').parse::<u64>().ok()).sum::<u64>();
            self.seen = true;
            self.failed += u64::from(failed > 0);
        } else {
            self.in_stats = false;
        }
    }

    fn host(&mut self, host: &str, count: impl Fn(&str) -> Option<u64>) {
        let (Some(failed), Some(unreachable)) = (count("failed"), count("unreachable")) else { return };
        self.seen = true;
        if failed + unreachable > 0 {
            self.failed += 1;
            if self.hosts.len() < HOSTS_MAX {
                self.hosts.push(clean(host.trim()));
            }
        }
    }

    /// Reports whether a host failed or was unreachable.
    pub fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Returns the outcome as a sentence, if there was a recap.
    pub fn summary(&self) -> Option<String> {
        let hosts = if self.hosts.is_empty() { String::new() } else { format!(": {}", self.hosts.join(", ")) };
        match self.failed {
            _ if !self.seen => None,
            0 => Some("the playbook ended without a failed host".to_owned()),
            1 => Some(format!("the playbook failed on 1 host{hosts}")),
            count => Some(format!("the playbook failed on {count} hosts{hosts}")),
        }
    }
}

/// Returns the name of a count in the json callbacks.
fn json_name(name: &str) -> &str {
    if name == "failed" { "failures" } else { name }
}

/// Returns the number after a name.
pub(super) fn count(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    let digits = rest.trim_start();
    digits[..digits.bytes().take_while(u8::is_ascii_digit).count()].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (bool, Option<String>) {
        let mut recap = PlayRecap::default();
        text.lines().for_each(|line| recap.read(line));
        (recap.has_failed(), recap.summary())
    }

    #[test]
    fn failed_and_unreachable_hosts_are_found_in_every_callback() {
        let good = "web1                       : ok=2    changed=1    unreachable=0    failed=0    skipped=0";
        let bad = "db1  : ok=1    changed=0    unreachable=0    failed=1    skipped=0    rescued=0    ignored=0";
        let away = "db2  : ok=0    changed=0    unreachable=1    failed=0";
        assert_eq!(read(good), (false, Some("the playbook ended without a failed host".to_owned())));
        let text = [good, bad, away].join("\n");
        assert_eq!(read(&text), (true, Some("the playbook failed on 2 hosts: db1, db2".to_owned())));
        let unixy =
            "- Play recap -\n  h1     : ok=7    changed=6    unreachable=0    rescued=0    failed=1    ignored=3";
        assert!(read(unixy).0);
        let json = |n: u8| {
            format!(
                "{{\n    \"stats\": {{\n        \"h1\": {{\n            \"failures\": {n},\n            \"unreachable\": 0\n        }}\n    }}\n}}"
            )
        };
        assert_eq!((read(&json(0)).0, read(&json(1)).0), (false, true));
        let jsonl = |n: u8| {
            format!(
                "{{\"_event\":\"v2_playbook_on_stats\",\"stats\":{{\"h1\":{{\"failures\":{n},\"ok\":1,\"unreachable\":0}}}}}}"
            )
        };
        assert_eq!(
            (read(&jsonl(0)).0, read(&jsonl(1))),
            (false, (true, Some("the playbook failed on 1 host: h1".to_owned())))
        );
        assert_eq!(read("a task : ok\nfailed=1"), (false, None));
    }
}
