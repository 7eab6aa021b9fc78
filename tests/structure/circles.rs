//! Tests that modules of one folder do not import each other in a circle, except where that is inherent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::layers::rust_files;

/// The folders that contain one circle each. The documentation of the folder's `mod.rs` gives the reason.
const ALLOWED: [&str; 4] = ["journal", "server", "server::redis", "tasks"];

type ModulePath = Vec<String>;
type Imports = BTreeMap<ModulePath, BTreeSet<ModulePath>>;

/// Returns the path of a file's module; `None` for files that contain only tests.
fn module_of(file: &Path) -> Option<ModulePath> {
    let mut path: ModulePath =
        file.with_extension("").components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if path.iter().any(|part| part == "tests" || part.ends_with("_tests")) {
        return None;
    }
    if path.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        path.pop();
    }
    Some(path)
}

/// Returns the source without comments and without the tests at its end.
fn code_of(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

/// Returns every path of a `use` tree: `a::{b, c::d}` has `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.strip_suffix('}').and_then(|open| open.split_once('{')) else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(expand).map(|path| format!("{}{path}", prefix.trim())).collect()
}

/// Returns the paths that the code names: imports, and paths in expressions that begin at the crate or a parent.
fn named_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for part in code.split("use ").skip(1) {
        paths.extend(expand(part.split(';').next().unwrap_or_default()));
    }
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let end = code[at..].find(|c| !is_path(c)).map_or(code.len(), |length| at + length);
            paths.push(code[at..end].to_owned());
        }
    }
    paths
}

/// Returns the module that a path leads to; the rest of the path names something inside it.
fn resolve(path: &str, from: &ModulePath, modules: &BTreeSet<ModulePath>) -> Option<ModulePath> {
    let mut parts = path.split("::").map(str::trim).filter(|part| !part.is_empty()).peekable();
    let mut base = match *parts.peek()? {
        "crate" => {
            parts.next();
            ModulePath::new()
        }
        _ => from.clone(),
    };
    while let Some(part) = parts.next_if(|part| ["super", "self"].contains(part)) {
        if part == "super" {
            base.pop();
        }
    }
    base.extend(parts.map(str::to_owned));
    while !base.is_empty() && !modules.contains(&base) {
        base.pop();
    }
    (!base.is_empty() && !from.starts_with(&base)).then_some(base)
}

fn imports_of_source() -> Imports {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let sources: BTreeMap<ModulePath, String> = files
        .iter()
        .filter_map(|file| {
            let module = module_of(file.strip_prefix(&src).expect("in src"))?;
            Some((module, code_of(&fs::read_to_string(file).expect("a source file"))))
        })
        .collect();
    let modules: BTreeSet<ModulePath> = sources.keys().cloned().collect();
    let resolved = |from: &ModulePath, code: &str| {
        named_paths(code).iter().filter_map(|path| resolve(path, from, &modules)).collect()
    };
    sources.iter().map(|(module, code)| (module.clone(), resolved(module, code))).collect()
}

/// Returns the imports between the members of a folder.
fn arrows(folder: &ModulePath, imports: &Imports) -> BTreeMap<String, BTreeSet<String>> {
    let member =
        |path: &ModulePath| (path.len() > folder.len() && path.starts_with(folder)).then(|| path[folder.len()].clone());
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, targets) in imports {
        let Some(from) = member(from) else { continue };
        let targets = targets.iter().filter_map(member).filter(|to| *to != from);
        arrows.entry(from.clone()).or_default().extend(targets);
    }
    arrows
}

/// Returns the members that can be reached from themselves.
fn in_circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let reachable = |start: &String| {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(member) = open.pop() {
            open.extend(arrows.get(member).into_iter().flatten().filter(|to| reached.insert((*to).clone())));
        }
        reached
    };
    arrows.keys().filter(|member| reachable(member).contains(*member)).cloned().collect()
}

#[test]
fn modules_of_a_folder_import_each_other_in_one_direction() {
    let imports = imports_of_source();
    let folders: BTreeSet<ModulePath> =
        imports.keys().flat_map(|module| (0..module.len()).map(|end| module[..end].to_vec())).collect();
    let mut wrong = Vec::new();
    let mut found = BTreeSet::new();
    for folder in &folders {
        let members = in_circles(&arrows(folder, &imports));
        let name = folder.join("::");
        if members.is_empty() {
            continue;
        }
        if !ALLOWED.contains(&name.as_str()) {
            wrong.push(format!("the modules {members:?} of `{name}` import each other in a circle"));
        }
        found.insert(name);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(found.len(), ALLOWED.len(), "remove folders without a circle from ALLOWED: {found:?}");
}
