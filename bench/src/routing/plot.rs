//! Plots as SVG: what users waited for over time, a line for each strategy, and who served.

use super::report::{Report, quantile};
use super::scenario::Scenario;
use super::world::Served;
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const LINES_HEIGHT: f64 = 300.0;
const BAR_HEIGHT: f64 = 18.0;
const WINDOW_S: f64 = 10.0;
const COLOURS: [&str; 9] = [
    "#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999",
    "#7f3c8d",
];

/// A strategy's name and what became of its requests.
pub(crate) type Run = (String, Vec<Served>);

/// The plot of one scenario.
pub(crate) fn svg(scenario: &Scenario, report: &Report, runs: &[Run]) -> String {
    let bars_top = TOP + LINES_HEIGHT + 60.0;
    let height = bars_top + runs.len() as f64 * (BAR_HEIGHT + 6.0) + 40.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(
        &mut out,
        LEFT,
        18.0,
        "start",
        &format!("{}: {}", report.scenario, report.about),
    );
    text(
        &mut out,
        LEFT,
        36.0,
        "start",
        "95th percentile of the wait in ms, by 10 s",
    );
    lines(&mut out, scenario, runs);
    text(&mut out, LEFT, bars_top - 12.0, "start", "who served");
    bars(&mut out, report, bars_top);
    out.push_str("</svg>\n");
    out
}

fn escape(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = escape(words);
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>"
    );
}

/// The 95th percentile of each window that has requests, with the window's middle.
fn series(served: &[Served], duration_s: f64) -> Vec<(f64, f64)> {
    let count = (duration_s / WINDOW_S).ceil().max(1.0) as usize;
    let mut windows = vec![Vec::new(); count];
    for request in served {
        let window = ((request.at_s / WINDOW_S) as usize).min(count - 1);
        windows[window].push(request.waited.as_secs_f64() * 1e3);
    }
    let mut points = Vec::new();
    for (index, window) in windows
        .iter_mut()
        .enumerate()
        .filter(|(_, w)| !w.is_empty())
    {
        window.sort_by(f64::total_cmp);
        points.push((
            (index as f64 + 0.5) * WINDOW_S,
            quantile(window, 0.95).max(1.0),
        ));
    }
    points
}

/// Where seconds and milliseconds lie on the plot; milliseconds on a logarithmic scale.
struct Axes {
    duration_s: f64,
    low: f64,
    high: f64,
}

impl Axes {
    const END: f64 = WIDTH - RIGHT;

    fn of(duration_s: f64, all: &[Vec<(f64, f64)>]) -> Axes {
        let values = || all.iter().flatten().map(|(_, value)| value.log10());
        let low = values().fold(f64::INFINITY, f64::min).floor();
        let high = values()
            .fold(f64::NEG_INFINITY, f64::max)
            .ceil()
            .max(low + 1.0);
        Axes {
            duration_s,
            low,
            high,
        }
    }

    fn x(&self, at_s: f64) -> f64 {
        LEFT + at_s.min(self.duration_s) / self.duration_s * (Axes::END - LEFT)
    }

    fn y(&self, value_ms: f64) -> f64 {
        TOP + (self.high - value_ms.log10()) / (self.high - self.low) * LINES_HEIGHT
    }
}

fn lines(out: &mut String, scenario: &Scenario, runs: &[Run]) {
    let all: Vec<Vec<(f64, f64)>> = runs
        .iter()
        .map(|(_, served)| series(served, scenario.duration_s))
        .collect();
    let axes = Axes::of(scenario.duration_s, &all);
    frame(out, scenario, &axes);
    for (index, ((name, _), points)) in runs.iter().zip(&all).enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let place =
            |(at_s, value): &(f64, f64)| format!("{:.1},{:.1} ", axes.x(*at_s), axes.y(*value));
        let path: String = points.iter().map(place).collect();
        let dash = if index == 0 {
            " stroke-dasharray=\"4 3\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"1.6\"{dash}/>"
        );
        let at = TOP + 12.0 + index as f64 * 18.0;
        let style = format!("stroke=\"{colour}\" stroke-width=\"3\"");
        line(
            out,
            (Axes::END + 10.0, at - 4.0),
            (Axes::END + 28.0, at - 4.0),
            &style,
        );
        text(out, Axes::END + 34.0, at, "start", name);
    }
}

/// The grid, its labels, and the times in which something is other than usual.
fn frame(out: &mut String, scenario: &Scenario, axes: &Axes) {
    for (_, change) in scenario.changes() {
        let from = axes.x(change.at_s);
        let wide = axes.x(change.until_s) - from;
        let _ = writeln!(
            out,
            "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{wide:.1}\" height=\"{LINES_HEIGHT}\" \
             fill=\"#f3e9dc\"/>"
        );
    }
    let mut power = axes.low;
    while power <= axes.high {
        let value = 10f64.powf(power);
        line(
            out,
            (LEFT, axes.y(value)),
            (Axes::END, axes.y(value)),
            "stroke=\"#ddd\"",
        );
        text(
            out,
            LEFT - 6.0,
            axes.y(value) + 4.0,
            "end",
            &format!("{value:.0}"),
        );
        power += 1.0;
    }
    for step in 0..=6 {
        let at_s = scenario.duration_s * f64::from(step) / 6.0;
        text(
            out,
            axes.x(at_s),
            TOP + LINES_HEIGHT + 18.0,
            "middle",
            &format!("{at_s:.0} s"),
        );
    }
}

fn bars(out: &mut String, report: &Report, top: f64) {
    let left = LEFT + 150.0;
    let wide = WIDTH - RIGHT - left;
    for (row, result) in report.results.iter().enumerate() {
        let y = top + row as f64 * (BAR_HEIGHT + 6.0);
        text(out, left - 8.0, y + 13.0, "end", &result.strategy);
        let mut x = left;
        for (index, (id, share)) in result.shares.iter().enumerate() {
            let width = share * wide;
            let colour = COLOURS[(index + 1) % COLOURS.len()];
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" \
                 fill=\"{colour}\" fill-opacity=\"0.55\"/>"
            );
            if width > 60.0 {
                text(
                    out,
                    x + 4.0,
                    y + 13.0,
                    "start",
                    &format!("{id} {:.0}%", share * 100.0),
                );
            }
            x += width;
        }
        let cost = format!("${:.3} per 1000", result.cost_per_thousand);
        text(out, left + wide + 10.0, y + 13.0, "start", &cost);
    }
}
