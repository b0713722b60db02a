//! How free places are filled with jobs where some of those that are due are left out.

use super::interface::{Stored, Taken};

/// Takes jobs until so many are taken, or none is due. `take` takes up to so many in a transaction of its own, and says how many it has
/// left out: others may be due behind those. Each transaction leaves some out permanently, so this ends.
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
                // Those that were taken are the holder's, and have to run.
                Err(_) if !taken.is_empty() => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
    })
}
