//! Counts as floats.

/// Returns a count as a float, to compute shares and rates of it, and to compare.
pub(crate) fn float(count: u64) -> f64 {
    // Rounded above 2^53, which is not noticeable.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let float = count as f64;
    float
}
