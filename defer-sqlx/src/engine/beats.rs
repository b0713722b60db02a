//! How this holder stays alive, and judges others.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{engine::Engine, identity::DEAD_AFTER};
use crate::store::{Beat, HolderId, StoreError};

/// From the beginning of one beat to that of the next. A little less than three seconds: a count has to stand still through four of
/// them after it was seen, and the jobs of a dead process are to be ready within fifteen seconds.
const EVERY: Duration = Duration::from_millis(2_900);
/// Through how many answered beats of the judge a count has to stand still.
const BEATS: u32 = 4;
/// How long jobs of a type may be due before the log says that nobody takes them.
const UNCLAIMED_AFTER: Duration = Duration::from_secs(60);

/// What was seen of another holder.
struct Seen {
    count: i64,
    since: Instant,
    beats: u32,
}

/// Beats, for ever. Nothing but beats and burials holds it up: the rest is asked on the queue's runtime.
pub(super) async fn beat(engine: Arc<Engine>) {
    let mut others = HashMap::new();
    loop {
        let next = tokio::time::Instant::now() + EVERY;
        beat_once(&engine, &mut others).await;
        register(&engine);
        tokio::time::sleep_until(next).await;
    }
}

async fn beat_once(engine: &Arc<Engine>, others: &mut HashMap<HolderId, Seen>) {
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
    let dead = judge(engine.clock.now(), others, counts);
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

/// Returns the holders that are dead, as far as this process can tell by its own beats.
fn judge(
    now: Instant,
    others: &mut HashMap<HolderId, Seen>,
    counts: Vec<(HolderId, i64)>,
) -> Vec<(HolderId, i64)> {
    others.retain(|holder, _| counts.iter().any(|(known, _)| known == holder));
    let mut dead = Vec::new();
    for (holder, count) in counts {
        let seen = others.entry(holder.clone()).or_insert(Seen { count, since: now, beats: 0 });
        if seen.count != count {
            *seen = Seen { count, since: now, beats: 0 };
        }
        seen.beats += 1;
        // The first saw the count, and the others that it stood still.
        if seen.beats > BEATS && now.saturating_duration_since(seen.since) >= DEAD_AFTER {
            dead.push((holder, count));
        }
    }
    dead
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_dead_when_its_count_stood_still_through_four_beats_over_nine_seconds() {
        let start = Instant::now();
        let mut others = HashMap::new();
        let mut dead_at = |seconds: u64, count| {
            let now = start + Duration::from_secs(seconds);
            !judge(now, &mut others, vec![("a".to_owned(), count)]).is_empty()
        };
        assert!(!dead_at(0, 1) && !dead_at(3, 1) && !dead_at(6, 2), "it counted");
        // Many beats within a short time are not enough, nor a long time with few.
        assert!(!dead_at(7, 2) && !dead_at(8, 2) && !dead_at(9, 2) && !dead_at(10, 2) && !dead_at(14, 2));
        assert!(dead_at(15, 2));
        let mut others = HashMap::new();
        let mut dead_at = |seconds: u64| {
            !judge(start + Duration::from_secs(seconds), &mut others, vec![("a".to_owned(), 1)]).is_empty()
        };
        assert!(!dead_at(0) && !dead_at(60) && !dead_at(120) && !dead_at(180) && dead_at(240));
    }
}
