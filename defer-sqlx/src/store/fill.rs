//! Fills free places with jobs when some of the due jobs are dropped.

use super::interface::{Stored, Taken};

/// Takes jobs until `limit` are taken or none is due. `take` takes up to a number of jobs in a transaction of its own, and also
/// returns how many it has dropped: if it dropped any, other jobs may be due behind them. Each such transaction drops some jobs
/// permanently, so this ends.
pub(super) fn fill<'a>(
    limit: usize,
    take: impl Fn(usize) -> Stored<'a, (Vec<Taken>, usize)> + Send + 'a,
) -> Stored<'a, Vec<Taken>> {
    Box::pin(async move {
        let mut taken = Vec::new();
        loop {
            match take(limit - taken.len()).await {
                Ok((more, left_out)) => {
                    taken.extend(more);
                    if left_out == 0 || taken.len() >= limit {
                        return Ok(taken);
                    }
                }
                // The holder already has the jobs that were taken, so they have to run.
                Err(_) if !taken.is_empty() => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
    })
}
