//! Holds what ARCHITECTURE.md says: layers, absences, headers, lengths. Plain text search; each rule is also shown a
//! violation, so that it is known to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reboot_manager::fleetlock::Kind;

use crate::repository::{files, read};

/// Files of other modules that keep to what holds below the line in ARCHITECTURE.md.
const PURE_FILES: &[&str] =
    &["certificate/renewal.rs", "http/head.rs", "http/places.rs", "http/turns.rs", "kube/client/retry.rs", "system/backoff.rs"];

/// Names that a pure module must not contain.
const IMPURE: &[&str] =
    &["std::net", "std::fs", "std::thread", "std::process", "std::env", "Mutex", "RwLock", "log::", "::now()", "println!"];

/// The wings of kube, each of which may import only from itself and those after it.
const KUBE_WINGS: &[&str] = &["api", "client", "config", "transport"];

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 60;
const MAP_LINES_MAX: usize = 155;

/// A small map, to break.
const MAP: &str = "\n## Layers\n\n```text\nmain  wiring → http\nhttp  ports → lock\n─── below: pure\nlock  slots\n```\n";

/// Module names that say nothing.
const DRAWERS: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "manager"];

/// A module as ARCHITECTURE.md has it.
struct Layer {
    name: String,
    imports: Vec<String>,
    /// No I/O, no clock, no thread, no log.
    pure: bool,
}

struct Source {
    /// Below src/, as `reboot/mod.rs`.
    path: String,
    /// All of it.
    text: String,
    /// Without its tests.
    program: String,
}

/// The block under "Layers" of a map: a line for each module, `name  what it is for → what it imports`, those above the rule first.
fn layers(map: &str) -> Vec<Layer> {
    let (_, section) = map.split_once("\n## Layers\n").unwrap();
    let block = section.split("```").nth(1).unwrap();
    let (above, below) = block.split_once("───").unwrap();
    let layer = |line: &str, pure| {
        let (text, imports) = line.split_once(" → ").unwrap_or((line, ""));
        let imports = imports.split(", ").filter(|import| !import.is_empty()).map(str::to_owned).collect();
        Layer { name: text.split_whitespace().next().unwrap_or_default().to_owned(), imports, pure }
    };
    let above = above.lines().skip(1).map(|line| layer(line, false));
    above.chain(below.lines().skip(1).map(|line| layer(line, true))).filter(|layer| !layer.name.is_empty()).collect()
}

fn map() -> String {
    read("ARCHITECTURE.md")
}

fn sources() -> Vec<Source> {
    files("src/", ".rs").iter().map(|file| source(file.trim_start_matches("src/"), read(file))).collect()
}

fn source(path: &str, text: String) -> Source {
    let tests = path.ends_with("tests.rs") || path.ends_with("testing.rs") || path.contains("/tests/");
    let program = if tests { String::new() } else { text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned() };
    Source { path: path.to_owned(), text, program }
}

fn module(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// The lines without comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Lists the differences between the layers and the sources: each module has a line; it imports all that its line names, and nothing else;
/// and all that it imports is below it.
fn layer_faults(layers: &[Layer], sources: &[Source]) -> Vec<String> {
    let mut modules: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.path != "lib.rs") {
        modules.entry(module(&source.path)).or_default().extend(imports(source));
    }
    let in_no_layer = modules.keys().filter(|name| layers.iter().all(|layer| layer.name != **name));
    let mut faults: Vec<String> = in_no_layer.map(|name| format!("{name} is in no layer")).collect();
    for (at, layer) in layers.iter().enumerate() {
        let name = &layer.name;
        let Some(mut used) = modules.remove(name.as_str()) else {
            faults.push(format!("there is no module {name}"));
            continue;
        };
        used.remove(name);
        for import in &layer.imports {
            if !used.remove(import) {
                faults.push(format!("{name} does not import {import}, or its line names it twice"));
            }
            if layers[at..].iter().skip(1).all(|below| below.name != *import) {
                faults.push(format!("{import} is not below {name}"));
            }
        }
        faults.extend(used.iter().map(|import| format!("{name} must not import crate::{import}")));
    }
    faults
}

