//! Ratios as dots, their intervals as whiskers, beside a line at one.

use super::{
    Axis,
    svg::{Anchor, Svg},
};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 400.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 10.0;
const ROW: f64 = 24.0;

/// A ratio.
pub(in super::super) struct Row {
    pub(in super::super) name: String,
    /// The class that has its colour.
    pub(in super::super) class: String,
    /// None: there is none, and `words` say why.
    pub(in super::super) value: Option<f64>,
    pub(in super::super) interval: Option<(f64, f64)>,
    /// Written beside.
    pub(in super::super) words: String,
    /// Whether a thin line parts it from the row above.
    pub(in super::super) begins: bool,
}

/// Ratios in one plot.
pub(in super::super) struct Whiskers {
    pub(in super::super) title: String,
    pub(in super::super) axis: Axis,
    pub(in super::super) rows: Vec<Row>,
    /// Whether what is left of one is where all should be.
    pub(in super::super) left_is_good: bool,
}

impl Whiskers {
    pub(in super::super) fn draw(&self) -> String {
        let bottom = TOP + ROW * self.rows.len() as f64;
        let mut svg = Svg::new(WIDTH, bottom + 42.0);
        let right = WIDTH - RIGHT;
        let place = |value: f64| LEFT + self.axis.scale.place(value) * (right - LEFT);
        if self.left_is_good {
            svg.rect((LEFT, TOP), (place(1.0) - LEFT, bottom - TOP), "good");
        }
        for (value, words) in &self.axis.ticks {
            svg.line((place(*value), TOP), (place(*value), bottom), "grid");
            svg.text(
                (place(*value), bottom + 16.0),
                Anchor::Middle,
                "tick",
                words,
            );
        }
        svg.line((place(1.0), TOP), (place(1.0), bottom), "bound");
        for (index, row) in self.rows.iter().enumerate() {
            let middle = TOP + ROW * (index as f64 + 0.5);
            if row.begins && index > 0 {
                svg.line(
                    (0.0, middle - ROW / 2.0),
                    (WIDTH, middle - ROW / 2.0),
                    "grid",
                );
            }
            svg.text(
                (LEFT - 12.0, middle + 4.0),
                Anchor::End,
                "tick strong",
                &row.name,
            );
            svg.text(
                (right + 12.0, middle + 4.0),
                Anchor::Start,
                "tick strong",
                &row.words,
            );
            let Some(value) = row.value else {
                continue;
            };
            if let Some((low, high)) = row.interval {
                svg.line(
                    (place(low), middle),
                    (place(high), middle),
                    &format!("whisker {}", row.class),
                );
                for at in [low, high] {
                    svg.line(
                        (place(at), middle - 4.0),
                        (place(at), middle + 4.0),
                        &format!("whisker {}", row.class),
                    );
                }
            }
            svg.dot((place(value), middle), 4.2, &format!("dot {}", row.class));
        }
        svg.text(
            (f64::midpoint(LEFT, right), bottom + 36.0),
            Anchor::Middle,
            "label",
            &self.axis.label,
        );
        svg.finish(&self.title)
    }
}
