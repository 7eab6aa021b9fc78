//! The arguments of the tools: one table for the schema that clients see and for the check of what they send.

use anyhow::{anyhow, bail};
use rmcp::model::JsonObject;
use serde_json::{Value, json};

/// Minimum similarity of a name that is suggested, as for clap's own suggestions.
const SIMILARITY_MIN: f64 = 0.7;
/// Maximum characters of a text that is repeated in an error.
const ECHO_CHARS_MAX: usize = 60;

/// The values that a field accepts.
#[derive(Clone, Debug)]
pub(super) enum ToolFieldKind {
    /// A text of at most this many characters.
    Text(usize),
    /// Up to this many texts.
    Texts(usize),
    /// A whole number in this range.
    Number(u64, u64),
    /// True or false.
    Flag,
    /// One of these words.
    Word(Vec<&'static str>),
}

/// An argument of a tool.
#[derive(Clone, Debug)]
pub(super) struct ToolField {
    pub(super) name: &'static str,
    pub(super) kind: ToolFieldKind,
    pub(super) help: &'static str,
    pub(super) required: bool,
}

impl ToolFieldKind {
    /// Returns what is accepted, for an error.
    fn expected(&self) -> String {
        match self {
            ToolFieldKind::Text(chars) => format!("a text of 1 to {chars} characters"),
            ToolFieldKind::Texts(count) => format!("a list of at most {count} texts"),
            ToolFieldKind::Number(least, most) => format!("a whole number from {least} to {most}"),
            ToolFieldKind::Flag => "true or false".to_owned(),
            ToolFieldKind::Word(words) => format!("one of {}", words.join(", ")),
        }
    }

    fn accepts(&self, value: &Value) -> bool {
        match self {
            ToolFieldKind::Text(chars) => is_text(value, *chars),
            ToolFieldKind::Texts(count) => value
                .as_array()
                .is_some_and(|texts| texts.len() <= *count && texts.iter().all(|text| is_text(text, 256))),
            ToolFieldKind::Number(least, most) => {
                value.as_u64().is_some_and(|number| (*least..=*most).contains(&number))
            }
            ToolFieldKind::Flag => value.is_boolean(),
            ToolFieldKind::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        }
    }

    fn schema(&self) -> Value {
        match self {
            ToolFieldKind::Text(chars) => json!({ "type": "string", "minLength": 1, "maxLength": chars }),
            ToolFieldKind::Texts(count) => {
                json!({ "type": "array", "maxItems": count, "items": { "type": "string", "minLength": 1, "maxLength": 256 } })
            }
            ToolFieldKind::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            ToolFieldKind::Flag => json!({ "type": "boolean" }),
            ToolFieldKind::Word(words) => json!({ "type": "string", "enum": words }),
        }
    }
}

fn is_text(value: &Value, chars_max: usize) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= chars_max)
}

/// Returns the JSON Schema of the arguments.
pub(super) fn schema(fields: &[ToolField]) -> JsonObject {
    let mut properties = JsonObject::new();
    for field in fields {
        let mut property = field.kind.schema();
        property["description"] = field.help.into();
        properties.insert(field.name.to_owned(), property);
    }
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties.into());
    schema.insert("required".to_owned(), required.into());
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}

/// Arguments that fit the fields of a tool.
#[derive(Debug)]
pub(super) struct ToolArguments(JsonObject);

impl ToolArguments {
    /// Checks the arguments of a call. `null` is the same as no value.
    ///
    /// # Errors
    /// An argument is unknown, missing or of another form; the message names it and what is accepted.
    pub(super) fn check(tool: &str, fields: &[ToolField], mut values: JsonObject) -> anyhow::Result<Self> {
        values.retain(|_, value| !value.is_null());
        for (name, value) in &values {
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                bail!(unknown(tool, fields, name));
            };
            if !field.kind.accepts(value) {
                bail!("`{name}` must be {}, but is {}", field.kind.expected(), echo(&value.to_string()));
            }
        }
        match fields.iter().find(|field| field.required && !values.contains_key(field.name)) {
            Some(field) => bail!("`{}` is missing: {}", field.name, field.help),
            None => Ok(Self(values)),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Returns an argument that another parser reads.
    ///
    /// # Errors
    /// The parser rejects it; the message names the argument.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> anyhow::Result<Option<T>> {
        self.text(name).map(|text| parse(text).map_err(|error| invalid(name, &error))).transpose()
    }
}

