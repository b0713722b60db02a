//! A pasted quick start prints why a job failed. This has its own test binary, because callsites are enabled per process.

use std::{fs, path::Path};

use defer_axum::{JobError, JobResult, Runner, defer_fn, scope};
use defer_tests::Traced;

/// Returns the code blocks of a page that are whole programs with a server.
fn servers(page: &str) -> Vec<String> {
    let lines = page.lines().map(|line| line.strip_prefix("//!").map_or(line, str::trim_start));
    let text = lines.collect::<Vec<_>>().join("\n");
    let fences = text.split("```").skip(1).step_by(2);
    fences
        .filter(|code| code.contains("fn main") && code.contains("defer_axum::serve"))
        .map(str::to_owned)
        .collect()
}

fn read(file: impl AsRef<Path>) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn each_quick_start_sets_up_what_prints_a_failing_job() {
    for (page, programs) in
        [("README.md", 2), ("defer-axum/src/lib.rs", 1), ("defer-axum/src/guide/first_job.rs", 1)]
    {
        let servers = servers(&read(page));
        assert_eq!(servers.len(), programs, "{page}");
        for program in servers {
            let (before, _) = program.split_once("defer_axum::serve").expect("it has one");
            assert!(before.contains("tracing_subscriber::fmt().init();"), "{page}: {program}");
        }
    }
    for example in ["analytics", "audit", "hello", "signup", "tls", "webhook"] {
        let main = read(format!("examples/{example}/src/main.rs"));
        assert!(main.contains("tracing_subscriber::fmt()"), "{example}");
    }
}

#[tokio::test]
async fn what_they_set_up_prints_why_a_job_failed() {
    let printed = Traced::default();
    // The same setup as in the quick starts, except for the writer.
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(printed.clone()).finish();
    let _printing = tracing::subscriber::set_default(subscriber);
    let runner = Runner::default();
    scope(&runner, async {
        defer_fn(|_| async { JobResult::Err(JobError::msg("no mail server")) });
    })
    .await;
    runner.idle().await;
    let text = printed.text();
    let has = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["ERROR", "job failed", "error=no mail server"]), "{text}");
}
