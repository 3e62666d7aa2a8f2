//! The workflows in .github: every action is pinned, no job has more rights than it needs, and no job with rights runs code of this
//! repository. What GitHub does with them is not tested: nothing here can reach it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::repository::{files, read};

/// The rights of the jobs that have any but to read the repository.
fn jobs_with_rights() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("push", json!({"packages": "write", "id-token": "write"})),
        ("attest", json!({"packages": "write", "id-token": "write", "attestations": "write"})),
        ("release", json!({"contents": "write", "id-token": "write", "attestations": "write"})),
    ])
}

/// The workflows by their path, as text and as read.
fn workflows() -> Vec<(String, String, Value)> {
    let read = |path: String| {
        let text = read(&path);
        let value = serde_saphyr::from_str(&text).unwrap();
        (path, text, value)
    };
    files(".github/workflows/", ".yml").into_iter().map(read).collect()
}

fn jobs(workflow: &Value) -> impl Iterator<Item = (&String, &Value)> {
    workflow["jobs"].as_object().unwrap().iter()
}

fn steps(job: &Value) -> &[Value] {
    job["steps"].as_array().unwrap()
}

/// Returns what is wrong with the line of a workflow that names an action.
fn pin_fault(line: &str) -> Option<&'static str> {
    let Some((action, comment)) = line.trim().trim_start_matches("- ").strip_prefix("uses: ")?.split_once(" # ") else {
        return Some("has no comment with the version");
    };
    let Some((_name, commit)) = action.split_once('@') else { return Some("has no commit") };
    let is_commit = commit.len() == 40 && commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let numbers: Vec<&str> = comment.strip_prefix('v').unwrap_or_default().split('.').collect();
    match () {
        () if !is_commit => Some("names no commit: a tag can be moved"),
        () if numbers.len() != 3 || numbers.iter().any(|number| number.parse::<u32>().is_err()) => Some("has no whole version"),
        () => None,
    }
}

#[test]
fn every_action_is_pinned_to_a_commit_and_says_its_version() {
    let mut pins: BTreeMap<String, String> = BTreeMap::new();
    for (path, text, _) in workflows() {
        for line in text.lines().filter(|line| line.contains("uses:")) {
            assert_eq!(pin_fault(line), None, "{path}: {line}");
            let (action, pin) = line.trim().split_once('@').unwrap();
            let name = action.trim_start_matches("- ").to_owned();
            assert_eq!(pins.entry(name).or_insert_with(|| pin.to_owned()), pin, "{path}: an action has two pins");
        }
    }
    let commit = "de0fac2e4500dabe0009e67214ff5f5447ce83dd";
    let faults = [
        format!("- uses: a/b@{commit}"),
        "- uses: a/b@v6 # v6.0.2".to_owned(),
        "uses: a/b # v6.0.2".to_owned(),
        format!("uses: a/b@{commit} # v6"),
        format!("uses: a/b@{} # v6.0.2", commit.to_uppercase()),
    ];
    for line in faults {
        assert!(pin_fault(&line).is_some(), "{line}");
    }
    // Pins that nothing moves grow old.
    assert!(read(".github/dependabot.yml").contains("package-ecosystem: github-actions\n"));
}

#[test]
fn containers_are_the_same_everywhere_and_pinned_by_their_digest() {
    let mut images: Vec<String> = Vec::new();
    for (path, _, workflow) in workflows() {
        for (name, job) in jobs(&workflow) {
            assert_ne!(job["runs-on"], "ubuntu-latest", "{path}: {name} runs on another system one day");
            images.extend(job["container"]["image"].as_str().map(str::to_owned));
        }
    }
    let (_, digest) = images[0].split_once("@sha256:").unwrap();
    assert_eq!(digest.len(), 64);
    assert!(images.iter().all(|image| *image == images[0]), "{images:?}");
}

#[test]
fn only_the_jobs_that_publish_have_rights() {
    for (path, _, workflow) in workflows() {
        assert_eq!(workflow["permissions"], json!({"contents": "read"}), "{path}");
        for (name, job) in jobs(&workflow) {
            let wanted = if path.ends_with("/release.yml") { jobs_with_rights().remove(name.as_str()) } else { None };
            assert_eq!(job.get("permissions"), wanted.as_ref(), "{path}: {name}");
            for step in steps(job) {
                let is_checkout = step["uses"].as_str().is_some_and(|action| action.starts_with("actions/checkout@"));
                assert!(!is_checkout || step["with"]["persist-credentials"] == false, "{path}: {name} leaves its token in the checkout");
                // An expression in a script is replaced before the shell reads it: a name of a branch could be code.
                assert!(!step["run"].as_str().unwrap_or_default().contains("${{"), "{path}: {name}: {step}");
            }
        }
    }
}

#[test]
fn a_job_with_rights_runs_nothing_of_this_repository_and_checks_the_files_first() {
    let release = serde_saphyr::from_str::<Value>(&read(".github/workflows/release.yml")).unwrap();
    let mut publishing = 0;
    for (name, job) in jobs(&release).filter(|(_, job)| job.get("permissions").is_some()) {
        publishing += 1;
        let steps = steps(job);
        let (download, check) = (&steps[0], &steps[1]["run"]);
        assert!(download["uses"].as_str().unwrap().starts_with("actions/download-artifact@"), "{name}");
        let wanted = "echo \"$CHECKSUMS  SHA256SUMS\" | sha256sum --check --strict\nsha256sum --check --strict SHA256SUMS\n";
        assert_eq!((check, &steps[1]["working-directory"]), (&json!(wanted), &json!("release")), "{name}");
        assert_eq!(job["env"]["CHECKSUMS"], "${{ needs.build.outputs.checksums }}", "{name}");
        assert!(job.get("container").is_none(), "{name}");
        for step in steps {
            let (action, script) = (step["uses"].as_str().unwrap_or_default(), step["run"].as_str().unwrap_or_default());
            for code in ["actions/checkout", "./", "scripts/", ".ci/", "cargo", "bash ", "git clone", "chmod", "curl"] {
                assert!(!action.starts_with(code) && !script.contains(code), "{name} runs {code}: {step}");
            }
            let commands = script.lines().map(str::trim_start).filter_map(|line| line.split(' ').next());
            let known = ["", "#", "echo", "sha256sum", "docker", "skopeo", "test", "jq", "cosign", "gh"];
            for command in commands {
                assert!(known.contains(&command), "{name} runs {command}");
            }
        }
    }
    assert_eq!(publishing, jobs_with_rights().len());
}

#[test]
fn the_image_is_signed_and_attested_before_there_is_a_release() {
    let release = serde_saphyr::from_str::<Value>(&read(".github/workflows/release.yml")).unwrap();
    let jobs = &release["jobs"];
    assert_eq!(jobs["release"]["needs"], json!(["build", "attest"]));
    assert_eq!(jobs["attest"]["needs"], json!(["build", "push"]));
    assert!(jobs["push"].to_string().contains("cosign sign --yes --recursive"));
    let attested: Vec<&Value> = steps(&jobs["attest"]).iter().filter(|step| step["with"]["push-to-registry"] == true).collect();
    let [provenance, libraries] = attested[..] else { panic!("{attested:?}") };
    assert_eq!(provenance["with"]["subject-digest"], "${{ matrix.subject }}");
    assert_eq!(libraries["with"]["subject-digest"], "${{ matrix.subject }}");
    assert_eq!(libraries["with"]["sbom-path"], "release/reboot-manager.cdx.json");
}
