//! Keeps this holder alive, and judges others.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{engine::Engine, identity::DEAD_AFTER};
use crate::store::{Beat, StoreError};

/// The time from the start of one beat to the start of the next. A little less than three seconds, because a count has to stay
/// unchanged through four beats, and the jobs of a dead process have to be ready within fifteen seconds.
const EVERY: Duration = Duration::from_millis(2_900);
/// A type whose jobs have been due this long without a process that takes them is reported by a warning.
const UNCLAIMED_AFTER: Duration = Duration::from_secs(60);

/// Sends beats forever. This task runs only beats and recoveries: everything else is asked on the queue's runtime.
pub(super) async fn beat(engine: Arc<Engine>) {
    loop {
        let next = tokio::time::Instant::now() + EVERY;
        beat_once(&engine).await;
        register(&engine);
        tokio::time::sleep_until(next).await;
    }
}

async fn beat_once(engine: &Arc<Engine>) {
    let (sent, holder) = (engine.clock.now(), engine.holder());
    let registered = engine.identity.registered();
    let beat = match engine.store.beat(holder).await {
        Ok(beat) => beat,
        Err(error) => {
            tracing::warn!(target: "defer", %error, "the queue did not answer a beat");
            return;
        }
    };
    let Beat { is_alive, others: counts, own, paused, has_orphans } = beat;
    engine.workers.set_paused(paused);
    if is_alive {
        // Stop lost jobs before letting others start.
        engine.compare(sent, own);
        engine.beaten(sent);
    } else if registered.is_some() && registered == engine.identity.registered() {
        // If the holder was registered meanwhile, it has another name by now.
        engine.died();
    }
    let dead = engine.others.judge(engine.clock.now(), counts);
    let mut recovers = has_orphans;
    for (holder, count) in dead {
        match engine.store.bury(holder.clone(), count).await {
            Ok(true) => {
                tracing::warn!(target: "defer", holder, "a process is dead: other processes run its durable jobs");
                recovers = true;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(target: "defer", %error, "the queue did not answer");
                // Stop here, so that the next beat does not wait for many recoveries.
                break;
            }
        }
    }
    if recovers {
        recover(engine);
    }
}

/// Registers this holder with the database, unless its description is up to date. The names decide which types count as
/// unclaimed.
fn register(engine: &Arc<Engine>) {
    let holder = engine.described();
    if !engine.identity.is_registered_as(&holder) {
        let of_task = engine.clone();
        once(engine, |engine| &engine.registering, async move {
            let is_new = of_task.identity.registered().is_none();
            let store = &of_task.store;
            let answer = if is_new { store.register(holder.clone()) } else { store.rename(holder.clone()) };
            match answer.await {
                Ok(()) => of_task.identity.set_registered(holder),
                Err(error) => {
                    // The next beat tries again.
                    tracing::warn!(target: "defer", %error, "the queue could not register this process");
                    if is_new && matches!(error, StoreError::InDoubt(_)) {
                        // If the registration arrived later, it would bring a dead holder back. Take another name instead.
                        of_task.died();
                    }
                }
            }
        });
    }
}

fn recover(engine: &Arc<Engine>) {
    let of_task = engine.clone();
    once(engine, |engine| &engine.recovering, async move {
        loop {
            match of_task.store.recover().await {
                Ok(more) => {
                    of_task.made_ready();
                    if !more {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(target: "defer", %error, "the jobs of a dead process are not recovered yet");
                    return;
                }
            }
        }
    });
}

/// Sends a request to the database on the queue's runtime, unless the same request is in progress.
fn once(
    engine: &Arc<Engine>,
    is_asked: fn(&Engine) -> &AtomicBool,
    work: impl Future<Output = ()> + Send + 'static,
) {
    struct Asked(Arc<Engine>, fn(&Engine) -> &AtomicBool);
    impl Drop for Asked {
        fn drop(&mut self) {
            (self.1)(&self.0).store(false, Ordering::Release);
        }
    }
    if is_asked(engine).swap(true, Ordering::AcqRel) {
        return;
    }
    let asked = Asked(engine.clone(), is_asked);
    engine.runtime.spawn(async move {
        work.await;
        drop(asked);
    });
}

/// Deletes jobs that ended long ago, and reports jobs that no process takes, forever.
pub(super) async fn tidy(engine: Arc<Engine>) {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2);
    let (done, failed) = (millis(engine.settings().keep_done), millis(engine.settings().keep_failed));
    // Wait until this process's own workers are known.
    let mut next_look = engine.clock.now() + DEAD_AFTER;
    loop {
        tokio::time::sleep(EVERY).await;
        while let Ok(true) = engine.store.prune(done, failed).await {
            // Let writes go first.
            tokio::task::yield_now().await;
        }
        if engine.clock.now() < next_look {
            continue;
        }
        next_look = engine.clock.now() + UNCLAIMED_AFTER;
        for name in engine.store.unclaimed(millis(UNCLAIMED_AFTER)).await.unwrap_or_default() {
            tracing::warn!(target: "defer", job = name, "durable jobs have been due for a minute, and no worker takes them");
        }
    }
}
