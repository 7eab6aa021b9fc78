//! Rules as tables of the settings file.

use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::rule::{NoticeAction, NoticeRule, NoticeTarget, NoticeTrigger};
use crate::analysis::{LogPattern, PatternLimits};
use crate::client::Endpoint;
use crate::model::{StatusFilter, TaskStatus, units};

/// The keys of a rule.
const KEYS: [&str; 14] = [
    "name",
    "tasks",
    "labels",
    "status",
    "pattern",
    "silence",
    "slower",
    "webhook",
    "secret_file",
    "ntfy",
    "token_file",
    "ca_file",
    "command",
    "ignore_case",
];
/// Shortest silence.
const SILENCE_MIN: Duration = Duration::from_secs(1);
/// Minimum similarity of a key that is suggested, as for clap's own suggestions.
const SIMILARITY_MIN: f64 = 0.7;

/// Reads a rule. The text of an error has the key, the fault and the remedy.
///
/// # Errors
/// The first fault of the table.
pub fn parse_rule(table: &toml::Table) -> Result<NoticeRule, String> {
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(unknown_key(unknown));
    }
    let rule = RuleTable(table);
    let name = rule.text("name")?.ok_or("`name` is missing: give the rule a name of its own")?;
    Ok(NoticeRule {
        name: name.to_owned(),
        tasks: rule.text("tasks")?.map(str::to_owned),
        labels: rule.labels()?,
        trigger: rule.trigger()?,
        actions: rule.actions()?,
    })
}

fn unknown_key(key: &str) -> String {
    let similar = KEYS.map(|known| (strsim::jaro_winkler(key, known), known));
    let most = similar.into_iter().max_by(|one, other| one.0.total_cmp(&other.0));
    match most.filter(|(similarity, _)| *similarity >= SIMILARITY_MIN) {
        Some((_, nearest)) => format!("`{key}` is no key of a rule; did you mean `{nearest}`?"),
        None => format!("`{key}` is no key of a rule; use {}", KEYS.join(", ")),
    }
}

/// The table of a rule.
struct RuleTable<'a>(&'a toml::Table);

impl RuleTable<'_> {
    fn text(&self, key: &str) -> Result<Option<&str>, String> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(_) => Err(format!("`{key}` must be a text that is not empty")),
        }
    }

    /// Returns a text or a list of texts.
    fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, String> {
        let wrong = || format!("`{key}` must be a text or a list of texts");
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(values)) if !values.is_empty() => {
                values.iter().map(|value| value.as_str().ok_or_else(wrong)).collect::<Result<Vec<_>, _>>().map(Some)
            }
            Some(_) => Err(wrong()),
        }
    }

    fn labels(&self) -> Result<Vec<(String, String)>, String> {
        let label = |text: &str| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("`labels`: `{text}` is not a label: use KEY=VALUE, such as branch=main")),
        };
        self.texts("labels")?.unwrap_or_default().into_iter().map(label).collect()
    }

    fn trigger(&self) -> Result<NoticeTrigger, String> {
        let ignores_case = match self.0.get("ignore_case") {
            None => false,
            Some(Value::Boolean(yes)) => *yes,
            Some(_) => return Err("`ignore_case` must be true or false".to_owned()),
        };
        let mut triggers = Vec::new();
        if let Some(words) = self.texts("status")? {
            triggers.push(NoticeTrigger::Status(words.into_iter().map(end_status).collect::<Result<_, _>>()?));
        }
        if let Some(text) = self.text("pattern")? {
            let text = if ignores_case { format!("(?i){text}") } else { text.to_owned() };
            let pattern = LogPattern::new(&text, false, PatternLimits::default());
            triggers.push(NoticeTrigger::Pattern(Box::new(pattern.map_err(|error| format!("`pattern`: {error}"))?)));
        } else if ignores_case {
            return Err("`ignore_case` needs a `pattern`".to_owned());
        }
        if let Some(text) = self.text("silence")? {
            let silence = units::duration(text).map_err(|error| format!("`silence`: {error}"))?;
            if silence < SILENCE_MIN {
                return Err("`silence` must be at least 1s".to_owned());
            }
            triggers.push(NoticeTrigger::Silence(silence));
        }
        if let Some(value) = self.0.get("slower") {
            let factor = value.as_float().or(value.as_integer().map(|whole| whole as f64));
            let factor = factor.filter(|factor| factor.is_finite() && *factor > 1.0);
            triggers.push(NoticeTrigger::Slower(factor.ok_or("`slower` must be a number above 1, such as 1.5")?));
        }
        match triggers.len() {
            1 => triggers.pop().ok_or_else(String::new),
            0 => Err("it has no condition: set `status`, `pattern`, `silence` or `slower`".to_owned()),
            _ => Err("it has several conditions: write a rule for each of `status`, `pattern`, `silence` and `slower`"
                .to_owned()),
        }
    }

    fn actions(&self) -> Result<Vec<NoticeAction>, String> {
        let mut actions = Vec::new();
        let file = |key| self.text(key).map(|path| path.map(PathBuf::from));
        let (secret_file, token_file, ca_file) = (file("secret_file")?, file("token_file")?, file("ca_file")?);
        match (self.text("webhook")?, secret_file) {
            (Some(url), Some(secret_file)) => {
                let target = target("webhook", url, ca_file.clone())?;
                actions.push(NoticeAction::Webhook { target, secret_file });
            }
            (Some(_), None) => {
                return Err("`webhook` needs a `secret_file`, whose secret signs its requests".to_owned());
            }
            (None, Some(_)) => return Err("`secret_file` needs a `webhook`".to_owned()),
            (None, None) => {}
        }
        match (self.text("ntfy")?, token_file) {
            (Some(url), token_file) => actions.push(ntfy(url, ca_file, token_file)?),
            (None, Some(_)) => return Err("`token_file` needs `ntfy`".to_owned()),
            (None, None) => {}
        }
        if let Some(words) = self.texts("command")? {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            if words.first().is_none_or(String::is_empty) {
                return Err("`command` must be a program, or a list of a program and its arguments".to_owned());
            }
            actions.push(NoticeAction::Command(words));
        }
        if actions.is_empty() {
            return Err("it has no action: set `webhook`, `ntfy` or `command`".to_owned());
        }
        Ok(actions)
    }
}

