//! Runs the statements that store jobs for any worker.

use std::collections::{BTreeSet, HashMap};

use defer_core::JobId;
use sqlx::{PgConnection, Row};

use super::{
    keys::{Claim, Keys, take_place},
    tables::{Tables, query},
};
use crate::store::{
    interface::NewJob,
    state::{self, text},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Stores jobs for any worker.
pub(super) async fn push(
    connection: &mut PgConnection,
    tables: &Tables,
    jobs: &[NewJob],
) -> Result<(Vec<Option<JobId>>, bool)> {
    if jobs.is_empty() {
        return Ok((Vec::new(), false));
    }
    let unique: Vec<_> = jobs.iter().map(|job| job.unique.as_deref().map(text)).collect();
    let keys: BTreeSet<&str> = unique.iter().flatten().map(AsRef::as_ref).collect();
    let mut keys = Keys::find(&mut *connection, tables, &keys).await?;
    let ids: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    let (mut claims, mut twins) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
    let mut replacements = Vec::new();
    for ((id, key), job) in ids.iter().zip(&unique).zip(jobs) {
        if let (Some(key), Some(replace)) = (key, job.replace) {
            replacements.extend(keys.replace(key, id).map(|replacement| (replacement, replace)));
            claims.push(None);
            twins.push(None);
            continue;
        }
        let claim = key.as_ref().map(|key| keys.claim(key, id));
        claims.push(key.as_ref().filter(|_| claim == Some(Claim::Free)));
        twins.push(match claim {
            Some(Claim::Twin(twin)) => Some(twin),
            _ => None,
        });
    }
    let mut turns: HashMap<&str, i64> = HashMap::new();
    let nth: Vec<i64> = jobs
        .iter()
        .map(|job| {
            job.serial.as_deref().map_or(0, |key| *turns.entry(key).and_modify(|nth| *nth += 1).or_default())
        })
        .collect();
    let throttles: Vec<_> = jobs.iter().map(|job| job.throttle.as_ref()).collect();
    let texts = |of: fn(&NewJob) -> &str| jobs.iter().map(|job| text(of(job))).collect::<Vec<_>>();
    query(&tables.push.push)
        .bind(&tables.queue)
        .bind(&ids)
        .bind(texts(|job| &job.name))
        .bind(texts(|job| &job.payload))
        .bind(texts(|job| &job.metadata))
        .bind(jobs.iter().map(|job| job.priority).collect::<Vec<_>>())
        .bind(jobs.iter().map(|job| state::delay(job.delay)).collect::<Vec<_>>())
        .bind(jobs.iter().map(|job| job.serial.as_deref().map(text)).collect::<Vec<_>>())
        .bind(nth)
        .bind(&unique)
        .bind(claims)
        .bind(twins)
        .bind(
            throttles.iter().map(|throttle| throttle.map(|throttle| text(&throttle.key))).collect::<Vec<_>>(),
        )
        .bind(
            throttles
                .iter()
                .map(|throttle| throttle.map(|throttle| state::delay(throttle.every)))
                .collect::<Vec<_>>(),
        )
        .execute(&mut *connection)
        .await?;
    let mut duplicates =
        duplicates(&mut *connection, tables, &ids, unique.iter().any(Option::is_some)).await?;
    // A job that was pushed earlier may have been replaced since.
    for (duplicate, _) in duplicates.iter_mut().zip(jobs).filter(|(_, job)| job.replace.is_some()) {
        *duplicate = None;
    }
    // After the inserts and their results, because a job that was just inserted may be replaced.
    for (replacement, replace) in replacements {
        take_place(connection, tables, &replacement, replace).await?;
    }
    Ok((duplicates, true))
}

/// Returns which jobs these duplicate, as stored: an earlier try may have stored them.
async fn duplicates(
    connection: &mut PgConnection,
    tables: &Tables,
    ids: &[String],
    may_be: bool,
) -> Result<Vec<Option<JobId>>> {
    if !may_be {
        return Ok(vec![None; ids.len()]);
    }
    let mut of = HashMap::new();
    for row in query(&tables.push.duplicates).bind(ids).fetch_all(connection).await? {
        of.insert(row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?);
    }
    Ok(ids.iter().map(|id| of.get(id).and_then(|twin| twin.parse().ok())).collect())
}
