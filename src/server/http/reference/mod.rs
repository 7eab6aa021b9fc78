//! The reference for programs: `GET /api/v1/openapi.json`, and `GET /api/v1/schemas/NAME.json` for every object and every
//! message of the sockets and of SSE.
//!
//! The documents are files beside this one. `tests/server/openapi.rs` compares them with the routes and with real
//! messages, and validates them.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use warp::reply::Response;

use super::conditional;
use super::error::ApiError;
use super::route_request::RouteRequest;

macro_rules! schemas {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("schemas/", $name, ".json")))),*]
    };
}

/// The JSON Schemas by name. They refer to each other by file name.
const SCHEMAS: &[(&str, &str)] = schemas![
    "access",
    "append-line",
    "appended-events",
    "appended-lines",
    "artifact",
    "attempt",
    "difference",
    "difference-line",
    "event",
    "events-page",
    "explanation",
    "follow-message",
    "follow-request",
    "gap",
    "health",
    "integrity",
    "line",
    "lines-page",
    "outline",
    "partial-line",
    "pipeline",
    "presented-share",
    "problem",
    "readiness",
    "run",
    "run-id",
    "run-list",
    "run-stream-event",
    "run-summary",
    "server-reply",
    "share",
    "share-options",
    "task",
    "task-end",
    "task-events",
    "task-id",
    "task-list",
    "task-stream-event",
    "viewer-message",
    "worker-message",
];

/// The operations of the OpenAPI document by path.
const PATHS: &[&str] = &[
    include_str!("paths/analysis.json"),
    include_str!("paths/pages.json"),
    include_str!("paths/runs.json"),
    include_str!("paths/server.json"),
    include_str!("paths/sockets.json"),
    include_str!("paths/tasks.json"),
];

const DESCRIPTION: &str = "Live logs of tasks, and events of runs. The guide's page `reference` explains the protocols. \
    The schemas are also at `/api/v1/schemas/NAME.json`, where NAME is the schema's name in lower case with hyphens.";

/// `GET /api/v1/openapi.json`.
pub(super) async fn openapi(request: RouteRequest) -> Result<Response, ApiError> {
    let mut document = document().clone();
    // Relative to the host: a client never sends its token to another one.
    document["servers"] =
        json!([{ "url": if request.state.prefix().is_empty() { "/" } else { request.state.prefix() } }]);
    Ok(conditional::respond(&request.headers, "application/json", document.to_string().into()))
}

/// `GET /api/v1/schemas/{name}`.
pub(super) async fn schema(request: RouteRequest) -> Result<Response, ApiError> {
    let name = request.path_id.strip_suffix(".json");
    let found = name.and_then(|name| SCHEMAS.iter().find(|(known, _)| *known == name));
    let (_, text) = found.ok_or_else(|| ApiError::new(404, "not_found", "no such schema: see /api/v1/openapi.json"))?;
    Ok(conditional::respond(&request.headers, "application/schema+json", (*text).into()))
}

/// Returns the OpenAPI document without its servers.
fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut schemas = Map::new();
        for (_, text) in SCHEMAS {
            let mut schema = parse(text);
            if let Some(members) = schema.as_object_mut() {
                members.remove("$schema");
            }
            schemas.insert(schema["title"].as_str().unwrap_or_default().to_owned(), schema);
        }
        let mut paths = Map::new();
        for text in PATHS {
            if let Value::Object(members) = parse(text) {
                paths.extend(members);
            }
        }
        let mut components = parse(include_str!("components.json"));
        components["schemas"] = schemas.into();
        components["securitySchemes"] = json!({
            "bearer": { "type": "http", "scheme": "bearer" },
            "token": { "type": "apiKey", "in": "header", "name": "token" },
            "share": { "type": "apiKey", "in": "header", "name": "tasktail-share" },
        });
        let mut document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "tasktail",
                "version": env!("CARGO_PKG_VERSION"),
                "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
                "description": DESCRIPTION,
            },
            // A store without tokens requires none.
            "security": [{}, { "bearer": [] }, { "token": [] }, { "share": [] }],
            "paths": paths,
            "components": components,
        });
        refer_to_components(&mut document);
        document
    })
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::error!(%error, "a part of the OpenAPI document is invalid");
        Value::Null
    })
}

/// Replaces references to files by references to components.
fn refer_to_components(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let file = member.as_str().filter(|_| name == "$ref").and_then(|file| file.strip_suffix(".json"));
                let title = file.and_then(|file| SCHEMAS.iter().find(|(known, _)| *known == file));
                match title.map(|(_, text)| parse(text)["title"].clone()) {
                    Some(Value::String(title)) => *member = format!("#/components/schemas/{title}").into(),
                    _ => refer_to_components(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(refer_to_components),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_has_a_target() {
        fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(document(), &mut found);
        assert!(found.len() > 100, "only {} references", found.len());
        for reference in found {
            let target = reference.strip_prefix('#').and_then(|pointer| document().pointer(pointer));
            assert!(target.is_some(), "{reference}");
        }
    }
}
