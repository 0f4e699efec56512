//! Lines over a common axis, each named at its end.

use super::{
    Axis,
    svg::{Anchor, Svg},
};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 48.0;
/// Between the names at the lines' ends.
const NAME: f64 = 15.0;

/// A point of a line, and the interval in which it is.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Point {
    pub(in super::super) x: f64,
    pub(in super::super) y: f64,
    pub(in super::super) interval: Option<(f64, f64)>,
}

/// A line.
#[derive(Clone, Debug)]
pub(in super::super) struct Series {
    pub(in super::super) name: String,
    /// The class that has its colour.
    pub(in super::super) class: String,
    pub(in super::super) points: Vec<Point>,
}

/// Lines in one plot.
pub(in super::super) struct Lines {
    pub(in super::super) title: String,
    pub(in super::super) x: Axis,
    pub(in super::super) y: Axis,
    pub(in super::super) series: Vec<Series>,
    /// Whether each point was measured by itself; else they are many and make a curve.
    pub(in super::super) dots: bool,
}

impl Lines {
    pub(in super::super) fn draw(&self) -> String {
        let mut svg = Svg::new(WIDTH, HEIGHT);
        self.frame(&mut svg);
        let mut ends = Vec::new();
        for series in &self.series {
            let places: Vec<(f64, f64)> = series
                .points
                .iter()
                .map(|point| self.place(point.x, point.y))
                .collect();
            svg.polyline(&places, &format!("series {}", series.class));
            for (point, at) in series.points.iter().zip(&places).filter(|_| self.dots) {
                if let Some((low, high)) = point.interval {
                    let ((_, low), (_, high)) =
                        (self.place(point.x, low), self.place(point.x, high));
                    svg.line(
                        (at.0, low),
                        (at.0, high),
                        &format!("whisker {}", series.class),
                    );
                }
                svg.dot(*at, 3.2, &format!("dot {}", series.class));
            }
            if let Some(end) = places.last() {
                ends.push((*end, series));
            }
        }
        names(&mut svg, ends);
        svg.finish(&self.title)
    }

    fn frame(&self, svg: &mut Svg) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, words) in &self.y.ticks {
            let y = bottom - self.y.scale.place(*value) * (bottom - TOP);
            svg.line((LEFT, y), (right, y), "grid");
            svg.text((LEFT - 8.0, y + 4.0), Anchor::End, "tick", words);
        }
        for (value, words) in &self.x.ticks {
            let x = LEFT + self.x.scale.place(*value) * (right - LEFT);
            svg.line((x, TOP), (x, bottom), "grid");
            svg.text((x, bottom + 18.0), Anchor::Middle, "tick", words);
        }
        svg.line((LEFT, bottom), (right, bottom), "axis");
        svg.text(
            (f64::midpoint(LEFT, right), HEIGHT - 8.0),
            Anchor::Middle,
            "label",
            &self.x.label,
        );
        svg.text(
            (LEFT - 8.0, TOP - 14.0),
            Anchor::Start,
            "label",
            &self.y.label,
        );
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        (
            LEFT + self.x.scale.place(x) * (right - LEFT),
            bottom - self.y.scale.place(y) * (bottom - TOP),
        )
    }
}

/// Writes each name beside the end of its line, apart from the others.
fn names(svg: &mut Svg, mut ends: Vec<((f64, f64), &Series)>) {
    ends.sort_by(|((_, a), _), ((_, b), _)| a.total_cmp(b));
    let heights = apart(ends.iter().map(|((_, y), _)| *y).collect());
    let x = WIDTH - RIGHT + 16.0;
    for (((end, y), series), height) in ends.into_iter().zip(heights) {
        svg.polyline(
            &[(end + 4.0, y), (x - 4.0, height)],
            &format!("leader {}", series.class),
        );
        svg.text(
            (x, height + 4.0),
            Anchor::Start,
            &format!("name {}", series.class),
            &series.name,
        );
    }
}

/// Moves sorted heights so that names do not overlap and stay inside.
fn apart(mut heights: Vec<f64>) -> Vec<f64> {
    let mut least = TOP - NAME;
    for height in &mut heights {
        *height = height.max(least + NAME);
        least = *height;
    }
    let mut most = HEIGHT - BOTTOM + NAME;
    for height in heights.iter_mut().rev() {
        *height = height.min(most - NAME);
        most = *height;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_lines_that_end_at_one_place_are_apart_and_inside() {
        let heights = apart(vec![300.0, 301.0, 302.0, 310.0, 311.9]);
        assert!(
            heights
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= NAME - 1e-9),
            "{heights:?}"
        );
        assert!(
            heights
                .iter()
                .all(|height| (TOP..=HEIGHT - BOTTOM).contains(height)),
            "{heights:?}"
        );
    }
}