/// Parses a status that a task can end with.
fn end_status(word: &str) -> Result<StatusFilter, String> {
    match word.parse::<StatusFilter>() {
        Ok(status) if status != StatusFilter::Is(TaskStatus::Running) => Ok(status),
        _ => Err(format!("`status`: `{word}` is not a status at the end: use completed, failed, aborted or lost")),
    }
}

fn target(key: &str, url: &str, ca_file: Option<PathBuf>) -> Result<NoticeTarget, String> {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let endpoint = base.parse::<Endpoint>().map_err(|error| format!("`{key}`: {error}"))?;
    let path = base.splitn(4, '/').nth(3).unwrap_or_default();
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let path = format!("/{path}{query}");
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(format!("`{key}`: the path of the URL has characters that must be escaped"));
    }
    Ok(NoticeTarget { endpoint: endpoint.with_ca_file(ca_file), path })
}

fn ntfy(url: &str, ca_file: Option<PathBuf>, token_file: Option<PathBuf>) -> Result<NoticeAction, String> {
    let wrong = || "`ntfy` must be the URL of a topic, such as https://ntfy.example/builds".to_owned();
    let (server, topic) = url.trim_end_matches('/').rsplit_once('/').ok_or_else(wrong)?;
    if server.ends_with('/') || topic.is_empty() || topic.contains(['?', '#']) {
        return Err(wrong());
    }
    Ok(NoticeAction::Ntfy { target: target("ntfy", server, ca_file)?, topic: topic.to_owned(), token_file })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NoticeRule, String> {
        parse_rule(&text.parse::<toml::Table>().unwrap())
    }

    #[test]
    fn a_rule_has_one_condition_and_some_actions() {
        let rule = parse(
            "name = 'n'\ntasks = 'nightly*'\nlabels = ['branch=main', 'os=']\nstatus = ['failed', 'completed']\n\
             webhook = 'http://h:1/hook/?key=1'\nsecret_file = '/s'\nntfy = 'http://h:2/base/builds'\ncommand = ['a', 'b c']",
        )
        .unwrap();
        assert_eq!(rule.labels, [("branch".to_owned(), "main".to_owned()), ("os".to_owned(), String::new())]);
        assert_eq!(rule.actions.iter().map(NoticeAction::kind).collect::<Vec<_>>(), ["webhook", "ntfy", "command"]);
        let NoticeAction::Webhook { target, .. } = &rule.actions[0] else { panic!("{rule:?}") };
        assert_eq!((target.endpoint.authority(), target.path.as_str()), ("h:1".to_owned(), "/hook/?key=1"));
        let NoticeAction::Ntfy { target, topic, .. } = &rule.actions[1] else { panic!("{rule:?}") };
        assert_eq!((target.path.as_str(), topic.as_str()), ("/base", "builds"));
        assert_eq!(parse("name='n'\nslower=2\ncommand='x'").unwrap().trigger, NoticeTrigger::Slower(2.0));
        let silence = parse("name='n'\nsilence='10m'\ncommand='x'").unwrap().trigger;
        assert_eq!(silence, NoticeTrigger::Silence(Duration::from_secs(600)));
    }

    #[test]
    fn faults_name_the_key_and_the_remedy() {
        for (text, wanted) in [
            ("status='failed'", "`name` is missing"),
            ("name='n'\nstatsu='failed'", "did you mean `status`?"),
            ("name='n'\nx=1", "use name, tasks"),
            ("name='n'\ncommand='x'", "no condition"),
            ("name='n'\nstatus='failed'\nslower=2\ncommand='x'", "several conditions"),
            ("name='n'\nstatus='running'\ncommand='x'", "use completed, failed, aborted or lost"),
            ("name='n'\nstatus='failed'", "no action"),
            ("name='n'\npattern='('\ncommand='x'", "`pattern`: regex parse error"),
            ("name='n'\nsilence='soon'\ncommand='x'", "`silence`: `soon` is not a duration"),
            ("name='n'\nsilence='10ms'\ncommand='x'", "at least 1s"),
            ("name='n'\nslower=1\ncommand='x'", "above 1"),
            ("name='n'\nstatus='failed'\nwebhook='http://h'", "needs a `secret_file`"),
            ("name='n'\nstatus='failed'\nwebhook='h'\nsecret_file='s'", "`webhook`: `h` is not a server address"),
            ("name='n'\nstatus='failed'\nntfy='http://h'", "must be the URL of a topic"),
            ("name='n'\nstatus='failed'\ntoken_file='t'\ncommand='x'", "`token_file` needs `ntfy`"),
            ("name='n'\nstatus='failed'\nlabels='x'\ncommand='x'", "`labels`: `x` is not a label"),
            ("name='n'\nstatus='failed'\ncommand=[]", "`command` must be a text or a list"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