/// Returns the error of an argument that another parser rejects.
pub(super) fn invalid(name: &str, error: &impl std::fmt::Display) -> anyhow::Error {
    anyhow!("`{name}`: {error}")
}

fn unknown(tool: &str, fields: &[ToolField], name: &str) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    let similarity = |known: &&str| (strsim::jaro_winkler(name, known), (*known).to_owned());
    let most = names.iter().map(similarity).max_by(|one, other| one.0.total_cmp(&other.0));
    let remedy = match most.filter(|(similarity, _)| *similarity >= SIMILARITY_MIN) {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        None => format!("use {}", names.join(", ")),
    };
    format!("`{}` is no argument of {tool}; {remedy}", echo(name))
}

/// Returns the start of what was sent, for an error.
fn echo(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<ToolField> {
        let field = |name, kind, required| ToolField { name, kind, help: "Help.", required };
        vec![
            field("task", ToolFieldKind::Text(5), true),
            field("limit", ToolFieldKind::Number(1, 10), false),
            field("labels", ToolFieldKind::Texts(2), false),
            field("deep", ToolFieldKind::Flag, false),
            field("status", ToolFieldKind::Word(vec!["a", "b"]), false),
        ]
    }

    fn check(values: Value) -> Result<ToolArguments, String> {
        let Value::Object(values) = values else { panic!("an object") };
        ToolArguments::check("t", &fields(), values).map_err(|error| error.to_string())
    }

    #[test]
    fn errors_name_the_argument_and_what_is_accepted() {
        let error = |values: Value| check(values).unwrap_err();
        assert_eq!(error(json!({})), "`task` is missing: Help.");
        assert_eq!(error(json!({ "task": "t", "limt": 3 })), "`limt` is no argument of t; did you mean `limit`?");
        assert_eq!(
            error(json!({ "task": "t", "x": 3 })),
            "`x` is no argument of t; use task, limit, labels, deep, status"
        );
        assert_eq!(
            error(json!({ "task": "t", "limit": "3" })),
            "`limit` must be a whole number from 1 to 10, but is \"3\""
        );
        assert_eq!(
            error(json!({ "task": "t", "limit": 11 })),
            "`limit` must be a whole number from 1 to 10, but is 11"
        );
        assert_eq!(
            error(json!({ "task": "t", "limit": 1.5 })),
            "`limit` must be a whole number from 1 to 10, but is 1.5"
        );
        assert_eq!(error(json!({ "task": "" })), "`task` must be a text of 1 to 5 characters, but is \"\"");
        assert_eq!(error(json!({ "task": "t", "status": "c" })), "`status` must be one of a, b, but is \"c\"");
        assert!(error(json!({ "task": "x".repeat(1_000) })).ends_with("xxx…"));
        assert!(error(json!({ "task": "t", "labels": ["a", "b", "c"] })).contains("at most 2"));
        assert!(error(json!({ "task": "t", "labels": "a" })).contains("a list of at most 2 texts"));
    }

    #[test]
    fn null_is_no_value() {
        let arguments = check(json!({ "task": "t", "limit": null, "deep": true, "labels": ["k=v"] })).unwrap();
        assert_eq!(
            (arguments.text("task"), arguments.number("limit"), arguments.flag("deep")),
            (Some("t"), None, true)
        );
        assert_eq!(arguments.texts("labels"), ["k=v"]);
        assert!(check(json!({ "task": null })).is_err());
    }
}
