//! A crate that has the derive from a framework, which re-exports it: `trybuild` has no such project.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

use std::{fs, path::Path, process::Command};

const JOB: &str = r#"
use framework::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
#[defer(tries = 3)]
// path
struct SendWelcome {
    to: String,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        let _ = &self.to;
        Ok(())
    }
}

pub fn sign_up() {
    SendWelcome::defer("ada@example.com");
    let _ = SendWelcome::try_defer("ada@example.com");
}
"#;

#[test]
fn without_the_path_of_a_reexport_there_is_one_error_that_asks_for_it() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reexport");
    let ours = |name: &str| format!("{name} = {{ path = {:?} }}\n", here.join("..").join(name));
    let package = |name: &str, dependencies: &str, code: &str| {
        let source = work.join(name).join("src");
        fs::create_dir_all(&source).unwrap();
        let head = format!("[package]\nname = {name:?}\nedition = \"2024\"\n\n[dependencies]\n");
        fs::write(work.join(name).join("Cargo.toml"), head + dependencies).unwrap();
        fs::write(source.join("lib.rs"), code).unwrap();
    };
    package(
        "framework",
        &(ours("defer-core") + &ours("defer-macros")),
        "pub mod jobs { pub use defer_core::*; }\npub use defer_core::*;\npub use defer_macros::{Deferrable, job};\n",
    );
    let framework = "framework = { path = \"../framework\" }\n";
    package("without", framework, JOB);
    let with_path = JOB.replace("// path", "#[defer(crate = \"framework::jobs\")]");
    // Neither does it depend on `serde`.
    let function = "#[framework::job(queue, crate = \"framework::jobs\")]\n\
                    pub async fn remember(_what: String) -> JobResult { Ok(()) }\n";
    package("with", framework, &(with_path + function));
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"framework\", \"with\", \"without\"]\n";
    fs::write(work.join("Cargo.toml"), members).unwrap();
    fs::copy(here.join("../Cargo.lock"), work.join("Cargo.lock")).unwrap();

    let check = |package: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--quiet", "--offline", "--message-format", "short", "--package", package]);
        let output = cargo.arg("--target-dir").arg(work.join("target")).current_dir(&work).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let messages = text.lines().filter(|line| line.contains(".rs:")).map(str::to_owned).collect();
        (output.status.success(), messages, text)
    };
    let (checks, messages, text): (_, Vec<String>, _) = check("with");
    assert!(checks && messages.is_empty(), "{text}");
    let (checks, messages, text) = check("without");
    let error = "without/src/lib.rs:4:10: error: this crate does not depend on `defer-axum`: add it, or say where it is \
                 re-exported, as in `#[defer(crate = \"my_framework::defer_axum\")]`";
    assert!(!checks, "{text}");
    assert_eq!(messages, [error]);
}
