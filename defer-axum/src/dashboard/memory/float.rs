//! Counts as floats.

/// Returns a count as a float, to compute shares and rates of it, and to compare.
pub(crate) fn float(count: u64) -> f64 {
    // Above 2^53 it is rounded, which nobody notices.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let float = count as f64;
    float
}
