//! What the documents say of flags, metrics and dependencies, held against the program.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first words of a table's rows, where they stand as code: `| `--flag` | …`.
fn first_column(text: &str) -> BTreeSet<String> {
    let word = |line: &str| line.strip_prefix("| `").and_then(|rest| rest.split('`').next()).map(str::to_owned);
    text.lines().filter_map(word).collect()
}

#[test]
fn the_readme_has_every_flag_of_the_help_with_its_default_and_no_other() {
    let readme = read("README.md");
    let documented: BTreeSet<_> = first_column(&readme).into_iter().filter(|word| word.starts_with("--")).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_reboot-manager")).env_clear().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut flags = BTreeSet::new();
    for line in help.lines().map(str::trim_start) {
        if let (true, Some(flag)) = (line.starts_with('-'), line.split(' ').find(|word| word.starts_with("--"))) {
            flags.insert(flag.to_owned());
        }
        if let Some(default) = line.strip_prefix("[default: ").and_then(|rest| rest.strip_suffix(']')) {
            assert!(readme.contains(&format!("| `{default}` |")), "the README does not have the default {default}");
        }
        if let Some(variable) = line.strip_prefix("[env: ").and_then(|rest| rest.split('=').next()) {
            let flag = variable.trim_start_matches("REBOOT_MANAGER_").to_lowercase().replace('_', "-");
            assert!(flags.contains(&format!("--{flag}")), "{variable} is not named after its flag, as the README says");
        }
    }
    assert!(flags.len() > 8, "{help}");
    assert_eq!(documented, flags);
}

#[test]
fn the_readme_has_every_metric_and_no_other() {
    let source = read("src/metrics.rs");
    let registered: BTreeSet<String> = source
        .lines()
        .filter(|line| line.trim_start().starts_with("registry.register"))
        .filter_map(|line| {
            let name = line.split('"').nth(1)?;
            let seconds = if line.contains("Unit::Seconds") { "_seconds" } else { "" };
            Some(format!("reboot_manager_{name}{seconds}"))
        })
        .collect();
    assert!(registered.len() >= 8, "{registered:?}");
    let suffixes = ["_total", "_info"];
    let documented: BTreeSet<String> = first_column(&read("README.md"))
        .into_iter()
        .filter(|word| word.starts_with("reboot_manager_"))
        .map(|word| suffixes.iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(&word).to_owned())
        .collect();
    assert_eq!(documented, registered);
}

#[test]
fn every_dependency_has_its_reason_and_no_other() {
    let manifest = read("Cargo.toml");
    let mut section = "";
    let mut dependencies = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if let (true, Some((name, _))) = (section.ends_with("dependencies]"), line.split_once(" = ")) {
            dependencies.insert(name.to_owned());
        }
    }
    assert!(dependencies.len() > 10, "{dependencies:?}");
    assert_eq!(first_column(&read("docs/dependencies.md")), dependencies);
}
