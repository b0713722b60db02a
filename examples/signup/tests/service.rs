//! The service as its users see it, and the mails when it stops.

#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of a test for no test")]

mod support;

use std::fs;

use defer_sqlx::SqlxQueue;
use reqwest::{StatusCode, header};
use serde_json::Value;
use support::{Service, client, eventually::eventually, mail_server::MailServer, mails};
use tempfile::TempDir;

const ADA: [(&str, &str); 2] = [("name", "Ada Lovelace"), ("email", "ada@example.com")];

#[tokio::test]
async fn the_answer_comes_and_then_the_mail() {
    let service = Service::start(&[("MAIL_DELAY_MS", "1500")]).await;

    let response = service.post(&ADA).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(fs::read_dir(service.folder.path().join("outbox")).unwrap().count(), 0);

    let mail = eventually("the mail", async || service.mails().pop()).await;
    assert!(mail.contains("To: \"Ada Lovelace\" <ada@example.com>\r\n"), "{mail}");
    assert!(mail.contains("Hello Ada Lovelace,"), "{mail}");
    eventually("the row", async || (service.mail_states().await == ["sent"]).then_some(())).await;
    assert_eq!(service.mails().len(), 1);
}

#[tokio::test]
async fn the_metrics_count_the_jobs_and_name_nobody() {
    let service = Service::start(&[]).await;
    service.sign_up("Marker-4711", "marker@example.com").await;
    let metrics = eventually("the mail is counted", async || {
        let response = client().get(format!("{}/metrics", service.url)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        text.contains(r#"defer_jobs_total{name="SendWelcome",outcome="succeeded"} 1"#).then_some(text)
    })
    .await;
    for line in [
        r#"defer_jobs_total{name="NoteAnswer",outcome="succeeded"} 1"#,
        r#"defer_job_attempts_total{name="SendWelcome",outcome="succeeded"} 1"#,
        r#"defer_job_run_seconds_bucket{name="SendWelcome",le="+Inf"} 1"#,
        r#"defer_job_wait_seconds_count{name="SendWelcome"} 1"#,
        "# TYPE defer_jobs_pending gauge",
        "# TYPE defer_oldest_pending_seconds gauge",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!metrics.to_lowercase().contains("marker"), "{metrics}");
    let log = service.stop().await.log;
    assert!(!log.to_lowercase().contains("marker"), "{log}");
}

#[tokio::test]
async fn a_jobs_fields_are_in_no_page_data_metric_or_log() {
    let server = MailServer::start().await;
    let log = "defer=trace,defer_sqlx=trace,signup=trace,info";
    let service = Service::start(&[("SMTP_URL", &server.url), ("RUST_LOG", log)]).await;
    service.sign_up("Marker-4711", "marker-good@example.com").await;
    server.answer("250 ok");
    service.sign_up("Marker-4712", "marker-bad@example.com").await;
    server.answer("550 no such mailbox");
    let get = async |path: &str| {
        let response = client().get(format!("{}{path}", service.url)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    };
    eventually("a good and a failing run", async || {
        let data: Value = serde_json::from_str(&get("/jobs/data").await).unwrap();
        let types = data["types"].as_array().unwrap().iter();
        let mails = types.filter(|row| row["name"] == "SendWelcome");
        let ended: Vec<_> = mails.map(|row| (row["succeeded"].clone(), row["failed"].clone())).collect();
        (ended == [(1.into(), 1.into())]).then_some(())
    })
    .await;
    let mut texts = vec![get("/jobs").await, get("/jobs/data").await, get("/metrics").await];
    texts.push(service.stop().await.log);
    for (text, has) in
        texts.iter().zip(["no such mailbox", "no such mailbox", "SendWelcome", "no such mailbox"])
    {
        assert!(text.contains(has), "{has} in {text}");
        assert!(!text.to_lowercase().contains("marker"), "{text}");
    }
}

#[tokio::test]
async fn the_answer_does_not_wait_for_a_silent_mail_server() {
    let mut server = MailServer::start().await;
    let service = Service::start(&[("SMTP_URL", &server.url)]).await;

    service.sign_up("Ada", "ada@example.com").await;
    assert!(server.has_no_mail());

    server.answer("250 ok");
    assert!(server.mail().await.contains("<ada@example.com>"));
}

#[tokio::test]
async fn everyone_gets_a_mail_of_their_own() {
    let service = Service::start(&[]).await;
    for (name, email) in [("José Ñandú", "jose@example.com"), ("<b>Eve</b>", "eve@example.com")] {
        service.sign_up(name, email).await;
    }
    let mails =
        eventually("two mails", async || Some(service.mails()).filter(|mails| mails.len() == 2)).await;
    for email in ["<jose@example.com>", "<eve@example.com>"] {
        assert_eq!(mails.iter().filter(|mail| mail.contains(email)).count(), 1);
    }
    let page = service.page().await;
    assert!(page.contains("José Ñandú"), "{page}");
    assert!(!page.contains("<b>Eve"), "{page}");
}

#[tokio::test]
async fn without_a_script_the_form_leads_back_to_the_page() {
    let service = Service::start(&[]).await;
    let form = || client().post(format!("{}/signup", service.url)).form(&ADA);

    let response = form().send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()[header::LOCATION], "/#signup-1");
    let page = service.page().await;
    assert!(page.contains("id=\"signup-1\"") && page.contains("ada@example.com"), "{page}");

    let response = form().send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let page = response.text().await.unwrap();
    assert!(page.contains("This address has signed up already."), "{page}");
    assert!(page.contains("value=\"Ada Lovelace\""), "what was typed is kept: {page}");
}

#[tokio::test]
async fn bad_input_is_told_and_leaves_nothing_behind() {
    let service = Service::start(&[]).await;
    let long = "a".repeat(101);
    let far_too_long = "a".repeat(3_000_000);
    for (status, fields, field, part) in [
        (422, vec![("name", ""), ADA[1]], Some("name"), "Please enter a name."),
        (422, vec![("name", &*long), ADA[1]], Some("name"), "at most 100 characters"),
        (422, vec![("name", "A\nB"), ADA[1]], Some("name"), "control characters"),
        (422, vec![ADA[1]], Some("name"), "“name” is missing"),
        (422, vec![ADA[0], ("email", "ada")], Some("email"), "not an e-mail address"),
        (422, vec![ADA[0], ("email", "a@b\r\nBcc: c@d")], Some("email"), "not an e-mail"),
        (422, vec![ADA[0]], Some("email"), "“email” is missing"),
        (422, vec![ADA[0], ADA[0], ADA[1]], None, "duplicate field"),
        (413, vec![("name", &*far_too_long), ADA[1]], None, "too much"),
    ] {
        let response = service.post(&fields).await;
        assert_eq!(response.status(), status, "{part}");
        let body: Value = response.json().await.unwrap();
        let errors = body["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{body}");
        assert_eq!(errors[0]["field"].as_str(), field, "{body}");
        assert!(errors[0]["message"].as_str().unwrap().contains(part), "{body}");
    }
    assert!(service.mail_states().await.is_empty());
    let stopped = service.stop().await;
    assert!(mails(stopped.folder.path()).is_empty());
}

#[tokio::test]
async fn all_mistakes_of_a_form_are_told_at_once() {
    let service = Service::start(&[]).await;
    let body: Value = service.post(&[]).await.json().await.unwrap();
    assert_eq!(body["errors"].as_array().unwrap().len(), 2, "{body}");
}

#[tokio::test]
async fn what_is_no_form_is_told_what_to_send() {
    let service = Service::start(&[]).await;
    let url = format!("{}/signup", service.url);
    let json = || client().post(&url).json(&serde_json::json!({ "name": "Ada" }));
    let asked = json().header(header::ACCEPT, "application/json");
    for request in [json(), asked] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let text = response.text().await.unwrap();
        assert!(text.contains("application/x-www-form-urlencoded"), "{text}");
    }
    assert!(service.mail_states().await.is_empty());
}

#[tokio::test]
async fn the_same_address_is_a_conflict_whatever_its_capitals() {
    let service = Service::start(&[]).await;
    service.sign_up("Ada", "ada@example.com").await;
    let response = service.post(&[("name", "Ada"), ("email", "Ada@Example.com")]).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["errors"][0]["field"], "email");
    assert_eq!(service.mail_states().await.len(), 1);
}

