//! How this holder stays alive, and judges others.

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

/// From the beginning of one beat to that of the next. A little less than three seconds: a count has to stand still through four of
/// them after it was seen, and the jobs of a dead process are to be ready within fifteen seconds.
const EVERY: Duration = Duration::from_millis(2_900);
/// How long jobs of a type may be due before the log says that nobody takes them.
const UNCLAIMED_AFTER: Duration = Duration::from_secs(60);

/// Beats, for ever. Nothing but beats and burials holds it up: the rest is asked on the queue's runtime.
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
        // First what is lost, and then what may start.
        engine.compare(sent, own);
        engine.beaten(sent);
    } else if registered.is_some() && registered == engine.identity.registered() {
        // One that was registered meanwhile is another.
        engine.died();
    }
    let dead = engine.others.judge(engine.clock.now(), counts);
    let mut recovers = has_orphans;
    for (holder, count) in dead {
        match engine.store.bury(holder.clone(), count).await {
            Ok(true) => {
                tracing::warn!(target: "defer", holder, "a process is dead: its durable jobs are run by others");
                recovers = true;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(target: "defer", %error, "the queue did not answer");
                // The next beat must not wait for many of these.
                break;
            }
        }
    }
    if recovers {
        recover(engine);
    }
}

/// Tells the database what it is to know of this holder, if it does not know that yet. What nobody takes is judged by the names.
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
                    // It is tried again after the next beat.
                    tracing::warn!(target: "defer", %error, "the queue did not take a holder");
                    if is_new && matches!(error, StoreError::InDoubt(_)) {
                        // Registered late, it would come back from the dead one day: it takes another name.
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

/// Asks something of the database on the queue's runtime, unless it is being asked.
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

/// Deletes what ended long ago, and tells of jobs that nobody takes, for ever.
pub(super) async fn tidy(engine: Arc<Engine>) {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2);
    let (done, failed) = (millis(engine.settings().keep_done), millis(engine.settings().keep_failed));
    // Not before its own workers are known.
    let mut next_look = engine.clock.now() + DEAD_AFTER;
    loop {
        tokio::time::sleep(EVERY).await;
        while let Ok(true) = engine.store.prune(done, failed).await {
            // Writes go first.
            tokio::task::yield_now().await;
        }
        if engine.clock.now() < next_look {
            continue;
        }
        next_look = engine.clock.now() + UNCLAIMED_AFTER;
        for name in engine.store.unclaimed(millis(UNCLAIMED_AFTER)).await.unwrap_or_default() {
            tracing::warn!(target: "defer", name, "durable jobs have been due for a minute, and no worker takes them");
        }
    }
}
