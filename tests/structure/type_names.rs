//! Tests that a type's name is unique in the crate, so that it can be searched for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::layers::rust_files;

/// Names of associated types, which their traits define.
const ASSOCIATED: [&str; 8] = ["Credential", "Data", "Err", "Error", "Item", "Output", "Target", "Value"];

/// Names that several types share, with the reason.
const SHARED: [(&str, &str); 2] = [
    ("Acceptor", "two builds of one type: with TLS and without"),
    ("Server", "`server::Server` runs it; `testing::Server` is the same for doctests, and public"),
];

/// Returns the name of the type that a line of source defines, if it defines one.
fn defined_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub(") {
        Some(restricted) => restricted.split_once(") ")?.1,
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let name =
        ["struct ", "enum ", "trait ", "union ", "type "].iter().find_map(|keyword| line.strip_prefix(keyword))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    name.starts_with(|c: char| c.is_ascii_uppercase()).then_some(&name[..end])
}

#[test]
fn type_names_are_unique() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 40, "the source is found");
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let source = fs::read_to_string(&file).expect("a source file");
        for (index, line) in source.lines().enumerate() {
            if let Some(name) = defined_type(line) {
                let place = format!("{}:{}", file.strip_prefix(&src).expect("in src").display(), index + 1);
                places.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    let allowed = |name: &str| ASSOCIATED.contains(&name) || SHARED.iter().any(|(shared, _)| *shared == name);
    let shared: Vec<_> = places.iter().filter(|(name, places)| places.len() > 1 && !allowed(name)).collect();
    assert!(shared.is_empty(), "qualify these names: {shared:#?}");
}

#[test]
fn definitions_are_recognized() {
    assert_eq!(defined_type("    pub(in crate::server) struct Site<'a> {"), Some("Site"));
    assert_eq!(defined_type("type Started = Result<(), ()>;"), Some("Started"));
    assert_eq!(defined_type("pub enum Kind {"), Some("Kind"));
    assert_eq!(defined_type("let kind = Kind::Any;"), None);
}