#[tokio::test]
async fn the_feed_shows_the_answer_and_then_the_mail() {
    let mut server = MailServer::start().await;
    let service = Service::start(&[("SMTP_URL", &server.url)]).await;
    let mut feed = service.feed().await;

    let id = service.sign_up("<i>Ada", "ada@example.com").await;
    // The mail may be sent before the answer is recorded.
    let row = loop {
        let row = feed.row().await.unwrap();
        if row.contains("answered in <b>") {
            break row;
        }
    };
    assert!(row.contains(&format!("id=\"signup-{id}\" data-mail=\"waiting\"")), "{row}");
    assert!(row.contains("Ada") && !row.contains("<i>Ada"), "{row}");

    server.answer("250 ok");
    server.mail().await;
    feed.row_in_state("sent").await;

    let mut late = service.feed().await;
    assert!(late.row().await.unwrap().contains("data-mail=\"sent\""));
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_not_tried_again() {
    let mut server = MailServer::start().await;
    server.answer("550 no such mailbox");
    let service = Service::start(&[("SMTP_URL", &server.url)]).await;
    service.sign_up("Ada", "ada@example.com").await;
    let page = eventually("the refusal", async || {
        let page = service.page().await;
        page.contains("data-mail=\"given-up\"").then_some(page)
    })
    .await;
    assert!(page.contains("Attempt 1 failed"), "{page}");
    assert!(page.contains("no such mailbox"), "{page}");

    service.sign_up("Grace", "grace@example.com").await;
    server.answer("250 ok");
    assert!(server.mail().await.contains("<grace@example.com>"));
    assert!(server.has_no_mail());
}

#[tokio::test]
async fn a_mail_that_is_put_off_goes_out_once() {
    let mut server = MailServer::start().await;
    let service = Service::start(&[("SMTP_URL", &server.url)]).await;
    let mut feed = service.feed().await;

    service.sign_up("Ada", "ada@example.com").await;
    feed.row_in_state("waiting").await;
    server.answer("451 come back later");
    let row = feed.row_in_state("retrying").await;
    assert!(row.contains("Attempt 1 failed") && row.contains("come back later"), "{row}");
    server.answer("250 ok");
    feed.row_in_state("sent").await;

    assert!(server.mail().await.contains("<ada@example.com>"));
    assert!(server.has_no_mail());
}

#[tokio::test]
async fn a_stop_signal_loses_no_mail_and_repeats_none_and_ends_the_feed() {
    let service = Service::start(&[("MAIL_DELAY_MS", "1000")]).await;
    let mut feed = service.feed().await;
    for n in 0..20 {
        service.sign_up("Someone", &format!("someone-{n}@example.com")).await;
    }
    let stopped = service.stop().await;
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.log);
    while feed.row().await.is_some() {}

    assert!(!stopped.log.contains("unfinished"), "{}", stopped.log);

    // A mail that no worker had taken is sent by the next process, and none is sent twice.
    let service = Service::start_in(stopped.folder, &[]).await;
    eventually("all mails", async || (service.mails().len() == 20).then_some(())).await;
    let mails = mails(service.folder.path());
    for n in 0..20 {
        let to = format!("<someone-{n}@example.com>");
        assert_eq!(mails.iter().filter(|mail| mail.contains(&to)).count(), 1, "{to}");
    }
}

