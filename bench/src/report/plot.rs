//! Plots as SVG that stands in the page. Colours come from the page's style sheet, so that they follow its light or dark.

mod axis;
mod bars;
mod lines;
mod svg;
mod whiskers;

pub(super) use axis::{Axis, Scale};
pub(super) use bars::{Bar, Bars};
pub(super) use lines::{Lines, Point, Series};
pub(super) use whiskers::{Row, Whiskers};

/// Text as it stands in HTML and SVG, between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_text_cannot_become_a_tag_or_end_an_attribute() {
        assert_eq!(
            escape("<b a=\"1\" b='2'> & c"),
            "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt; &amp; c"
        );
    }
}