/// Every rule that looks at one file, as sentences about what is wrong with it.
fn faults(layers: &[Layer], source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |text: String| faults.push(format!("src/{}: {text}", source.path));
    let name = module(&source.path);
    if !source.text.starts_with("//!") && !source.text.starts_with("#![doc") {
        fault("has no //! header".to_owned());
    }
    let lines = source.program.lines().count();
    if lines > FILE_LINES_MAX {
        fault(format!("has {lines} lines of program; {FILE_LINES_MAX} is the limit"));
    }
    for (function, length) in functions(&source.program) {
        if length > FUNCTION_LINES_MAX {
            fault(format!("{function} has {length} lines; {FUNCTION_LINES_MAX} is the limit"));
        }
    }
    if DRAWERS.iter().any(|drawer| Path::new(&source.path).file_stem().is_some_and(|stem| stem == *drawer)) {
        fault("is named after nothing".to_owned());
    }
    let code = code(&source.program);
    if name == "system" && code.lines().any(|line| line.contains("crate::") && !line.ends_with("use crate::reboot::Now;")) {
        fault("takes more than the time type from the rules".to_owned());
    }
    wing_faults(&source.path, &source.program).into_iter().for_each(&mut fault);
    let pure = layers.iter().any(|layer| layer.name == name && layer.pure) || PURE_FILES.contains(&source.path.as_str());
    for line in code.lines() {
        for word in IMPURE.iter().filter(|word| pure && line.contains(**word)) {
            fault(format!("a pure module names {word}"));
        }
        if line.contains("Reply::ok") || (line.contains("Self::ok(") && source.path != "reboot/outcome.rs") {
            fault("makes a 200".to_owned());
        }
        if line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "200")
            && !["fleetlock/reply.rs", "http/ops.rs"].contains(&source.path.as_str())
            && !source.path.starts_with("kube/")
        {
            fault("names the number 200".to_owned());
        }
    }
    faults
}

/// The modules named in `crate::…`; the binary says `reboot_manager::…`.
fn imports(source: &Source) -> BTreeSet<String> {
    names_after(&code(&source.program), if source.path == "main.rs" { "reboot_manager::" } else { "crate::" })
}

/// The name that follows each `prefix`, or the first names of the paths in the braces that follow.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for rest in code.split(prefix).skip(1) {
        let (mut depth, mut path_begins) = (0, true);
        for (at, c) in rest.char_indices() {
            if path_begins && is_name(c) {
                found.extend(rest[at..].split(|c| !is_name(c)).next().map(str::to_owned));
                path_begins = false;
            }
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => path_begins = true,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// Imports within kube that run against the order of its wings, or past it.
fn wing_faults(path: &str, program: &str) -> Vec<String> {
    let Some(below) = path.strip_prefix("kube/").filter(|below| !["mod.rs", "testing.rs"].contains(below)) else { return Vec::new() };
    let wing = module(below);
    let Some(at) = KUBE_WINGS.iter().position(|known| *known == wing) else { return vec![format!("kube::{wing} is no wing of kube")] };
    let program = code(program);
    let names = names_after(&program, "kube::").into_iter().filter(|to| !KUBE_WINGS[at..].contains(&to.as_str()));
    let mut faults: Vec<String> = names.map(|to| format!("kube::{wing} must not import kube::{to}")).collect();
    let is_face = below.strip_prefix(wing) == Some("/mod.rs");
    if program.contains("super::super::") || is_face && program.contains("super::") {
        faults.push("leaves its wing by super".to_owned());
    }
    faults
}

/// The files of one wing of kube that import each other in a circle, or only wait on those that do.
fn circle(sources: &[Source], wing: &str) -> Vec<String> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(file) = source.path.strip_prefix("kube/").and_then(|path| path.strip_prefix(wing)?.strip_prefix('/')) else { continue };
        let (code, name) = (code(&source.program), module(file));
        let siblings = if file.contains('/') { BTreeSet::new() } else { names_after(&code, "super::") };
        let others = siblings.into_iter().chain(names_after(&code, &format!("kube::{wing}::"))).filter(|to| to != name);
        imports.entry(name.to_owned()).or_default().extend(others);
    }
    imports.remove("mod");
    loop {
        let files: Vec<String> = imports.keys().cloned().collect();
        imports.retain(|_, to| to.iter().any(|to| files.contains(to)));
        if imports.len() == files.len() {
            return files;
        }
    }
}

