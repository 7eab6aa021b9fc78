//! Tests that a folder is a layer and that imports only point downward, as drawn in `src/lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// Layers that each layer may import. A layer may always import itself.
const ALLOWED_IMPORTS: [(&str, &[&str]); 24] = [
    ("model", &[]),
    ("transport", &[]),
    ("wire", &["model"]),
    ("store", &["model"]),
    ("journal", &["model", "store"]),
    ("archive", &["model", "store"]),
    ("events", &["model"]),
    ("analysis", &["model"]),
    ("guide", &[]),
    ("auth", &["model"]),
    ("home", &["model", "transport"]),
    ("tasks", &["model", "store", "journal", "archive", "home"]),
    ("runs", &["model", "home", "journal", "events", "tasks"]),
    ("notices", &["model", "analysis", "tasks", "client"]),
    ("server", &["model", "home", "transport", "wire", "events", "analysis", "tasks", "runs", "auth", "notices"]),
    ("client", &["model", "transport", "wire"]),
    ("worker", &["model", "wire", "client"]),
    ("dashboard", &["model", "events", "client"]),
    ("doctor", &["model", "wire", "events", "client"]),
    ("config", &["model", "home", "transport", "client", "server", "tasks", "notices"]),
    ("testing", &["model", "server", "tasks", "config"]),
    (
        "cli",
        &[
            "model",
            "home",
            "wire",
            "events",
            "analysis",
            "tasks",
            "auth",
            "server",
            "client",
            "worker",
            "dashboard",
            "doctor",
            "config",
        ],
    ),
    ("main.rs", &["cli"]),
    ("lib.rs", &[]),
];

/// Lists the Rust files of a folder, recursively.
pub(crate) fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Returns the layers named in `use crate::..` and `crate::..` paths; `crate::{a, b}` names several.
fn imports(source: &str) -> Vec<String> {
    let mut layers = Vec::new();
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let names = rest.strip_prefix('{').map_or(rest, |group| group);
            let first =
                |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
            if rest.starts_with('{') {
                layers.extend(names.split(',').map(first));
            } else {
                layers.push(first(names));
            }
        }
    }
    layers
}

#[test]
fn layers_import_only_lower_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 40, "the source is found");
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).expect("in src");
        let top = inside.components().next().expect("a name").as_os_str().to_str().expect("UTF-8");
        let layer = if inside.components().count() == 1 && !["main.rs", "lib.rs"].contains(&top) {
            top.trim_end_matches(".rs")
        } else {
            top
        };
        let Some((_, allowed)) = ALLOWED_IMPORTS.iter().find(|(name, _)| *name == layer) else {
            wrong.push(format!("{}: its folder is not a layer of the map", inside.display()));
            continue;
        };
        let source = fs::read_to_string(&file).expect("a source file");
        for import in imports(&source) {
            let known = ALLOWED_IMPORTS.iter().any(|(name, _)| *name == import);
            if known && import != layer && !allowed.contains(&import.as_str()) {
                wrong.push(format!("src/{} imports crate::{import}: {layer} may import {allowed:?}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Returns the paths `layer/file` that the documentation in `lib.rs` names.
fn named_paths(map: &str) -> Vec<String> {
    let docs = map.lines().filter_map(|line| line.strip_prefix("//!"));
    let words = docs.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '/'));
    let is_path = |word: &&str| {
        word.split_once('/').is_some_and(|(layer, _)| ALLOWED_IMPORTS.iter().any(|(name, _)| *name == layer))
    };
    words.filter(is_path).map(str::to_owned).collect()
}

#[test]
fn map_names_existing_files() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let paths = named_paths(&fs::read_to_string(src.join("lib.rs")).expect("lib.rs"));
    assert!(paths.len() > 20, "the walks are found: {paths:?}");
    for path in paths {
        let exists = src.join(&path).is_dir() || src.join(format!("{path}.rs")).is_file();
        assert!(exists, "src/lib.rs names {path}, which does not exist");
    }
}
