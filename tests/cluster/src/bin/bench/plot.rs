//! Cost against the size of the cluster, as an SVG: time and bytes, both axes logarithmic.

use std::fmt::Write;

use super::requests::{At, Row};

/// Which rows are drawn, by the beginning of their names, and how.
const LINES: [(&str, &str, &str); 4] = [
    ("check-in that", "check-in", "#1b7837"),
    ("denied", "denied pre-reboot", "#762a83"),
    ("granted pre-reboot of", "granted pre-reboot, empty node", "#2166ac"),
    ("for comparison", "for comparison: one list of all Nodes", "#b2182b"),
];

const WIDTH: f64 = 430.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;

/// One of the two drawings.
struct Panel<'a> {
    all: &'a [At],
    title: &'a str,
    offset: f64,
    value: fn(&Row) -> f64,
    /// Exponents of ten at the ends of the axes.
    across: (f64, f64),
    up: (f64, f64),
}

/// The whole drawing.
pub(super) fn of(all: &[At]) -> String {
    let panel = |title, offset, value: fn(&Row) -> f64| {
        let values = || all.iter().flat_map(|at| LINES.iter().map(|(row, ..)| value(find(at, row))));
        let nodes = || all.iter().map(|at| at.nodes as f64);
        Panel { all, title, offset, value, across: decades(nodes()), up: decades(values()) }
    };
    let panels =
        [panel("milliseconds a request (median)", 0.0, Row::median), panel("bytes from the API server a request", WIDTH + 90.0, bytes)];
    let (width, height) = (2.0 * (WIDTH + 90.0), HEIGHT + TOP + 60.0 + 18.0 * LINES.len() as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    panels.iter().for_each(|panel| panel.draw(&mut svg));
    for (number, (_, name, colour)) in LINES.iter().enumerate() {
        let y = TOP + HEIGHT + 58.0 + 18.0 * number as f64;
        line(&mut svg, (LEFT, y - 4.0), (LEFT + 24.0, y - 4.0), &format!("stroke=\"{colour}\" stroke-width=\"2\""));
        text(&mut svg, (LEFT + 32.0, y), "start", name);
    }
    svg + "</svg>\n"
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String) {
        text(svg, (self.offset + LEFT, TOP - 16.0), "start", self.title);
        for exponent in whole(self.up) {
            let y = self.y(10f64.powi(exponent));
            line(svg, (self.offset + LEFT, y), (self.offset + LEFT + WIDTH, y), GRID);
            text(svg, (self.offset + LEFT - 6.0, y + 4.0), "end", &join_names(exponent));
        }
        for exponent in whole(self.across) {
            let x = self.x(10f64.powi(exponent));
            line(svg, (x, TOP), (x, TOP + HEIGHT), GRID);
            text(svg, (x, TOP + HEIGHT + 16.0), "middle", &join_names(exponent));
        }
        text(svg, (self.offset + LEFT + WIDTH / 2.0, TOP + HEIGHT + 34.0), "middle", "nodes");
        for (row, _, colour) in LINES {
            let points: Vec<(f64, f64)> =
                self.all.iter().map(|at| (self.x(at.nodes as f64), self.y((self.value)(find(at, row))))).collect();
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(svg, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>", path.join(" "));
            for (x, y) in points {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
    }

    fn x(&self, nodes: f64) -> f64 {
        self.offset + LEFT + WIDTH * share(nodes, self.across)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + HEIGHT * (1.0 - share(value, self.up))
    }
}

fn bytes(row: &Row) -> f64 {
    row.bytes as f64
}

fn find<'a>(at: &'a At, beginning: &str) -> &'a Row {
    at.rows.iter().find(|row| row.what.starts_with(beginning)).expect("a row of that name")
}

/// The powers of ten around all values; what is less than one of them cannot be drawn, and is not there.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let exponents = values.map(|value| value.max(0.1).log10());
    let (low, high) = exponents.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    (low.floor(), high.ceil().max(low.floor() + 1.0))
}

fn share(value: f64, (low, high): (f64, f64)) -> f64 {
    (value.max(0.1).log10() - low) / (high - low)
}

fn whole((low, high): (f64, f64)) -> std::ops::RangeInclusive<i32> {
    low as i32..=high as i32
}

fn join_names(exponent: i32) -> String {
    match exponent {
        6.. => format!("{} M", 10u64.pow(exponent.unsigned_abs() - 6)),
        3.. => format!("{},000", 10u64.pow(exponent.unsigned_abs() - 3)),
        0.. => 10u64.pow(exponent.unsigned_abs()).to_string(),
        _ => format!("{}", 10f64.powi(exponent)),
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let _ = writeln!(svg, "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style}/>", from.0, from.1, to.0, to.1);
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>", at.0, at.1);
}

const GRID: &str = "stroke=\"#ddd\"";