/// Name and length of each function, by its indentation.
fn functions(program: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = program.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some(at) = code.find("fn ") else { continue };
        let words = ["", "pub ", "pub(super) ", "pub(crate) ", "const ", "pub const "];
        if !words.contains(&&code[..at]) || code.starts_with("//") {
            continue;
        }
        let indent = " ".repeat(line.len() - code.len());
        let end = lines[start..].iter().position(|line| *line == format!("{indent}}}")).unwrap_or(0);
        found.push((code[at..].split(['(', '<']).next().unwrap_or_default().to_owned(), end + 1));
    }
    found
}

#[test]
fn the_sources_are_as_the_architecture_says() {
    let (layers, sources) = (layers(&map()), sources());
    let mut faults: Vec<String> = sources.iter().flat_map(|source| faults(&layers, source)).collect();
    faults.extend(layer_faults(&layers, &sources));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_rule_fails_when_it_is_broken() {
    let long_file = format!("//! x\n{}", "x\n".repeat(FILE_LINES_MAX));
    let long_function = format!("//! x\nfn f() {{\n{}}}\n", "    x;\n".repeat(FUNCTION_LINES_MAX));
    let cases = [
        ("lock/x.rs", "use std::fs;\n", "header"),
        ("lock/x.rs", "//! x\nuse std::fs;\n", "names std::fs"),
        ("lock/x.rs", "//! x\nfn f() { Instant::now() }\n", "names ::now()"),
        ("certificate/renewal.rs", "//! x\nfn f() { Timestamp::now() }\n", "names ::now()"),
        ("http/head.rs", "//! x\nuse std::net::TcpStream;\n", "names std::net"),
        ("system/x.rs", "//! x\nuse crate::reboot::{Now, Step};\n", "more than the time type"),
        ("http/x.rs", "//! x\nfn f() { Reply::ok(k, v) }\n", "makes a 200"),
        ("http/x.rs", "//! x\nfn f() { status(200) }\n", "number 200"),
        ("http/utils.rs", "//! x\n", "named after nothing"),
        ("kube/transport/x.rs", "//! x\nuse crate::kube::config::Location;\n", "kube::transport must not import kube::config"),
        ("kube/config/kubeconfig/x.rs", "//! x\nuse crate::kube::client::error_chain;\n", "kube::config must not import kube::client"),
        ("kube/client/x.rs", "//! x\nuse crate::kube::Kube;\n", "kube::client must not import kube::Kube"),
        ("kube/client/x.rs", "//! x\nuse crate::kube::{api, config};\n", "kube::client must not import kube::"),
        ("kube/client/x.rs", "//! x\nuse super::super::api::Kube;\n", "leaves its wing"),
        ("kube/client/mod.rs", "//! x\npub use super::api::Kube;\n", "leaves its wing"),
        ("kube/x.rs", "//! x\n", "is no wing of kube"),
        ("http/x.rs", &long_file, "lines of program"),
        ("http/x.rs", &long_function, "fn f has"),
    ];
    for (path, text, says) in cases {
        let faults = faults(&layers(MAP), &source(path, text.to_owned())).join("\n");
        assert!(faults.contains(says), "{path} {says}: {faults:?}");
    }
    assert!(faults(&layers(MAP), &source("lock/x.rs", "//! x\nuse crate::cluster::Uid;\n".to_owned())).is_empty());
    assert!(faults(&layers(MAP), &source("kube/api/x.rs", "//! x\nuse crate::kube::transport::Limits;\n".to_owned())).is_empty());
}

#[test]
fn no_files_of_a_wing_of_kube_import_each_other_in_a_circle() {
    let sources = sources();
    for wing in KUBE_WINGS {
        assert_eq!(circle(&sources, wing), [""; 0], "kube/{wing}");
    }
    let file = |path: &str, text: &str| source(path, text.to_owned());
    let broken = [
        file("kube/config/a.rs", "use super::b::B;\n"),
        file("kube/config/b.rs", "use super::c::C;\n"),
        file("kube/config/c/inner.rs", "use crate::kube::config::a::A;\n"),
        file("kube/config/d.rs", "use super::e::E;\n"),
        file("kube/config/e.rs", "use std::fmt;\n"),
    ];
    assert_eq!(circle(&broken, "config"), ["a", "b", "c"]);
}

#[test]
fn a_difference_between_the_layers_and_the_sources_is_a_fault() {
    let sound = [("main.rs", "use reboot_manager::http;"), ("http/mod.rs", ""), ("http/x.rs", "use crate::lock::Slot;"), ("lock.rs", "")];
    let found = |map: &str, changed: &[(&str, &str)]| {
        let files = sound.iter().chain(changed).map(|(path, text)| source(path, (*text).to_owned()));
        layer_faults(&layers(map), &files.collect::<Vec<_>>())
    };
    assert_eq!(found(MAP, &[]), Vec::<String>::new());
    let sources = [
        ("lock/x.rs", "use crate::http::Door;", "lock must not import crate::http"),
        ("lock/x.rs", "use crate::{\n    a::{B, C},\n    http::Door,\n};", "lock must not import crate::http"),
        ("lock/x.rs", "fn f() { crate::http::open() }", "lock must not import crate::http"),
        ("main.rs", "use reboot_manager::{http, lock};", "main must not import crate::lock"),
        ("new/x.rs", "", "new is in no layer"),
    ];
    for (path, text, says) in sources {
        let faults = found(MAP, &[(path, text)]);
        assert!(faults.iter().any(|fault| fault == says), "{says}: {faults:?}");
    }
    let maps = [
        ("slots\n", "slots → cluster\n", "lock does not import cluster, or its line names it twice"),
        ("lock  slots\n", "lock  slots\ncluster  objects\n", "there is no module cluster"),
        ("lock  slots\n", "", "lock is in no layer"),
        ("slots\n", "slots → http\n", "http is not below lock"),
        ("→ lock", "→ lock, lock", "http does not import lock, or its line names it twice"),
        (" → lock", "", "http must not import crate::lock"),
    ];
    for (text, instead, says) in maps {
        let faults = found(&MAP.replace(text, instead), &[]);
        assert!(faults.iter().any(|fault| fault == says), "{says}: {faults:?}");
    }
}

#[test]
fn the_map_is_short() {
    assert!(map().lines().count() <= MAP_LINES_MAX);
}

#[test]
fn every_kind_is_in_the_protocol_document() {
    let document = read("docs/protocol.md");
    for kind in Kind::ALL {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{}` |", kind.name())));
        let row = row.unwrap_or_else(|| panic!("docs/protocol.md has no row for {}", kind.name()));
        assert!(row.contains(&format!("| {} |", kind.status())), "{row} must say {}", kind.status());
    }
}

#[test]
fn nothing_sends_a_delete_to_kubernetes() {
    for source in sources().iter().filter(|source| source.path.starts_with("kube/")) {
        assert!(!source.program.contains("Method::DELETE"), "src/{} sends a DELETE", source.path);
    }
    let manifest = read("kubernetes/deployment.yaml");
    assert!(!manifest.contains("delete") || manifest.contains("no right to delete pods"));
    assert!(!manifest.lines().any(|line| line.trim_start().starts_with("verbs:") && (line.contains('*') || line.contains("delete"))));
}
