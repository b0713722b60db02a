//! The beats of this process, and the jobs of dead ones.
//!
//! Each process raises a number in `defer_river_holders`, and watches the others'. No clock of two machines is compared: a
//! process is dead if its number has not changed through several beats of the one who looks.

use std::{collections::HashMap, time::Duration};

use riverqueue::tokio_util::sync::CancellationToken;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::{
    error::Error,
    store::{Change, Connection, Database, From, Stored, To, list, notify, settle},
};

/// The time from the start of one beat to the start of the next. A little less than three seconds: a number has to stand still
/// through four beats, and the jobs of a dead process have to be available within fifteen.
const EVERY: Duration = Duration::from_millis(2_900);
/// How many of its own beats must have been answered by the one who judges another.
const BEATS: u32 = 4;
/// How long the other must have been silent, by the clock of the one who judges.
const DEAD_AFTER: Duration = Duration::from_secs(9);
/// How long the database may take to answer a beat. Then it beats again, on another connection: two of them, and the next, are
/// less than the silence of the dead.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often it beats at once if nothing answers.
const TRIES: usize = 2;

/// What is known of another process.
struct Other {
    beat: i64,
    since: Instant,
    /// How often it was seen like this.
    seen: u32,
}

impl Other {
    fn is_dead(&self) -> bool {
        self.seen > BEATS && self.since.elapsed() >= DEAD_AFTER
    }
}

/// Makes this process known.
pub(super) async fn register(database: &Database, holder: &str) -> Result<(), Error> {
    let mut connection = database.open().await?;
    connection.target().ask(database.statements().beat, &json!({ "id": holder })).await?;
    Ok(())
}

/// Takes leave. The jobs that are still held are found by the next beat of any other process.
pub(super) async fn take_leave(database: &Database, holder: &str, within: Duration) {
    let leave = async {
        let mut connection = database.open().await?;
        connection.target().ask(database.statements().bury, &json!({ "id": holder, "beat": null })).await
    };
    if !matches!(timeout(within, leave).await, Ok(Ok(_))) {
        tracing::warn!(target: "defer", "the queue could not take leave: others find its jobs in 15 s");
    }
}

/// Beats until told to stop.
pub(super) async fn beat(database: Database, holder: String, queue: String, stop: CancellationToken) {
    let beats = Beats { database, holder, queue, connection: None, others: Others::default() };
    tokio::select! {
        () = stop.cancelled() => {}
        () = on_schedule(beats) => {}
    }
}

/// What beats, and does between two beats what is left.
trait Beat {
    /// Says that this process lives.
    async fn beat(&mut self) -> Result<(), sqlx::Error>;

    /// Looks after the jobs of others.
    async fn look_after(&mut self) -> Result<(), sqlx::Error>;

    /// Closes the connection, because nobody knows what it still waits for.
    fn close(&mut self);
}

/// Beats on a fixed schedule, which nothing that does not answer delays for long.
async fn on_schedule(mut beats: impl Beat) {
    loop {
        let next = Instant::now() + EVERY;
        let mut is_alive = false;
        for _ in 0..TRIES {
            is_alive = answered(timeout(TIMEOUT, beats.beat()).await);
            if is_alive {
                break;
            }
            beats.close();
        }
        let has_time = Instant::now() < next;
        if is_alive && has_time && !answered(timeout_at(next, beats.look_after()).await) {
            beats.close();
        }
        sleep_until(next).await;
    }
}

/// Returns whether the database has answered in time.
fn answered(answer: Result<Result<(), sqlx::Error>, tokio::time::error::Elapsed>) -> bool {
    let error = match answer {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(late) => late.to_string(),
    };
    tracing::warn!(target: "defer", error, "a beat of the queue failed");
    false
}

struct Beats {
    database: Database,
    holder: String,
    queue: String,
    connection: Option<Connection>,
    others: Others,
}

/// The other processes.
#[derive(Default)]
struct Others(HashMap<String, Other>);

impl Beat for Beats {
    async fn beat(&mut self) -> Result<(), sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.database.open().await?),
        };
        let me = json!({ "id": self.holder });
        connection.target().ask(self.database.statements().beat, &me).await.map(drop)
    }

    async fn look_after(&mut self) -> Result<(), sqlx::Error> {
        let (statements, me) = (self.database.statements(), json!({ "id": self.holder }));
        let connection = connection_of(&mut self.connection)?;
        let holders = connection.target().ask(statements.holders, &me).await?;
        for (id, beat) in self.others.look(&holders) {
            let dead = json!({ "id": id, "beat": beat });
            if !connection.target().ask(statements.bury, &dead).await?.is_empty() {
                tracing::warn!(target: "defer", holder = id, "a process of the queue is dead: its jobs go on");
            }
        }
        if !connection.target().ask(statements.orphans, &me).await?.is_empty() {
            connection.begin(statements).await?;
            let orphans = list(&mut connection.target(), statements.orphans, me.clone()).await?;
            let changes: Vec<_> = orphans.iter().filter_map(orphan).collect();
            let changes: Vec<_> = changes.iter().collect();
            settle(&mut connection.target(), statements, &changes, &self.queue).await?;
            connection.execute("COMMIT").await?;
        }
        // What was retried, snoozed or stored while its type was being paused or resumed.
        if !connection.target().ask(statements.paused, &me).await?.is_empty() {
            connection.target().ask(statements.park, &me).await?;
        }
        if !connection.target().ask(statements.unpark, &me).await?.is_empty() {
            notify(&mut connection.target(), statements, &self.queue).await?;
        }
        Ok(())
    }

    fn close(&mut self) {
        self.connection = None;
    }
}

