//! Plots as SVG, by hand: bars side by side, or lines.

use std::fmt::Write as _;

use crate::report::{Table, short};

/// A plot, drawn by [`Plot::svg`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plot {
    /// Becomes part of the file's name.
    pub(crate) name: &'static str,
    title: String,
    shape: Shape,
    /// Along the x axis.
    labels: Vec<String>,
    /// One figure for each label, where there is one.
    series: Vec<(String, Vec<Option<f64>>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bars,
    Lines,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
/// Around the area that is drawn into.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 50.0;
/// Of a label's width, what its bars take.
const FILLED: f64 = 0.8;
const STEPS: u32 = 5;
/// Names of series beside each other, and the height of such a line.
const NAMES: usize = 4;
const NAME_HEIGHT: f64 = 18.0;
/// Told apart by the colour-blind, too (Okabe and Ito), and some more.
const COLOURS: [&str; 12] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#999999",
    "#f0e442", "#8c510a", "#762a83", "#40e0d0",
];

impl Plot {
    /// The rows of a table along the x axis, a bar for each column.
    pub(crate) fn bars(name: &'static str, table: &Table) -> Self {
        let of = |n: usize| {
            table.rows.iter().map(move |row| row.cells.get(n).and_then(|cell| cell.value()))
        };
        let columns = table.columns.iter().enumerate();
        Self {
            name,
            title: table.title.clone(),
            shape: Shape::Bars,
            labels: table.rows.iter().map(|row| row.name.clone()).collect(),
            series: columns.map(|(n, column)| ((*column).to_owned(), of(n).collect())).collect(),
        }
    }

    /// The first `count` columns of a table along the x axis, a line for each row.
    pub(crate) fn lines(name: &'static str, table: &Table, count: usize) -> Self {
        let labels = table.columns.iter().take(count);
        let series = table.rows.iter().map(|row| {
            (row.name.clone(), row.cells.iter().take(count).map(|cell| cell.value()).collect())
        });
        Self {
            name,
            title: table.title.clone(),
            shape: Shape::Lines,
            labels: labels.map(|&column| column.to_owned()).collect(),
            series: series.collect(),
        }
    }

    /// A whole SVG document.
    pub(crate) fn svg(&self) -> String {
        let values = self.series.iter().flat_map(|(_, values)| values.iter().flatten());
        let most = values.copied().fold(0.0, f64::max);
        let scale = Scale::up_to(most, self.top());
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        text(&mut svg, (LEFT, 22.0), "start", &self.title);
        for step in 0..=STEPS {
            let value = scale.step * f64::from(step);
            let y = scale.y(value);
            let right = WIDTH - RIGHT;
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ccc\"/>"
            );
            text(&mut svg, (LEFT - 6.0, y + 4.0), "end", &short(value));
        }
        for (n, label) in self.labels.iter().enumerate() {
            text(&mut svg, (self.middle_of(n), HEIGHT - BOTTOM + 20.0), "middle", label);
        }
        let share = (WIDTH - LEFT - RIGHT) / NAMES as f64;
        for (n, (name, values)) in self.series.iter().enumerate() {
            let colour = COLOURS.get(n % COLOURS.len()).copied().unwrap_or("black");
            let (x, y) =
                (LEFT + share * (n % NAMES) as f64, 36.0 + NAME_HEIGHT * (n / NAMES) as f64);
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"
            );
            text(&mut svg, (x + 18.0, y + 10.0), "start", name);
            match self.shape {
                Shape::Bars => self.draw_bars(&mut svg, (n, values), colour, scale),
                Shape::Lines => self.draw_line(&mut svg, values, colour, scale),
            }
        }
        svg + "</svg>\n"
    }

    fn draw_bars(
        &self,
        svg: &mut String,
        (n, values): (usize, &[Option<f64>]),
        colour: &str,
        scale: Scale,
    ) {
        let width = self.label_width() * FILLED / self.series.len().max(1) as f64;
        for (label, value) in values.iter().enumerate() {
            let Some(value) = *value else { continue };
            let x = self.middle_of(label) + width * (n as f64 - self.series.len() as f64 / 2.0);
            // A difference may come out below nothing.
            let top = scale.y(value.max(0.0));
            let height = scale.y(0.0) - top;
            let _ = writeln!(
                svg,
                "<rect class=\"bar\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
                 height=\"{height:.1}\" fill=\"{colour}\"/>"
            );
            text(svg, (x + width / 2.0, top - 4.0), "middle", &short(value));
        }
    }

    fn draw_line(&self, svg: &mut String, values: &[Option<f64>], colour: &str, scale: Scale) {
        let known = values.iter().enumerate().filter_map(|(n, value)| Some((n, (*value)?)));
        let points: Vec<_> = known.map(|(n, v)| (self.middle_of(n), scale.y(v.max(0.0)))).collect();
        let joined: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            joined.join(" ")
        );
        for (x, y) in points {
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }

    /// Below the names of the series.
    fn top(&self) -> f64 {
        TOP + NAME_HEIGHT * (self.series.len().saturating_sub(1) / NAMES) as f64
    }

    fn label_width(&self) -> f64 {
        (WIDTH - LEFT - RIGHT) / self.labels.len().max(1) as f64
    }

    fn middle_of(&self, label: usize) -> f64 {
        LEFT + self.label_width() * (label as f64 + 0.5)
    }
}