#[tokio::test]
async fn a_mail_that_takes_too_long_stays_in_the_queue_and_goes_out_after_the_next_start() {
    for (file, vars) in [("signup.db", &[][..]), ("queue.db", &[("QUEUE_URL", "sqlite:queue.db")])] {
        let server = MailServer::start().await;
        let slow = [vars, &[("SMTP_URL", &server.url), ("DRAIN_TIMEOUT_SECS", "1")]].concat();
        let service = Service::start(&slow).await;
        service.sign_up("Ada", "ada@example.com").await;
        server.is_asked().await;

        let stopped = service.stop().await;
        assert_eq!(stopped.status.code(), Some(0), "{}", stopped.log);
        let url = format!("sqlite:{}", stopped.folder.path().join(file).display());
        let counts = SqlxQueue::connect(&url).await.unwrap().counts().await.unwrap();
        assert_eq!((counts.pending, counts.running), (1, 0), "{file}: whoever is next may have it at once");

        let service = Service::start_in(stopped.folder, vars).await;
        let mail = eventually("the mail", async || service.mails().pop()).await;
        assert!(mail.contains("<ada@example.com>"));
    }
}

#[tokio::test]
async fn a_crash_loses_no_mail_and_repeats_none() {
    let service = Service::start(&[]).await;
    service.sign_up("Ada", "ada@example.com").await;
    eventually("the mail", async || (service.mail_states().await == ["sent"]).then_some(())).await;
    let folder = service.crash().await.folder;

    let service = Service::start_in(folder, &[("MAIL_DELAY_MS", "9000")]).await;
    service.sign_up("Grace", "grace@example.com").await;
    let folder = service.crash().await.folder;

    let service = Service::start_in(folder, &[]).await;
    eventually("the mail", async || (service.mail_states().await == ["sent", "sent"]).then_some(())).await;
    let mails = service.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails.iter().filter(|mail| mail.contains("<grace@example.com>")).count(), 1);
}

