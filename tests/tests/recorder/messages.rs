//! The messages of failed assertions.

use defer_axum::job;

use super::*;

/// Has no `Debug`.
#[derive(Deferrable)]
struct Opaque {
    secret: u32,
}

impl Job for Opaque {
    async fn run(&self, _: &JobContext) -> JobResult {
        assert_ne!(self.secret, 7);
        Ok(())
    }
}

#[derive(Debug, Deferrable)]
struct Of<T> {
    what: T,
}

impl<T: Send + Sync + 'static> Job for Of<T> {
    async fn run(&self, _: &JobContext) -> JobResult {
        let _ = &self.what;
        Ok(())
    }
}

#[job(derive(Debug))]
async fn resize(path: String, width: u32) {
    assert!(path.len() < width as usize);
}

async fn some() -> Recorder {
    let recorder = Recorder::new();
    scope(recorder.runner(), async {
        SendWelcome::defer("ada@example.com")
            .key("mail")
            .serial("s")
            .unique("u")
            .delay(Duration::from_secs(60));
        Opaque::defer(7_u32).on_success();
        SendWelcome::defer("bob@example.com").when(|_| true);
        Of::<u8>::defer(5_u8);
        resize::defer("cat.png", 640);
    })
    .await;
    recorder
}

const ALL: &str = r#"deferred:
- SendWelcome { to: "ada@example.com" }, key "mail", serial "s", unique "u", delay 60s
- Opaque, on success
- SendWelcome { to: "bob@example.com" }, when(..)
- Of
- resize { path: "cat.png", width: 640 }"#;

#[tokio::test]
async fn a_failed_assertion_shows_the_fields_of_what_was_deferred_and_with_what() {
    let recorder = some().await;
    let failed: [(&str, &dyn Fn()); 8] = [
        ("no `recorder::SendWelcome` that matches was deferred", &|| {
            recorder.assert_deferred::<SendWelcome>(|mail| mail.to == "eve@example.com");
        }),
        ("no `recorder::SendWelcome` that matches was deferred", &|| {
            recorder.assert_deferred_with::<SendWelcome>(|_, with| with.key() == Some("other"));
        }),
        ("no `recorder::Refund` that matches was deferred", &|| recorder.assert_deferred::<Refund>(|_| true)),
        ("2 `recorder::SendWelcome` deferred, not 3", &|| recorder.assert_deferred_times::<SendWelcome>(3)),
        ("something was deferred", &|| recorder.assert_nothing_deferred()),
        ("2 `recorder::SendWelcome` deferred, not none", &|| recorder.assert_none::<SendWelcome>()),
        ("2 `recorder::SendWelcome` deferred that match", &|| {
            recorder.assert_not_deferred::<SendWelcome>(|mail| mail.to.contains('@'));
        }),
        (r#"expected ["Refund"]"#, &|| recorder.assert_order(&["Refund"])),
    ];
    for (headline, assert) in failed {
        let message = panic_of(assert);
        assert!(message.contains(headline), "{headline} in {message}");
        assert!(message.contains(ALL), "{ALL} in {message}");
    }
}

#[tokio::test]
async fn a_failed_assertion_says_that_nothing_was_deferred() {
    let message = panic_of(|| Recorder::new().assert_deferred::<Refund>(|_| true));
    assert!(message.contains("was deferred; nothing was deferred"), "{message}");
}

#[tokio::test]
async fn a_failed_assertion_names_closures_by_their_function() {
    let recorder = Recorder::new();
    app(&recorder).oneshot(Request::get("/closure").body(Body::empty()).unwrap()).await.unwrap();
    let message = panic_of(|| recorder.assert_nothing_deferred());
    assert!(message.contains("recorder::app"), "{message}");
}

#[tokio::test]
async fn a_failed_assertion_counts_the_jobs_that_went_to_the_global_runner() {
    let recorder = Recorder::new();
    // These run without the recorder's layer.
    for _ in 0..3 {
        Refund::defer();
    }
    let message = panic_of(|| recorder.assert_deferred::<Refund>(|_| true));
    // Other tests may have done so meanwhile, too.
    assert!(
        message.contains("jobs ran on the global runner: is the recorder's layer on this route?"),
        "{message}"
    );
}

#[tokio::test]
async fn a_failed_run_says_in_which_line_of_the_test_it_was_asked_for() {
    let recorder = Recorder::new();
    scope(recorder.runner(), async { Opaque::defer(7_u32) }).await;
    let line = line!() + 1;
    let message = panic_in(async move { recorder.run_all_ok().await }).await;
    assert!(message.contains(&format!("messages.rs:{line}:")), "{line} in {message}");
}
