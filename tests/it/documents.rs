//! What the documents say of flags, metrics, rights, versions and dependencies, held against the program; and that what they
//! refer to is there. Their commands are run by `scenarios::document_commands`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::markdown::blocks;
use crate::repository::{files, read, root};
use crate::scenarios::document_commands::DOCUMENTS as WALKED;

/// The first words of a table's rows, if written as code: `| `--flag` | …`.
fn first_column(text: &str) -> BTreeSet<String> {
    let word = |line: &str| line.strip_prefix("| `").and_then(|rest| rest.split('`').next()).map(str::to_owned);
    text.lines().filter_map(word).collect()
}

#[test]
fn the_settings_have_every_flag_of_the_help_with_its_default_and_no_other() {
    let settings = read("docs/settings.md");
    let documented: BTreeSet<_> = first_column(&settings).into_iter().filter(|word| word.starts_with("--")).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_reboot-manager")).env_clear().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut flags = BTreeSet::new();
    for line in help.lines().map(str::trim_start) {
        if let (true, Some(flag)) = (line.starts_with('-'), line.split(' ').find(|word| word.starts_with("--"))) {
            flags.insert(flag.to_owned());
        }
        if let Some(default) = line.strip_prefix("[default: ").and_then(|rest| rest.strip_suffix(']')) {
            assert!(settings.contains(&format!("| `{default}` |")), "docs/settings.md does not have the default {default}");
        }
        if let Some(variable) = line.strip_prefix("[env: ").and_then(|rest| rest.strip_suffix(']')) {
            let flag = variable.trim_start_matches("REBOOT_MANAGER_").to_lowercase().replace('_', "-");
            assert!(flags.contains(&format!("--{flag}")), "{variable} is not named after its flag, as docs/settings.md says");
        }
    }
    assert!(flags.len() > 8, "{help}");
    assert_eq!(documented, flags);
}

#[test]
fn the_annotations_whose_addresses_count_are_listed() {
    let document = read("docs/security.md");
    for annotation in reboot_manager::cluster::ADDRESS_ANNOTATIONS {
        assert!(document.contains(&format!("`{annotation}`")), "docs/security.md does not list {annotation}");
    }
}

#[test]
fn the_metrics_have_every_metric_and_no_other() {
    let source = read("src/metrics.rs");
    let registered: BTreeSet<String> = source
        .lines()
        .filter(|line| line.contains("registry.register") || line.contains("added(&mut registry"))
        .filter_map(|line| {
            let name = line.split('"').nth(1)?;
            let seconds = if line.contains("Unit::Seconds") { "_seconds" } else { "" };
            Some(format!("reboot_manager_{name}{seconds}"))
        })
        .collect();
    assert!(registered.len() >= 8, "{registered:?}");
    let suffixes = ["_total", "_info"];
    let documented: BTreeSet<String> = first_column(&read("docs/metrics.md"))
        .into_iter()
        .filter(|word| word.starts_with("reboot_manager_"))
        .map(|word| suffixes.iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(&word).to_owned())
        .collect();
    assert_eq!(documented, registered);
}

#[test]
fn every_dependency_has_its_reason_above_it() {
    let manifest = read("Cargo.toml");
    let (mut in_dependencies, mut reason, mut count) = (false, false, 0);
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies && line.contains(" = ") {
            assert!(reason, "Cargo.toml does not say what this is for: {line}");
            count += 1;
        }
        reason = line.starts_with("# ");
    }
    assert!(count > 10, "{count} dependencies were found");
}

/// The rules of a manifest: each with the comment right above it, and its verbs.
fn rules(manifest: &str) -> Vec<(String, Vec<String>)> {
    let lines: Vec<&str> = manifest.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("  - apiGroups:")) {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("  #")).copied().collect::<Vec<_>>();
        let verbs = lines[at..].iter().find_map(|line| line.trim().strip_prefix("verbs: [")).unwrap_or_else(|| panic!("no verbs: {line}"));
        let verbs = verbs.trim_end_matches(']').split(", ").map(str::to_owned).collect();
        found.push((above.into_iter().rev().collect::<Vec<_>>().join(" "), verbs));
    }
    found
}

#[test]
fn each_rule_of_the_manifest_says_what_each_of_its_verbs_is_for() {
    let rules = rules(&read("kubernetes/deployment.yaml"));
    assert!(rules.len() >= 12, "{rules:?}");
    for (comment, verbs) in rules {
        for verb in verbs {
            assert!(comment.contains(&format!(" {verb}: ")), "the comment {comment:?} does not say what {verb} is for");
        }
    }
}

/// Lists the files to which links of a document lead, as `docs/tls.md`.
fn targets(path: &str) -> Vec<PathBuf> {
    let folder = Path::new(path).parent().unwrap();
    let text = read(path);
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(|link| link.split('#').next().unwrap());
    links.filter(|link| !link.is_empty() && !link.contains("://")).map(|link| folder.join(link)).collect()
}

#[test]
fn every_link_and_every_file_that_is_named_is_there() {
    let root = root();
    for document in files("", ".md") {
        let named = read(&document);
        let named = named.split('`').filter(|word| {
            let is_path =
                ["src/", "scripts/", "kubernetes/", "tests/", "docs/", ".github/", ".ci/"].iter().any(|start| word.starts_with(start));
            is_path && !word.contains([' ', '*', '<', '\n'])
        });
        for target in targets(&document).into_iter().chain(named.map(PathBuf::from)) {
            assert!(root.join(&target).exists(), "{document} names {}", target.display());
        }
    }
}

