//! How values become pixels: every axis is logarithmic.

pub struct Axis {
    min: f64,
    max: f64,
    /// Pixels of `min` and `max`; on a vertical axis the first is greater.
    pub ends: (i32, i32),
}

impl Axis {
    /// An axis from the step below all values to the step above.
    pub fn new(values: &[f64], ends: (i32, i32)) -> Axis {
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        Axis {
            min: steps().rev().find(|step| *step <= least).unwrap_or(least),
            max: steps().find(|step| *step >= most).unwrap_or(most),
            ends,
        }
    }

    pub fn position(&self, value: f64) -> i32 {
        let fraction = (value / self.min).log10() / (self.max / self.min).log10();
        let length = f64::from(self.ends.1 - self.ends.0);
        self.ends.0 + (fraction * length).round() as i32
    }

    /// Powers of ten; on a short axis also twice and five times these.
    pub fn ticks(&self) -> Vec<f64> {
        let is_short = self.max / self.min < 300.0;
        let inside = steps().filter(|step| (self.min..=self.max).contains(step));
        inside
            .filter(|step| is_short || is_power_of_ten(*step))
            .collect()
    }
}

/// 1, 2 and 5 times the powers of ten from 10⁻⁶ to 10⁹.
fn steps() -> impl DoubleEndedIterator<Item = f64> {
    (-6..=9).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)))
}

fn is_power_of_ten(value: f64) -> bool {
    let power = value.log10();
    (power - power.round()).abs() < 1e-9
}

/// A short label: 0.01, 1, 20, 1k for 1,000, 1M for 1,000,000.
pub fn label(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}
