//! Bars from zero, each with its interval.

use super::{
    Axis,
    svg::{Anchor, Svg},
};

const WIDTH: f64 = 800.0;
const LEFT: f64 = 160.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 8.0;
const ROW: f64 = 28.0;
const BAR: f64 = 16.0;

/// A bar.
pub(in super::super) struct Bar {
    pub(in super::super) name: String,
    /// The class that has its colour.
    pub(in super::super) class: String,
    pub(in super::super) value: f64,
    pub(in super::super) interval: Option<(f64, f64)>,
    /// Written at its end.
    pub(in super::super) words: String,
}

/// Bars in one plot.
pub(in super::super) struct Bars {
    pub(in super::super) title: String,
    pub(in super::super) axis: Axis,
    pub(in super::super) bars: Vec<Bar>,
}

impl Bars {
    pub(in super::super) fn draw(&self) -> String {
        let bottom = TOP + ROW * self.bars.len() as f64;
        let mut svg = Svg::new(WIDTH, bottom + 42.0);
        let place = |value: f64| LEFT + self.axis.scale.place(value) * (WIDTH - RIGHT - LEFT);
        for (value, words) in &self.axis.ticks {
            svg.line((place(*value), TOP), (place(*value), bottom), "grid");
            svg.text(
                (place(*value), bottom + 16.0),
                Anchor::Middle,
                "tick",
                words,
            );
        }
        for (index, bar) in self.bars.iter().enumerate() {
            let middle = TOP + ROW * (index as f64 + 0.5);
            svg.text(
                (LEFT - 10.0, middle + 4.0),
                Anchor::End,
                "tick strong",
                &bar.name,
            );
            svg.rect(
                (LEFT, middle - BAR / 2.0),
                (place(bar.value) - LEFT, BAR),
                &format!("bar {}", bar.class),
            );
            let mut end = place(bar.value);
            if let Some((low, high)) = bar.interval {
                svg.line((place(low), middle), (place(high), middle), "error");
                for at in [low, high] {
                    svg.line(
                        (place(at), middle - 4.0),
                        (place(at), middle + 4.0),
                        "error",
                    );
                }
                end = end.max(place(high));
            }
            svg.text(
                (end + 8.0, middle + 4.0),
                Anchor::Start,
                "tick strong",
                &bar.words,
            );
        }
        svg.line((LEFT, TOP), (LEFT, bottom), "axis");
        svg.text(
            (f64::midpoint(LEFT, WIDTH - RIGHT), bottom + 36.0),
            Anchor::Middle,
            "label",
            &self.axis.label,
        );
        svg.finish(&self.title)
    }
}
