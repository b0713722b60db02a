//! How a batch comes together, and what does not wait for it.

use std::{
    future::ready,
    sync::{Arc, Mutex},
};

use defer_core::{JobId, Overflow, Runner, defer, defer_fn, scope};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::Instant,
};

use crate::{
    common::{Events, Journal, SECOND, assert_all_accounted_for, defer_note},
    support::{
        Beside, Kind, OnSuccess, OneAtATime, Plain, Soon, Table, all, defer_each, in_time, slow_table, table,
        table_that,
    },
};

#[tokio::test(start_paused = true)]
async fn jobs_of_many_requests_run_together_once_they_are_enough() {
    let events = Events::default();
    let (table, mut written) = table();
    let runner = events.runner().max_running(1).state(table).build();
    let deferred = defer_each::<Plain>(&runner, 1..=6).await;
    assert_eq!(in_time(written.recv()).await.unwrap(), [1, 2, 3]);
    assert_eq!(in_time(written.recv()).await.unwrap(), [4, 5, 6]);
    in_time(runner.idle()).await;
    assert_eq!(runner.stats().succeeded, 6, "each counts once");
    for deferred in deferred {
        let all = events.all();
        let own: Vec<_> =
            all.iter().filter(|event| event.id == deferred.id()).map(|event| event.what).collect();
        assert_eq!(own, ["Deferred", "Started", "Succeeded"]);
    }
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_batch_starts_when_its_first_job_has_waited() {
    let (table, mut written) = table();
    let runner = Runner::builder().state(table).build();
    let since = Instant::now();
    defer_each::<Soon>(&runner, [1]).await;
    tokio::time::sleep(SECOND / 2).await;
    defer_each::<Soon>(&runner, [2, 3]).await;
    assert_eq!(in_time(written.recv()).await.unwrap(), [1, 2, 3]);
    assert_eq!(since.elapsed(), SECOND);
    // The next one waits from its own first job on.
    tokio::time::sleep(SECOND).await;
    defer_each::<Soon>(&runner, [4]).await;
    assert_eq!(in_time(written.recv()).await.unwrap(), [4]);
    assert_eq!(since.elapsed(), SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_its_batch_holds_up_neither_its_line_nor_others() {
    let (table, mut written) = table();
    let runner = Runner::builder().max_running(1).state(table).build();
    let ran = Arc::new(Notify::new());
    let runs = ran.clone();
    scope(&runner, async {
        defer(Plain::row(1));
        defer_fn(move |_| async move { runs.notify_one() });
    })
    .await;
    in_time(ran.notified()).await;
    let runs = ran.clone();
    scope(&runner, async { defer_fn(move |_| async move { runs.notify_one() }) }).await;
    in_time(ran.notified()).await;
    assert!(written.try_recv().is_err());
    assert_eq!((runner.stats().pending, runner.stats().running), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_job_joins_its_batch_when_its_turn_in_its_line_comes() {
    let journal = Journal::default();
    let writes = journal.clone();
    let table = Table::new(move |rows, _| {
        writes.note(format!("{rows:?}"));
        ready(Ok(()))
    });
    let runner = Runner::builder().state(table).build();
    scope(&runner, async {
        let first = journal.clone();
        defer_fn(move |_| async move {
            tokio::time::sleep(SECOND).await;
            first.note("before");
        });
        defer(Plain::row(1));
        defer(Plain::row(2));
    })
    .await;
    defer_each::<Plain>(&runner, [3]).await;
    in_time(runner.idle()).await;
    // It did not wait for those behind the slow job, because somebody waited for all.
    assert_eq!(journal.lines(), ["[3]", "before", "[1, 2]"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_all_jobs_does_not_wait_for_batches_to_fill() {
    let (table, written) = table();
    let runner = Runner::builder().state(table).build();
    let since = Instant::now();
    defer_each::<Plain>(&runner, [1, 2]).await;
    let late = runner.clone();
    tokio::join!(in_time(runner.idle()), async {
        tokio::time::sleep(SECOND).await;
        // Nobody waits any more.
        defer_each::<Plain>(&late, [3]).await;
        tokio::time::sleep(SECOND).await;
        assert_eq!(late.stats().pending, 1);
    });
    in_time(runner.idle()).await;
    assert_eq!(since.elapsed(), SECOND * 2);
    assert_eq!(all(written), [vec![1, 2], vec![3]]);
}

#[tokio::test(start_paused = true)]
async fn at_bounds_of_one_batches_do_not_wait_for_what_cannot_come() {
    for overflow in [Overflow::Wait, Overflow::Shed] {
        let (table, written) = table();
        let builder = Runner::builder().max_running(1).max_pending(1).overflow(overflow);
        let runner = builder.state(table).build();
        let since = Instant::now();
        scope(&runner, async {
            defer(Plain::row(0));
            defer(Plain::row(1));
        })
        .await;
        for row in 2..12 {
            defer_each::<Plain>(&runner, [row]).await;
        }
        // Not `idle`, which would let them go. Time stands still meanwhile.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(since.elapsed(), std::time::Duration::ZERO, "none has waited");
        let stats = runner.stats();
        assert_eq!(stats.succeeded + stats.shed, 12, "{overflow:?}: {stats:?}");
        assert!(overflow == Overflow::Shed || stats.shed == 0);
        assert_eq!(all(written).concat().len() as u64, stats.succeeded);
        assert_all_accounted_for(&runner);
    }
}

/// Its response would wait for the room of jobs that wait for others of their type.
#[tokio::test(start_paused = true)]
async fn a_batch_does_not_wait_while_a_response_waits_for_room() {
    let (table, mut written) = table();
    let runner = Runner::builder().max_pending(2).state(table).build();
    defer_each::<Plain>(&runner, [1]).await;
    tokio::time::sleep(SECOND).await;
    let since = Instant::now();
    let mut scope = defer_core::Scope::new(runner.clone());
    scope.enter(|| {
        defer(Plain::row(2));
        defer(Plain::row(3));
    });
    scope.list().unwrap().admit(None).await;
    assert_eq!(in_time(written.recv()).await.unwrap(), [1]);
    assert_eq!(since.elapsed(), std::time::Duration::ZERO);
    scope.release(None);
    in_time(runner.idle()).await;
    assert_eq!(runner.stats().succeeded, 3);
}

#[tokio::test(start_paused = true)]
async fn a_batch_grows_while_it_waits_for_its_permit() {
    let (table, mut written) = table();
    let runner = Runner::builder().max_running(1).state(table).build();
    let go = Arc::new(Semaphore::new(0));
    let (may_end, started) = (go.clone(), Arc::new(Notify::new()));
    let starts = started.clone();
    scope(&runner, async {
        defer_fn(move |_| async move {
            starts.notify_one();
            let _ = may_end.acquire().await;
        });
    })
    .await;
    in_time(started.notified()).await;
    defer_each::<Beside>(&runner, [1]).await;
    tokio::time::sleep(SECOND * 2).await;
    defer_each::<Beside>(&runner, [2]).await;
    go.add_permits(1);
    assert_eq!(in_time(written.recv()).await.unwrap(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn so_many_batches_of_a_type_run_at_once() {
    let (starts, mut started) = mpsc::unbounded_channel();
    let go = Arc::new(Semaphore::new(0));
    let may_end = go.clone();
    let (table, _) = table_that(move |rows| {
        let (starts, go) = (starts.clone(), may_end.clone());
        async move {
            starts.send(rows)?;
            go.acquire().await?.forget();
            Ok(())
        }
    });
    let runner = Runner::builder().state(table).build();
    defer_each::<OneAtATime>(&runner, 1..=4).await;
    assert_eq!(in_time(started.recv()).await.unwrap(), [1, 2]);
    tokio::time::sleep(SECOND).await;
    assert!(started.try_recv().is_err());
    assert_eq!(runner.stats().running, 2, "both run, on one permit");
    go.add_permits(2);
    assert_eq!(in_time(started.recv()).await.unwrap(), [3, 4]);
    in_time(runner.idle()).await;
}

#[tokio::test(start_paused = true)]
async fn what_keeps_a_job_from_running_keeps_it_from_its_batch() {
    let (table, mut written) = table();
    let runner = Runner::builder().state(table).build();
    scope(&runner, async {
        defer(OnSuccess::row(1)).when(|_| false);
        defer(Plain::row(2)).when(|_| true);
        defer(Plain::row(3)).delay(SECOND * 60);
        defer(Plain::row(4)).unique("same");
        defer(Plain::row(5)).key("key");
        defer(Plain::row(6)).key("key");
    })
    .await;
    defer_each::<Plain>(&runner, [7]).await;
    // 2 without a response to ask about, 4, and the last with the key.
    assert_eq!(in_time(written.recv()).await.unwrap(), [2, 4, 6]);
    scope(&runner, async { defer(Plain::row(8)).unique("8") }).await;
    let duplicate = scope(&runner, async { defer(Plain::row(9)).unique("8") }).await;
    assert!(duplicate.is_duplicate(), "8 waits for its batch");
    assert_eq!(in_time(written.recv()).await.unwrap(), [7, 8, 3], "the delayed one came last");
    in_time(runner.idle()).await;
    let stats = runner.stats();
    assert_eq!((stats.succeeded, stats.cancelled), (7, 2));
}

#[tokio::test(start_paused = true)]
async fn of_jobs_with_a_serial_key_one_is_in_a_batch() {
    let (table, written) = table();
    let runner = Runner::builder().state(table).build();
    for row in 1..=3 {
        scope(&runner, async { defer(Plain::row(row)).serial("account:7") }).await;
    }
    in_time(runner.idle()).await;
    assert_eq!(all(written), [[1], [2], [3]]);
}

#[tokio::test(start_paused = true)]
async fn a_handle_cancels_a_job_until_its_batch_starts() {
    let (table, mut written, started) = slow_table();
    let runner = Runner::builder().state(table).build();
    let deferred = defer_each::<Soon>(&runner, 1..=3).await;
    // They have left their lines.
    tokio::time::sleep(SECOND / 2).await;
    assert!(deferred[1].cancel() && !deferred[1].cancel());
    in_time(started.notified()).await;
    assert_eq!(in_time(written.recv()).await.unwrap(), [1, 3]);
    assert!(!deferred[0].cancel());
    in_time(runner.idle()).await;
    assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_all_have_left_is_gone() {
    let (table, mut written) = table();
    let runner = Runner::builder().state(table).build();
    for deferred in defer_each::<Soon>(&runner, 1..=2).await {
        tokio::task::yield_now().await;
        assert!(deferred.cancel());
    }
    tokio::time::sleep(SECOND / 2).await;
    let since = Instant::now();
    defer_each::<Soon>(&runner, [3]).await;
    assert_eq!(in_time(written.recv()).await.unwrap(), [3]);
    assert_eq!(since.elapsed(), SECOND / 2, "it began a batch of its own, with the time that was left");
    assert_eq!(all(written), [[0_u32; 0]; 0]);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_replace_each_other_do_not_put_their_batch_off() {
    let (table, mut written) = table();
    let runner = Runner::builder().state(table).build();
    for row in 1..=9 {
        scope(&runner, async { defer(Soon::row(row)).unique("k").replace() }).await;
        tokio::time::sleep(SECOND * 3 / 10).await;
    }
    assert_eq!(in_time(written.recv()).await.unwrap(), [4], "what waited after a second");
    in_time(runner.idle()).await;
}

#[tokio::test(start_paused = true)]
async fn the_context_belongs_to_the_batch_and_what_it_defers_to_its_runner() {
    let ids: Arc<Mutex<Vec<JobId>>> = Arc::default();
    let (notes, journal) = (ids.clone(), Journal::default());
    let inner = journal.clone();
    let table = Table::new(move |rows, cx| {
        assert!(cx.request().is_none() && cx.response().is_none() && cx.extension::<u32>().is_err());
        assert_eq!((cx.name(), cx.attempt()), ("Plain", 1));
        notes.lock().unwrap().push(cx.id());
        defer_note(&inner, format!("after {rows:?}"));
        inner.note(format!("{rows:?}"));
        ready(Ok(()))
    });
    let runner = Runner::builder().state(table).build();
    let deferred = defer_each::<Plain>(&runner, 1..=3).await;
    in_time(runner.idle()).await;
    assert_eq!(journal.lines(), ["[1, 2, 3]", "after [1, 2, 3]"]);
    assert_eq!(runner.stats().succeeded, 4, "on the same runner");
    let ids = ids.lock().unwrap();
    assert!(deferred.iter().all(|deferred| deferred.id() != ids[0]), "it has an id of its own");
}

#[tokio::test(start_paused = true)]
async fn middleware_is_around_the_batch() {
    let (table, written) = table();
    let calls = Journal::default();
    let notes = calls.clone();
    let builder = Runner::builder().around(move |cx, next| {
        notes.note(cx.name());
        Box::pin(next)
    });
    let runner = builder.state(table).build();
    defer_each::<Plain>(&runner, 1..=3).await;
    in_time(runner.idle()).await;
    assert_eq!((calls.lines().len(), all(written).len()), (1, 1));
}

#[test]
fn on_a_runtime_without_a_timer_a_batch_does_not_wait() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (table, mut written) = table();
        let runner = Runner::builder().state(table).build();
        defer_each::<Plain>(&runner, [1]).await;
        assert_eq!(written.recv().await.unwrap(), [1]);
    });
}

/// Jobs run where they were deferred: a runtime that does nothing keeps no other waiting.
#[test]
fn jobs_of_two_runtimes_are_in_different_batches() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (table, mut written) = table();
    let runner = Runner::builder().state(table).build();
    let (idle, busy) = (runtime(), runtime());
    idle.block_on(async {
        defer_each::<Plain>(&runner, 1..=2).await;
        // They join.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    });
    busy.block_on(async {
        defer_each::<Plain>(&runner, 3..=5).await;
        assert_eq!(written.recv().await.unwrap(), [3, 4, 5]);
    });
    drop(idle);
    busy.block_on(runner.idle());
    assert_eq!((runner.stats().succeeded, runner.stats().abandoned), (3, 2));
    assert_all_accounted_for(&runner);
}
