//! Median, quartiles and percentiles.

#[derive(Debug, Clone, Copy)]
pub struct Summary {
    pub median: f64,
    pub lower_quartile: f64,
    pub upper_quartile: f64,
}

impl Summary {
    /// `None` without values.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Summary> {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        Some(Summary {
            median: quantile(&sorted, 2)?,
            lower_quartile: quantile(&sorted, 1)?,
            upper_quartile: quantile(&sorted, 3)?,
        })
    }

    pub fn times(self, factor: f64) -> Summary {
        Summary {
            median: self.median * factor,
            lower_quartile: self.lower_quartile * factor,
            upper_quartile: self.upper_quartile * factor,
        }
    }
}

/// So many quarters of the way through `sorted`, between two values if need be.
fn quantile(sorted: &[f64], quarters: usize) -> Option<f64> {
    let position = quarters * sorted.len().checked_sub(1)?;
    let (below, above) = (position / 4, position.div_ceil(4));
    let fraction = (position % 4) as f64 / 4.0;
    Some(sorted[below] + (sorted[above] - sorted[below]) * fraction)
}

/// The nearest-rank percentile of `sorted`; `fraction` is 0 to 1.
pub fn percentile(sorted: &[f64], fraction: f64) -> Option<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the rank is between 0 and the length"
    )]
    let rank = (fraction * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}