#[test]
fn every_command_is_run_here_or_where_it_is_said_to_be_or_it_is_said_why_not() {
    let mut elsewhere = 0;
    let blocks =
        files("", ".md").into_iter().flat_map(|document| blocks(&document).into_iter().map(move |block| (document.clone(), block)));
    for (document, block) in blocks.filter(|(_, block)| block.language == "sh") {
        let remark = block.remark.as_deref().unwrap_or_default();
        let walked = WALKED.contains(&document.as_str()) && remark.is_empty();
        let Some(place) = remark.strip_prefix("run by ") else {
            assert!(walked || remark.starts_with("not run here: "), "{}: it is not said who runs this (CONTRIBUTING.md)", block.place);
            continue;
        };
        let runner = read(place);
        for line in block.text.lines() {
            let command = line.split(" # ").next().unwrap_or_default().trim();
            assert!(runner.contains(command), "{}: {place} does not run {command}", block.place);
            elsewhere += 1;
        }
    }
    assert!(elsewhere > 0);
}

#[test]
fn the_version_of_kubernetes_that_is_called_tested_is_the_one_that_is_tested() {
    let module = read("tests/controlplane/go.mod");
    let version = module.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v")).unwrap();
    let minor = version.rsplit_once('.').unwrap().0;
    let document = read("docs/kubernetes.md");
    let tested: Vec<&str> = document.lines().filter(|line| line.contains("| tested: ")).collect();
    assert!(matches!(tested[..], [row] if row.starts_with(&format!("| {minor} | "))), "{tested:?} is not {version}");
}

#[test]
fn the_workflows_run_what_is_there_and_every_go_module_is_looked_after() {
    let root = root();
    for workflow in ["advisories", "ci", "nightly", "release"] {
        let text = read(&format!(".github/workflows/{workflow}.yml"));
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c)));
        for path in words.filter(|word| word.starts_with("scripts/") || word.starts_with(".ci/")) {
            assert!(root.join(path).exists(), "{workflow}.yml names {path}");
        }
    }
    let looked_after = read(".github/dependabot.yml");
    for folder in ["scripts", "tests"].iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap()) {
        let folder = folder.unwrap().path();
        if folder.join("go.mod").exists() {
            let name = folder.strip_prefix(&root).unwrap().display().to_string();
            assert!(looked_after.contains(&format!("/{name}")), ".github/dependabot.yml does not name /{name}");
        }
    }
}

/// Reports whether the test that `command` names, as `cargo test --lib -- lock::release::tests::NAME`, exists.
fn is_test(command: &str) -> bool {
    let words: Vec<&str> = command.split(' ').collect();
    let folder = match words[..] {
        ["cargo", "test", "--lib", "--", _] => "src/".to_owned(),
        ["cargo", "test", "--test", target, "--", _] => format!("tests/{target}/"),
        ["cargo", "test", "-p", "fuzz-targets", "--", _] => "tests/fuzz/tests/corpus/".to_owned(),
        _ => return false,
    };
    let (modules, name) = words[words.len() - 1].rsplit_once("::").unwrap_or(("", words[words.len() - 1]));
    let file = format!("{folder}{}", modules.replace("::", "/"));
    let file = file.trim_end_matches('/').trim_end_matches("/tests");
    let places = [format!("{file}.rs"), format!("{file}/mod.rs"), format!("{file}/tests.rs")];
    let function = format!("#[test]\nfn {name}() {{");
    places.iter().filter(|place| root().join(place).exists()).any(|place| {
        let lines: Vec<String> = read(place).lines().map(|line| line.trim().to_owned()).collect();
        lines.join("\n").contains(&function)
    })
}

#[test]
fn every_mended_defect_has_a_test() {
    let document = read("docs/development/defects.md");
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| defect ")).collect();
    assert!(rows.len() > 30, "{} rows were found", rows.len());
    for row in rows {
        let command = row.trim_end_matches("` |").rsplit('`').next().unwrap_or_default();
        assert!(is_test(command), "there is no such test: {row}");
    }
    for missing in ["cargo test --lib -- lock::release::tests::a_slot", "cargo test --test it -- scenarios::nowhere::x", "cargo build"] {
        assert!(!is_test(missing), "{missing}");
    }
}

/// Programs of packages that no Debian lacks.
const ALWAYS_THERE: [&str; 6] = ["/bin/sh", "bash", "mount", "sh", "timeout", "umount"];

#[test]
fn every_program_that_the_tests_start_is_looked_for_before_they_begin() {
    let script = read("scripts/prepare");
    let prepared = script.lines().find_map(|line| line.strip_prefix("readonly tests=(")).expect("the names that `tests` means");
    let prepared: BTreeSet<&str> = prepared.trim_end_matches(')').split(' ').chain(ALWAYS_THERE).collect();
    let mut started = BTreeSet::new();
    for file in ["tests/it/", "tests/cluster/src/"].iter().flat_map(|folder| files(folder, ".rs")) {
        let text = read(&file);
        started.extend(text.split("Command::new(\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    assert!(started.contains("curl") && started.contains("prlimit"), "{started:?}");
    let missing: Vec<_> = started.iter().filter(|name| !prepared.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "scripts/prepare does not look for {missing:?}");
}
