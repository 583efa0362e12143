//! How a metric grows with the number of connections, a line for each server.

use crate::metric::Metric;
use crate::report::Table;
use crate::summary::Summary;

use super::axis::{Axis, label};
use super::bars::draw_legend;
use super::canvas::{Anchor, Canvas, GRID, MUTED, Result, TEXT, server_paint, svg};
use super::{HEADER_HEIGHT, Heading, WIDTH};

/// One metric.
pub struct Panel {
    pub title: &'static str,
    pub connections: &'static str,
    pub unit: &'static str,
    pub lines: Vec<Line>,
}

pub struct Line {
    server: &'static str,
    /// Connections and values.
    points: Vec<(f64, Summary)>,
}

const PANEL_WIDTH: i32 = WIDTH / 3;
const PANEL_HEIGHT: i32 = 330;
const LEGEND_LINE: i32 = 20;
const LEFT: i32 = 56;
const RIGHT: i32 = PANEL_WIDTH - 16;
const TOP: i32 = 60;
const BOTTOM: i32 = PANEL_HEIGHT - 56;

impl Line {
    /// The points of `server` in all tables with a number of connections. Values are
    /// multiplied by `factor`.
    pub fn new(tables: &[Table], server: &'static str, metric: Metric, factor: f64) -> Line {
        let point = |table: &Table| {
            let row = table.rows.iter().find(|row| row.server == server)?;
            let connections = row.summary(Metric::Connections)?.median;
            Some((connections, row.summary(metric)?.times(factor)))
        };
        Line {
            server,
            points: tables.iter().filter_map(point).collect(),
        }
    }

    /// Lines stand a few pixels apart, so that equal values can be told apart.
    fn draw(&self, canvas: &Canvas<'_>, x: &Axis, y: &Axis, shift: i32) -> Result<()> {
        let paint = server_paint(self.server);
        let at = |connections, value| (x.position(connections) + shift, y.position(value));
        let medians = self.points.iter().map(|(x, value)| at(*x, value.median));
        canvas.line(paint, 2, medians.clone().collect())?;
        for (connections, value) in &self.points {
            let ends = [value.lower_quartile, value.upper_quartile];
            canvas.line(paint, 1, ends.map(|end| at(*connections, end)).to_vec())?;
        }
        medians
            .clone()
            .try_for_each(|place| canvas.dot(paint, place))
    }
}

impl Panel {
    pub fn has_points(&self) -> bool {
        self.lines.iter().any(|line| !line.points.is_empty())
    }

    fn draw(&self, canvas: &Canvas<'_>, left: i32, top: i32) -> Result<()> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let connections: Vec<f64> = points().map(|point| point.0).collect();
        let values = points().flat_map(|(_, value)| [value.lower_quartile, value.upper_quartile]);
        let x = Axis::new(&connections, (left + LEFT, left + RIGHT));
        let y = Axis::new(&values.collect::<Vec<_>>(), (top + BOTTOM, top + TOP));
        canvas.text(self.title, 15, TEXT, Anchor::Left, (left + 12, top + 17))?;
        let unit = format!("{} (log scale)", self.unit);
        canvas.text(&unit, 12, MUTED, Anchor::Left, (left + 12, top + 40))?;
        for tick in y.ticks() {
            let at = y.position(tick);
            canvas.line(GRID, 1, vec![(x.ends.0, at), (x.ends.1, at)])?;
            canvas.text(&label(tick), 12, MUTED, Anchor::Right, (x.ends.0 - 8, at))?;
        }
        for tick in x.ticks() {
            let at = x.position(tick);
            canvas.line(GRID, 1, vec![(at, y.ends.0), (at, y.ends.1)])?;
            canvas.text(&label(tick), 12, MUTED, Anchor::Center, (at, y.ends.0 + 13))?;
        }
        let unit = format!("{} (log scale)", self.connections);
        let place = (i32::midpoint(x.ends.0, x.ends.1), y.ends.0 + 32);
        canvas.text(&unit, 12, MUTED, Anchor::Center, place)?;
        for (number, line) in self.lines.iter().enumerate() {
            line.draw(canvas, &x, &y, 5 * (number as i32 - 1))?;
        }
        Ok(())
    }
}

/// Draws the panels side by side, and a legend of the servers.
pub fn draw(heading: &Heading<'_>, panels: &[Panel], servers: &[&str]) -> Result<String> {
    let legend_top = HEADER_HEIGHT + PANEL_HEIGHT;
    let height = legend_top + LEGEND_LINE * (servers.len() as i32 + 1);
    svg((WIDTH, height), |canvas| {
        heading.draw(canvas)?;
        for (number, panel) in panels.iter().enumerate() {
            panel.draw(canvas, PANEL_WIDTH * number as i32, HEADER_HEIGHT)?;
        }
        for (number, server) in servers.iter().enumerate() {
            let y = legend_top + LEGEND_LINE * number as i32 + 10;
            draw_legend(canvas, server, (12, y))?;
        }
        Ok(())
    })
}
