//! Checks the promises of every queue.

use std::future::poll_fn;

use super::{
    bench::{Bench, all, does, note, retried},
    jobs::{Does, Note},
    place::Place,
};
use crate::{
    defer::{defer, scope},
    model::metadata::Metadata,
    store::Queue,
};

pub(super) async fn each_job_runs_once_with_what_it_was_pushed_with<P: Place>(bench: Bench<P>) {
    let large = "large ".repeat(20_000);
    let texts =
        ["", "plain", "ünïcödé 漢字 🦀", "NUL \0 and \u{1} \u{7f}", "\" ' \\ \n \\u0000 %s $1 ?1", &large];
    let mut ids = Vec::new();
    for text in texts {
        let mut job = note(text);
        job.metadata = Metadata::from([
            ("route".to_owned(), "POST /users/{id}".to_owned()),
            ("extension u64".to_owned(), u64::MAX.to_string()),
            ("a key of another \"program\"".to_owned(), "its välue".to_owned()),
        ]);
        ids.push(job.id);
        bench.push(&[job]).await;
    }
    bench.work().await;
    bench.assert_ran_once(&texts.map(str::to_owned));
    for line in bench.journal.lines() {
        let id = texts.iter().position(|text| *text == line.text).map(|at| ids[at]);
        assert_eq!(Some(line.id), id, "a job must keep its id");
        assert_eq!(line.attempt, 1, "the first attempt must be the first");
        let metadata = (line.route.as_deref(), line.extension);
        let expected = (Some("POST /users/{id}"), Some(u64::MAX));
        assert_eq!(metadata, expected, "a job must keep its metadata: its route and an extension");
    }
}

pub(super) async fn a_job_runs_under_an_earlier_name_of_its_type<P: Place>(bench: Bench<P>) {
    let mut job = note("renamed");
    job.name = Note::EARLIER.to_owned();
    bench.push(&[job]).await;
    bench.work().await;
    bench.assert_ran_once(&["renamed".to_owned()]);
}

pub(super) async fn an_id_that_is_pushed_twice_is_stored_once<P: Place>(bench: Bench<P>) {
    let (first, second) = (note("first"), note("second"));
    bench.push(std::slice::from_ref(&first)).await;
    bench.push(&[first, second]).await;
    bench.work().await;
    bench.assert_ran_once(&["first".to_owned(), "second".to_owned()]);
}

pub(super) async fn a_batch_is_stored_whole<P: Place>(bench: Bench<P>) {
    let texts: Vec<_> = (0..1000).map(|number| format!("job {number} of a batch")).collect();
    bench.push(&texts.iter().map(|text| note(text)).collect::<Vec<_>>()).await;
    bench.work().await;
    bench.assert_ran_once(&texts);
}

pub(super) async fn an_attempt_that_fails_is_followed_by_others_up_to_its_policy<P: Place>(bench: Bench<P>) {
    bench.push(&[retried("fails", Does::Fails)]).await;
    bench.work().await;
    let attempts = bench.journal.attempts();
    assert_eq!(attempts, [1, 2, 3], "a job with three attempts that always fails must have these attempts");
    let stats = bench.runner.stats();
    assert_eq!((stats.failed, stats.retried), (1, 2), "it must fail once, and be retried twice: {stats:?}");
}

pub(super) async fn a_snoozed_job_runs_again_and_spends_no_attempt<P: Place>(bench: Bench<P>) {
    bench.push(&[does("snoozes", Does::Snoozes)]).await;
    bench.work().await;
    let attempts = bench.journal.attempts();
    assert_eq!(attempts, [1, 1], "a job that snoozes once must run again, as the same attempt");
}

pub(super) async fn tasks_and_threads_push_at_once<P: Place>(bench: Bench<P>) {
    let text = |pusher: usize, number: usize| format!("job {number} of {pusher}");
    let push = move |queue: P::Queue, pusher: usize| async move {
        for number in 0..10 {
            let pushed = queue.push(vec![note(&text(pusher, number))]).await;
            assert!(pushed.is_ok(), "a push beside others must succeed: {pushed:?}");
        }
    };
    let mut tasks: Vec<_> = (0..8).map(|pusher| tokio::spawn(push(bench.queue.clone(), pusher))).collect();
    let queue = bench.queue.clone();
    tasks.push(tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("there is room for a runtime").block_on(push(queue, 8));
    }));
    all(tasks).await;
    bench.work().await;
    let texts: Vec<_> = (0..90).map(|number| text(number / 10, number % 10)).collect();
    bench.assert_ran_once(&texts);
}

pub(super) async fn a_push_that_is_dropped_can_be_made_again<P: Place>(bench: Bench<P>) {
    let jobs = [note("first"), note("second")];
    for polls in 0..3 {
        let mut push = bench.queue.push(jobs.to_vec());
        for _ in 0..polls {
            // A future may panic if it is polled after its end.
            if poll_fn(|cx| std::task::Poll::Ready(push.as_mut().poll(cx))).await.is_ready() {
                break;
            }
        }
    }
    bench.push(&jobs).await;
    bench.work().await;
    bench.assert_ran_once(&["first".to_owned(), "second".to_owned()]);
}

pub(super) async fn a_deferred_job_runs_once<P: Place>(bench: Bench<P>) {
    let id = scope(&bench.runner, async {
        let id = defer(Note::new("deferred")).id();
        defer(Note::new("cancelled")).cancel();
        id
    })
    .await;
    bench.runner.idle().await;
    bench.work().await;
    bench.assert_ran_once(&["deferred".to_owned()]);
    assert_eq!(bench.journal.lines()[0].id, id, "a job must keep the id that its handler was told");
    let stats = bench.runner.stats();
    assert_eq!((stats.succeeded, stats.failed), (1, 0), "it must succeed once: {stats:?}");
    let ended = stats.succeeded + stats.queued + stats.cancelled;
    assert_eq!(ended, stats.deferred + stats.taken, "every visit must end in one count: {stats:?}");
}

pub(super) async fn what_a_job_defers_runs_once_after_it<P: Place>(bench: Bench<P>) {
    bench.push(&[does("parent", Does::Defers)]).await;
    bench.work().await;
    // The job may have arrived after the worker had found nothing.
    bench.work().await;
    let texts = bench.journal.texts();
    assert_eq!(
        texts,
        ["parent".to_owned(), Note::child_of("parent")],
        "what a job defers must run once, after it"
    );
}
