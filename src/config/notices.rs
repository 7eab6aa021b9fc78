//! The rules of notices in the settings file: tables with the header `[[notify]]`.

use std::collections::HashSet;

use super::file::SettingsFile;
use super::names::NOTICE_TABLES;
use super::{ConfigError, SettingSource};
use crate::notices::{NoticeRule, parse_rule};

impl SettingsFile {
    /// Returns each rule, or its fault.
    pub(super) fn rules(&self) -> Vec<Result<NoticeRule, ConfigError>> {
        let tables = match self.value(NOTICE_TABLES) {
            None => return Vec::new(),
            Some(toml::Value::Array(tables)) => tables,
            Some(_) => {
                let why = "it is not a list of rules: write [[notify]] before each rule".to_owned();
                return vec![Err(ConfigError::Value { at: self.place_of_rule(0), why })];
            }
        };
        let mut names = HashSet::new();
        let rule = |(at, value): (usize, &toml::Value)| {
            let rule = match value {
                toml::Value::Table(table) => parse_rule(table),
                _ => Err("it is not a rule: write [[notify]] before each rule".to_owned()),
            };
            let rule = rule.and_then(|rule| {
                let is_new = names.insert(rule.name.clone());
                let repeated = || format!("`name`: another rule is called `{}`; give each its own", rule.name);
                is_new.then_some(rule.clone()).ok_or_else(repeated)
            });
            let name = value.get("name").and_then(toml::Value::as_str).map(|name| format!("rule `{name}`: "));
            let name = name.unwrap_or_default();
            rule.map_err(|why| ConfigError::Value { at: self.place_of_rule(at), why: format!("{name}{why}") })
        };
        tables.iter().enumerate().map(rule).collect()
    }

    /// Returns the place of a rule, by its position among all rules.
    pub(super) fn place_of_rule(&self, at: usize) -> SettingSource {
        let is_header = |line: &str| line.trim_start().starts_with("[[") && line.contains(NOTICE_TABLES);
        let headers = self.text().lines().enumerate().filter(|(_, line)| is_header(line));
        let line = headers.map(|(number, _)| number + 1).nth(at);
        let line = line.unwrap_or_else(|| self.line_of(NOTICE_TABLES));
        SettingSource::File(self.path().to_owned(), line, NOTICE_TABLES.to_owned())
    }
}