#[tokio::test]
async fn a_worker_alone_sends_what_another_process_has_stored() {
    let service = Service::start(&[("MAIL_DELAY_MS", "9000"), ("DRAIN_TIMEOUT_SECS", "0")]).await;
    service.sign_up("Ada", "ada@example.com").await;
    let folder = service.stop().await.folder;
    assert!(mails(folder.path()).is_empty());

    let mut worker = support::program(folder.path(), &[]).arg("worker").spawn().unwrap();
    eventually("the mail", async || mails(folder.path()).pop()).await;
    worker.kill().await.unwrap();
}

#[tokio::test]
async fn with_a_queue_of_its_own_the_mail_is_deferred_and_a_crash_in_the_middle_loses_none() {
    let queue = ("QUEUE_URL", "sqlite:queue.db");
    let service = Service::start(&[queue]).await;
    service.sign_up("Ada", "ada@example.com").await;
    eventually("the mail", async || (service.mail_states().await == ["sent"]).then_some(())).await;
    let folder = service.crash().await.folder;
    assert!(folder.path().join("queue.db").exists());

    let silent = MailServer::start().await;
    let service = Service::start_in(folder, &[queue, ("SMTP_URL", &silent.url)]).await;
    service.sign_up("Grace", "grace@example.com").await;
    silent.is_asked().await;
    let folder = service.crash().await.folder;

    let mut server = MailServer::start().await;
    let service = Service::start_in(folder, &[queue, ("SMTP_URL", &server.url)]).await;
    server.answer("250 ok");
    assert!(server.mail().await.contains("<grace@example.com>"));
    eventually("the row", async || (service.mail_states().await == ["sent", "sent"]).then_some(())).await;
    assert!(server.has_no_mail());
}

#[tokio::test]
async fn a_bad_environment_is_named_and_starts_nothing() {
    for (variable, value) in [
        ("HOST", "everywhere"),
        ("PORT", "70000"),
        ("DATABASE_URL", "postgres://localhost/app"),
        ("DATABASE_URL", "sqlite:no/such/folder/signup.db"),
        ("QUEUE_URL", "mysql://localhost/app"),
        ("QUEUE_URL", "sqlite:no/such/folder/queue.db"),
        ("OUTBOX", "log/outbox"), // below a file
        ("SMTP_URL", "localhost:25"),
        ("MAIL_FROM", "nobody"),
        ("MAIL_DELAY_MS", "-1"),
        ("DRAIN_TIMEOUT_SECS", "soon"),
    ] {
        let folder = TempDir::new().unwrap();
        let status = support::program(folder.path(), &[(variable, value)]).status().await.unwrap();
        let log = support::log(folder.path());
        assert_eq!(status.code(), Some(2), "{log}");
        let named = format!("signup: {variable}={value:?} is not usable: ");
        assert!(log.contains(&named) && log.contains("; expected "), "{log}");
        assert!(variable == "QUEUE_URL" || !folder.path().join("signup.db").exists());
    }
}

#[tokio::test]
async fn what_is_nowhere_is_not_found() {
    let service = Service::start(&[]).await;
    let response = client().get(format!("{}/sign-up", service.url)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(response.text().await.unwrap().contains("form is at /"));
}