impl Others {
    /// Notes the beats of the others, and returns those that are dead, with their last.
    fn look(&mut self, holders: &[String]) -> Vec<(String, i64)> {
        let mut before = std::mem::take(&mut self.0);
        let mut dead = Vec::new();
        for (id, beat) in holders.iter().filter_map(|row| serde_json::from_str::<(String, i64)>(row).ok()) {
            let mut other = match before.remove(&id) {
                Some(other) if other.beat == beat => other,
                _ => Other { beat, since: Instant::now(), seen: 0 },
            };
            other.seen += 1;
            if other.is_dead() {
                dead.push((id.clone(), beat));
            }
            self.0.insert(id, other);
        }
        dead
    }
}

fn connection_of(connection: &mut Option<Connection>) -> Result<&mut Connection, sqlx::Error> {
    connection.as_mut().ok_or_else(|| sqlx::Error::Io(std::io::Error::other("the connection is closed")))
}

/// Returns what becomes of a job whose process died before its response was over.
fn orphan(job: &Stored) -> Option<Change> {
    let from = From::Held { id: job.defer.id?, holder: job.defer.holder.clone()? };
    let is_success = job.defer.status.is_some_and(|status| status < 400);
    let to = match job.defer.condition.as_deref() {
        Some("success") if !is_success => To::Skipped,
        Some("when") => {
            let error = "its process died before its condition could be asked";
            To::Failed { error: error.to_owned() }
        }
        _ => To::Due { after: Duration::ZERO },
    };
    Some(Change::new(from, to))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    fn holder(beat: i64) -> [String; 1] {
        [json!(["silent", beat]).to_string()]
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_is_found_dead_within_15_s_and_not_before_it_was_silent_for_9() {
        let mut others = Others::default();
        assert!(others.look(&holder(1)).is_empty());
        // It beats for the last time right after it was looked at, and is dead.
        let died = Instant::now();
        let mut looks = 0;
        loop {
            tokio::time::advance(EVERY).await;
            looks += 1;
            if !others.look(&holder(2)).is_empty() {
                break;
            }
            assert!(looks < 100, "nobody found it");
        }
        let after = died.elapsed();
        assert!(after > DEAD_AFTER && after <= Duration::from_secs(15), "{after:?}");
    }

    /// A database that does not answer one beat, and nothing else that is asked after it.
    #[derive(Clone, Default)]
    struct Silent(Arc<Mutex<Vec<Instant>>>);

    impl Beat for Silent {
        async fn beat(&mut self) -> Result<(), sqlx::Error> {
            let beats = {
                let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                beats.push(Instant::now());
                beats.len()
            };
            // Its answer is lost, or the database has not even heard of it.
            if beats == 4 { std::future::pending().await } else { Ok(()) }
        }

        async fn look_after(&mut self) -> Result<(), sqlx::Error> {
            std::future::pending().await
        }

        fn close(&mut self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_with_an_unanswered_beat_is_not_silent_for_long_enough_to_be_dead() {
        let silent = Silent::default();
        let _ = timeout(Duration::from_secs(60), on_schedule(silent.clone())).await;
        let beats = silent.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(beats.len() >= 20, "what else is to be done delays no beat: {}", beats.len());
        let pause = beats[4] - beats[2];
        assert!(pause < Duration::from_secs(5), "the one between them was not answered: {pause:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_beats_is_alive_and_an_outage_of_the_database_kills_nobody() {
        let mut others = Others::default();
        for beat in 0..100 {
            assert!(others.look(&holder(beat)).is_empty(), "it beats");
            tokio::time::advance(EVERY).await;
        }
        // Nobody can beat, and nobody can look, for an hour.
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(others.look(&holder(99)).is_empty(), "the others could not beat either");
    }

    #[test]
    fn a_condition_that_was_not_asked_is_judged_by_the_status_or_keeps_the_job() {
        let of = |condition: Option<&str>, status: Option<u16>| {
            let job = json!({
                "row": 1, "kind": "Mail", "state": "pending", "attempt": 0, "is_paused": 0, "due": 0, "age": 0,
                "defer": { "id": defer_core::JobId::unique(), "holder": "dead", "request": {},
                    "condition": condition, "status": status },
            });
            let job: Stored = serde_json::from_value(job).ok()?;
            Some(format!("{:?}", orphan(&job)?.to))
        };
        assert_eq!(of(Some("success"), Some(200)), of(None, None), "it is due");
        assert_eq!(of(Some("success"), Some(500)).as_deref(), Some("Skipped"));
        assert_eq!(of(Some("success"), None).as_deref(), Some("Skipped"));
        assert!(of(Some("when"), Some(200)).is_some_and(|to| to.starts_with("Failed")));
    }
}