/// From 0 to five steps, each of them 1, 2 or 5 times a power of ten.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    step: f64,
    /// Where the last step is drawn.
    top: f64,
}

impl Scale {
    fn up_to(most: f64, top: f64) -> Self {
        let least = most / f64::from(STEPS);
        if !(least.is_finite() && least > 0.0) {
            return Self { step: 1.0, top };
        }
        let power = 10_f64.powf(least.log10().floor());
        let step = [1.0, 2.0, 5.0].map(|n| n * power).into_iter().find(|&step| step >= least);
        Self { step: step.unwrap_or(power * 10.0), top }
    }

    fn y(self, value: f64) -> f64 {
        let height = HEIGHT - self.top - BOTTOM;
        self.top + height * (1.0 - value / (self.step * f64::from(STEPS)))
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;

    fn table() -> Table {
        let mut table = Table::new("ns a frame, <here> & now", ["tcx", "generic"]);
        table.rows.push(Row::new("a reply", [Some(55.0), Some(60.5)]));
        table.rows.push(Row::new("TCP", [Some(-0.25), None]));
        table
    }

    fn count(svg: &str, part: &str) -> usize {
        svg.matches(part).count()
    }

    #[test]
    fn bars_show_every_series_and_every_figure() {
        let svg = Plot::bars("cost", &table()).svg();
        for named in [">tcx<", ">generic<", ">a reply<", ">TCP<", ">55<", ">60.5<", ">-0.25<"] {
            assert_eq!(count(&svg, named), 1, "{named} in {svg}");
        }
        assert_eq!(count(&svg, "class=\"bar\""), 3, "{svg}");
        assert!(!svg.contains("height=\"-"), "{svg}");
    }

    #[test]
    fn lines_show_every_series_and_nothing_of_other_columns() {
        let svg = Plot::lines("entries", &table(), 1).svg();
        assert_eq!((count(&svg, "<polyline"), count(&svg, "<circle")), (2, 2), "{svg}");
        assert!(svg.contains(">a reply<") && svg.contains(">TCP<"), "{svg}");
        assert!(!svg.contains(">generic<"), "{svg}");
    }

    #[test]
    fn text_is_escaped() {
        let svg = Plot::bars("cost", &table()).svg();
        assert!(svg.contains("ns a frame, &lt;here&gt; &amp; now"), "{svg}");
    }

    #[test]
    fn the_scale_has_room_for_the_largest_figure() {
        for most in [0.003, 0.97, 1.0, 4.9, 5.1, 99.0, 620.0, 12_345.0] {
            let scale = Scale::up_to(most, TOP);
            let end = scale.step * f64::from(STEPS);
            assert!(most <= end * 1.000_001 && end <= most * 2.6, "{most}: 0 to {end}");
            assert!(scale.y(most) >= TOP - 0.01 && scale.y(0.0) <= HEIGHT - BOTTOM + 0.01);
        }
        assert_eq!(Scale::up_to(0.0, TOP), Scale { step: 1.0, top: TOP });
    }
}
