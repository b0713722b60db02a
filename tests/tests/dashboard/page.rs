//! The page itself: its path, its replies, and the data that it never shows.

use axum::{Router, routing::get};
use defer_axum::{Dashboard, Deferrable, Job, JobContext, JobError, JobResult, Runner, scope};
use defer_tests::{By, Tcp, in_time};

use crate::{data, every_kind, page, run_every_kind, serve};

#[tokio::test]
async fn it_works_wherever_it_is_nested() {
    let runner = Runner::default();
    let of = || Router::from(Dashboard::new(&runner));
    for (router, at) in [
        (Router::new().nest("/jobs", of()), "/jobs"),
        (Router::new().nest("/jobs/", of()), "/jobs/"),
        (Router::new().nest("/a/b", Router::new().nest("/c", of())), "/a/b/c"),
        (Router::new().nest_service("/jobs", of()), "/jobs"),
        (Router::new().nest_service("/jobs", of()), "/jobs/"),
        (Router::new().merge(of()), "/"),
    ] {
        let server = serve(router, &runner).await;
        let html = page(&server, at).await;
        let folder = &at[..=at.rfind('/').expect("a slash")];
        for (attribute, has) in [
            ("<link rel=\"stylesheet\" href=\"", "light-dark("),
            ("<script src=\"", "redirect: \"manual\""),
            ("<footer><a href=\"", "\"totals\""),
        ] {
            let link = html.split(attribute).nth(1).and_then(|rest| rest.split('"').next());
            // Resolves the link as a browser does.
            let path = format!("{folder}{}", link.expect("a link").strip_prefix("./").expect("relative"));
            assert!(page(&server, &path).await.contains(has), "{at}: {path}");
        }
        let events = html.split("data-events=\"./").nth(1).and_then(|rest| rest.split('"').next());
        let mut client = Tcp::connect(server.addr).await;
        client.send_get(&format!("{folder}{}", events.expect("a link"))).await;
        client.read_until("application/x-ndjson").await;
    }
}

#[tokio::test]
async fn every_answer_is_kept_from_caches_search_engines_frames_and_foreign_scripts() {
    let runner = Runner::default();
    let server = serve(Router::new().nest("/jobs", Dashboard::new(&runner).into()), &runner).await;
    let paths = [
        "/jobs",
        "/jobs/data",
        "/jobs/style.css",
        "/jobs/narrow.css",
        "/jobs/script.js",
        "/jobs/act.js",
        "/jobs?sort=nonsense",
        "/jobs/data?a=%",
    ];
    for path in paths {
        let head = Tcp::connect(server.addr).await.get(path).await.head;
        for header in [
            "cache-control: no-store",
            "x-robots-tag: noindex, nofollow",
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
            "script-src 'self'; style-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(head.contains(header), "{path} without {header}: {head}");
        }
        assert!(!head.contains("unsafe"), "{head}");
    }
    let html = page(&server, "/jobs").await;
    for inline in ["style=", "<style", "onclick", "<script>", "http://", "https://"] {
        assert!(!html.contains(inline), "{inline} in {html}");
    }
}

#[tokio::test]
async fn a_query_that_means_nothing_is_refused_with_a_reason() {
    let runner = Runner::default();
    let server = serve(Router::new().nest("/jobs", Dashboard::new(&runner).into()), &runner).await;
    for path in ["/jobs?sort=nonsense", "/jobs/data?outcome=lost", "/jobs/events?order=up"] {
        let reply = Tcp::connect(server.addr).await.get(path).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("unknown variant"), "{}", reply.text());
    }
    // Queries from a link on another site, and from empty form fields.
    for path in ["/jobs?utm_source=mail", "/jobs?outcome=&sort=&name=&filter=&find="] {
        page(&server, path).await;
    }
}

/// Its name and its error contain markup.
#[derive(Deferrable)]
#[defer(name = "<b class=\"x\">'&")]
struct Markup;

impl Job for Markup {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg("</p><script>alert('&')</script>"))
    }
}

#[tokio::test]
async fn the_text_of_jobs_is_escaped() {
    let runner = Runner::default();
    let dashboard = Dashboard::new(&runner);
    let routes =
        Router::new().route("/", get(async || drop(Markup::defer()))).nest("/jobs", dashboard.into());
    let server = By::Defer.serve(routes, &runner).await;
    page(&server, "/").await;
    in_time(runner.idle()).await;
    let html = page(&server, "/jobs?name=%3Cb%20class%3D%22x%22%3E'%26").await;
    assert!(html.contains("&#60;script&#62;alert(&#39;&#38;&#39;)"), "{html}");
    assert!(!html.contains("<b class=\"x\">") && !html.contains("<script>"), "{html}");
    // The link to its runs works.
    assert!(html.contains("?name=%3Cb%20class%3D%22x%22%3E%27%26"), "{html}");
    assert!(html.contains("Latest runs of <span class=\"name\">&#60;b"), "{html}");
}

/// Its field and its error hold data that must not be shown.
#[derive(Deferrable)]
struct Secret(String);

impl Job for Secret {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg(format!("refused, {} bytes", self.0.len())))
    }
}

#[tokio::test]
async fn a_jobs_fields_are_nowhere_and_its_errors_are_not_where_they_are_hidden() {
    let runner = Runner::default();
    let (open, hidden) = (Dashboard::new(&runner), Dashboard::new(&runner).hide_errors());
    let routes = Router::new()
        .route("/", get(async || drop(Secret::defer("marker-4711"))))
        .nest("/open", open.into())
        .nest("/hidden", hidden.into());
    let server = By::Defer.serve(routes, &runner).await;
    page(&server, "/").await;
    in_time(runner.idle()).await;
    for path in ["/open", "/open/data", "/hidden", "/hidden/data"] {
        let text = page(&server, path).await;
        assert!(text.contains("Secret") && !text.contains("marker-4711"), "{path}: {text}");
        assert_eq!(text.contains("refused"), path.starts_with("/open"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_dashboard_that_is_gone_or_there_twice_disturbs_nothing() {
    let runner = Runner::default();
    drop(Dashboard::new(&runner));
    let again: Router = Router::new().nest("/again", Dashboard::new(&runner).into());
    let server = every_kind(By::Defer, &runner, Dashboard::new(&runner)).await;
    let other = serve(again, &runner).await;
    run_every_kind(&server).await;
    let (one, two) = (data(&server, "/jobs/data").await, data(&other, "/again/data").await);
    for part in ["runs", "running"] {
        assert_eq!(one[part].as_array().map(Vec::len), two[part].as_array().map(Vec::len));
    }
    assert_eq!(one["now"]["totals"], two["now"]["totals"]);
    drop(server);
    // A server that stops drops its router, while the runner keeps running.
    other.stop().await;
    scope(&runner, async { crate::Good::defer() }).await;
    in_time(runner.idle()).await;
    assert_eq!(runner.stats().pending, 0);
}
