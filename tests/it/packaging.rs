//! What is made of the program for others: the static file and the image. That they are right is checked where they are built
//! (scripts/build-static, scripts/build-image); here, that these checks refuse what is wrong, and that all recipes say the same.

use std::path::Path;
use std::process::Command;

use test_cluster::scratch::Scratch;

use crate::repository::{read, root};

/// `scripts/build-static --check` refuses the file and says `why`.
#[track_caller]
fn refuses(file: &Path, architecture: &str, why: &str) {
    let mut check = Command::new(root().join("scripts/build-static"));
    let output = check.arg("--check").arg(file).arg(architecture).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains(why), "{why}: {} {text}", output.status);
}

#[test]
fn a_file_that_is_not_the_static_program_is_refused() {
    let here = std::env::consts::ARCH;
    let other = if here == "x86_64" { "aarch64" } else { "x86_64" };
    refuses(Path::new("/bin/true"), here, "needs an interpreter");
    refuses(Path::new("/bin/true"), other, &format!("is not for {other}"));
    refuses(&root().join("Cargo.toml"), here, "is no program");
    // The same program with another type in its header: ET_EXEC, at a fixed address.
    let scratch = Scratch::new();
    let mut fixed = std::fs::read("/bin/true").unwrap();
    fixed[16] = 2;
    refuses(&scratch.file("fixed", fixed), here, "has a fixed address");
    // The program with everything for finding faults in it.
    refuses(env!("CARGO_BIN_EXE_reboot-manager").as_ref(), here, "is the limit");
}

#[test]
fn both_recipes_for_the_image_say_the_same_and_what_the_manifest_says() {
    let made = read("scripts/image/main.go");
    let constant = |name: &str| {
        let line = made.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(" = ")).unwrap_or_else(|| panic!("no {name}"));
        line.trim_matches('"').to_owned()
    };
    let (user, entry_point) = (constant("user"), constant("entryPoint"));
    let dockerfile = read("Dockerfile");
    let instructions: Vec<&str> = dockerfile.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "FROM scratch".to_owned(),
        "ARG TARGETARCH".to_owned(),
        format!("COPY --chmod=755 target/static/reboot-manager-${{TARGETARCH}} {entry_point}"),
        format!("USER {user}"),
        format!("ENTRYPOINT [\"{entry_point}\"]"),
    ];
    assert_eq!(instructions, expected);
    assert_eq!(read(".dockerignore"), "*\n!target/static/reboot-manager-*\n");
    let script = read("scripts/build-image");
    for architecture in ["amd64", "arm64"] {
        assert!(script.contains(&format!("{architecture}=$target_directory/static/reboot-manager-{architecture}")));
    }
    let manifest = read("kubernetes/deployment.yaml");
    let (uid, gid) = user.split_once(':').unwrap();
    assert!(manifest.contains(&format!("runAsUser: {uid}\n")) && manifest.contains(&format!("runAsGroup: {gid}\n")));
    let image = format!("image: reboot-manager:{}\n", env!("CARGO_PKG_VERSION"));
    assert!(manifest.contains(&image) && read("README.md").contains(image.trim_end()));
    assert!(dockerfile.contains(&format!("reboot-manager:{} ", env!("CARGO_PKG_VERSION"))));
}
