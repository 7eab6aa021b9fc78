//! Workflow commands: `::error file=a.c,line=1::text` of GitHub, `##[error]` and `##vso[task.logissue]` of Azure.

use super::{Finding, Place, captures, group, patterns, placed};
use crate::analysis::view::Severity;

patterns! {
    GITHUB = r"^::(error|warning|notice)(?: ([^:]*(?::[^:]+)*?))?::(.*)$";
    AZURE = r"^##\[(error|warning)\](.*)$";
    AZURE_ISSUE = r"^##vso\[task\.logissue ([^\]]*)\](.*)$";
}

/// Examines a row.
pub(super) fn examine(n: u64, text: &str) -> Option<Finding> {
    if text.starts_with("::") {
        let found = captures(&GITHUB, text)?;
        let properties = group(&found, 2);
        let value = |name: &str| property(properties, ',', name).map(|value| unescape(&value)).unwrap_or_default();
        let place = Place::new(&value("file"), &value("line"), &value("col"));
        let message = unescape(group(&found, 3));
        let title = value("title");
        let message = if title.is_empty() { message } else { format!("{title}: {message}") };
        return Some(Finding::New(placed(n, severity(group(&found, 1)), "github", &message, place)));
    }
    if !text.starts_with("##") {
        return None;
    }
    if let Some(found) = captures(&AZURE, text) {
        let level = severity(group(&found, 1));
        return Some(Finding::New(placed(n, level, "azure", group(&found, 2), Place::default())));
    }
    let found = captures(&AZURE_ISSUE, text)?;
    let properties = group(&found, 1);
    let value = |name: &str| property(properties, ';', name).unwrap_or_default();
    let place = Place::new(&value("sourcepath"), &value("linenumber"), &value("columnnumber"));
    Some(Finding::New(placed(n, severity(&value("type")), "azure", group(&found, 2), place)))
}

fn severity(word: &str) -> Severity {
    match word {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => Severity::Notice,
    }
}

/// Returns the value of `name=value` in a list.
fn property(list: &str, separator: char, name: &str) -> Option<String> {
    let mut pairs = list.split(separator).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// Decodes the escapes of a workflow command. A message is one line of text here.
fn unescape(text: &str) -> String {
    let decoded = text.replace("%0D", "").replace("%0A", " ").replace("%3A", ":").replace("%2C", ",");
    decoded.replace("%25", "%")
}
