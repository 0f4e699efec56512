//! From values to places, and which values are written at an axis.

/// How values become places between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Scale {
    /// From zero to this.
    Linear(f64),
    /// From one positive value to another.
    Log(f64, f64),
    /// Quantiles below 1, up to this one: each ninth of what is left takes the same room.
    Percentile(f64),
}

/// A scale with the values that are written at it.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Axis {
    pub(super) scale: Scale,
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) label: String,
}

impl Scale {
    /// From zero to a little above the largest of `values`.
    pub(in super::super) fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let largest = values.fold(0.0, f64::max);
        Self::Linear(if largest > 0.0 { largest * 1.05 } else { 1.0 })
    }

    /// Around all of `values`, those that are positive.
    pub(in super::super) fn around(values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|value| *value > 0.0 && value.is_finite());
        let ends = positive.fold(None, |ends: Option<(f64, f64)>, value| match ends {
            Some((low, high)) => Some((low.min(value), high.max(value))),
            None => Some((value, value)),
        });
        let (low, high) = ends.unwrap_or((1.0, 10.0));
        Self::Log(low / 1.15, high * 1.15)
    }

    /// The place of `value`; outside of the axis at its end.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear(most) => value / most,
            Self::Log(low, high) => (value / low).ln() / (high / low).ln(),
            Self::Percentile(last) => nines(value) / nines(last),
        };
        if place.is_nan() {
            0.0
        } else {
            place.clamp(0.0, 1.0)
        }
    }

    /// The quantile at a place of such an axis.
    pub(in super::super) fn quantile(last: f64, place: f64) -> f64 {
        1.0 - 10_f64.powf(-nines(last) * place)
    }

    /// Round values, about five.
    fn round_values(self) -> Vec<f64> {
        match self {
            Self::Linear(most) => {
                let step = round_up(most / 5.0);
                let count = (most / step).floor() as u32;
                (0..=count).map(|i| step * f64::from(i)).collect()
            }
            Self::Log(low, high) => {
                let decades = (high / low).log10();
                let factors: &[f64] = match decades {
                    few if few < 0.5 => {
                        &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
                    }
                    some if some < 2.5 => &[1.0, 2.0, 5.0],
                    _ => &[1.0],
                };
                let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
                let all = exponents
                    .flat_map(|e| factors.iter().map(move |factor| factor * 10_f64.powi(e)));
                all.filter(|value| (low..=high).contains(value)).collect()
            }
            Self::Percentile(last) => {
                let all = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
                all.into_iter().filter(|value| *value <= last).collect()
            }
        }
    }
}

impl Axis {
    /// With round values, written by `words`.
    pub(in super::super) fn new(scale: Scale, label: &str, words: impl Fn(f64) -> String) -> Self {
        let ticks = scale
            .round_values()
            .into_iter()
            .map(|value| (value, words(value)));
        Self {
            scale,
            ticks: ticks.collect(),
            label: label.to_owned(),
        }
    }

    /// With these values alone.
    pub(in super::super) fn at(scale: Scale, label: &str, ticks: Vec<(f64, String)>) -> Self {
        Self {
            scale,
            ticks,
            label: label.to_owned(),
        }
    }

    /// Quantiles as percentages.
    pub(in super::super) fn percentiles(last: f64) -> Self {
        let words = |value: f64| format!("{} %", trimmed(&format!("{:.3}", value * 100.0)));
        Self::new(Scale::Percentile(last), "percentile", words)
    }
}

/// Without zeros that say nothing.
fn trimmed(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The next of 1, 2, 2.5, 5 and 10 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0];
    let step = steps.into_iter().find(|step| step * power >= value * 0.999);
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_zero_and_has_round_values() {
        let scale = Scale::from_zero([3.0, 9.5].into_iter());
        assert_eq!(scale.place(0.0), 0.0);
        let axis = Axis::new(scale, "", |value| value.to_string());
        let words: Vec<&str> = axis.ticks.iter().map(|(_, words)| words.as_str()).collect();
        assert_eq!(words, ["0", "2", "4", "6", "8"]);
    }

    #[test]
    fn on_a_logarithmic_axis_equal_factors_are_equally_far() {
        let scale = Scale::Log(1.0, 100.0);
        assert!((scale.place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(scale.place(1e9), 1.0);
        assert_eq!(scale.place(-1.0), 0.0);
    }

    #[test]
    fn each_nine_more_of_a_percentile_takes_the_same_room() {
        let scale = Scale::Percentile(0.999);
        for (quantile, place) in [
            (0.0, 0.0),
            (0.9, 1.0 / 3.0),
            (0.99, 2.0 / 3.0),
            (0.999, 1.0),
        ] {
            assert!((scale.place(quantile) - place).abs() < 1e-9);
            assert!((Scale::quantile(0.999, place) - quantile).abs() < 1e-9);
        }
        let axis = Axis::percentiles(0.999);
        let words: Vec<&str> = axis.ticks.iter().map(|(_, words)| words.as_str()).collect();
        assert_eq!(words, ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
    }
}
