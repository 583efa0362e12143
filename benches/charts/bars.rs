//! Bars of ratios to a baseline, from the line at 1.

use crate::markdown;
use crate::metric::Metric;
use crate::report::{Row, Table};
use crate::servers::description;
use crate::summary::Summary;

use super::axis::{Axis, label};
use super::canvas::{Anchor, Canvas, GRID, MUTED, Result, TEXT, server_paint, svg};
use super::{HEADER_HEIGHT, Heading, WIDTH};

/// One workload.
pub struct Panel {
    title: String,
    baseline: &'static str,
    bars: Vec<Bar>,
}

struct Bar {
    server: &'static str,
    /// `None` if the server failed.
    ratio: Option<Summary>,
}

const COLUMN_WIDTH: i32 = WIDTH / 2;
const BAR_HEIGHT: i32 = 20;
const TITLE_HEIGHT: i32 = 34;
const AXIS_HEIGHT: i32 = 46;
const LEGEND_LINE: i32 = 19;
/// Where the bars are; to the left are the servers, to the right the numbers.
const PLOT: (i32, i32) = (184, 414);

impl Panel {
    /// `None` if the metric was not measured.
    pub fn new(table: &Table, metric: Metric) -> Option<Panel> {
        let reference = table.rows.iter().find(|row| row.server == table.baseline)?;
        let bar = |row: &Row| {
            let ratio = row.ratio(metric, reference);
            (ratio.is_some() || row.failure.is_some()).then_some(Bar {
                server: row.server,
                ratio: ratio.filter(|_| row.failure.is_none()),
            })
        };
        reference.has(metric).then(|| Panel {
            title: table.workload.clone(),
            baseline: table.baseline,
            bars: table.rows.iter().filter_map(bar).collect(),
        })
    }

    fn height(&self) -> i32 {
        TITLE_HEIGHT + BAR_HEIGHT * self.bars.len() as i32 + AXIS_HEIGHT
    }

    fn draw(&self, canvas: &Canvas<'_>, axis: &Axis, left: i32, top: i32) -> Result<()> {
        let place = (left + 12, top + TITLE_HEIGHT / 2);
        canvas.text(&self.title, 15, TEXT, Anchor::Left, place)?;
        let top = top + TITLE_HEIGHT;
        let bottom = top + BAR_HEIGHT * self.bars.len() as i32;
        for tick in axis.ticks() {
            let x = left + axis.position(tick);
            canvas.line(GRID, 1, vec![(x, top), (x, bottom + 4)])?;
            canvas.text(&label(tick), 12, MUTED, Anchor::Center, (x, bottom + 13))?;
        }
        let unit = format!("× {} (log scale)", self.baseline);
        let place = (left + i32::midpoint(PLOT.0, PLOT.1), bottom + 29);
        canvas.text(&unit, 12, MUTED, Anchor::Center, place)?;
        for (number, bar) in self.bars.iter().enumerate() {
            bar.draw(canvas, axis, left, top + BAR_HEIGHT * number as i32)?;
        }
        let one = left + axis.position(1.0);
        canvas.line(MUTED, 1, vec![(one, top - 2), (one, bottom + 4)])
    }
}

impl Bar {
    fn draw(&self, canvas: &Canvas<'_>, axis: &Axis, left: i32, top: i32) -> Result<()> {
        let middle = top + BAR_HEIGHT / 2;
        let place = (left + PLOT.0 - 8, middle);
        canvas.text(self.server, 13, TEXT, Anchor::Right, place)?;
        let place = (left + PLOT.1 + 10, middle);
        let Some(ratio) = self.ratio else {
            return canvas.text("failed", 13, MUTED, Anchor::Left, place);
        };
        let x = |value| left + axis.position(value);
        let (one, end) = (x(1.0), x(ratio.median));
        // At least two pixels, so that a ratio of 1 can be seen.
        let (from, to) = (one.min(end - 1), one.max(end + 1));
        let corners = [(from, top + 4), (to, top + BAR_HEIGHT - 4)];
        canvas.rectangle(server_paint(self.server), corners)?;
        let (lower, upper) = (x(ratio.lower_quartile), x(ratio.upper_quartile));
        if ratio.lower_quartile < ratio.upper_quartile {
            canvas.line(TEXT, 1, vec![(lower, middle), (upper, middle)])?;
            for x in [lower, upper] {
                canvas.line(TEXT, 1, vec![(x, middle - 4), (x, middle + 4)])?;
            }
        }
        canvas.text(&markdown::ratio(ratio), 13, TEXT, Anchor::Left, place)
    }
}

/// Draws the panels in two columns, with the same axis, and a legend of the servers.
pub fn draw(heading: &Heading<'_>, panels: &[Panel]) -> Result<String> {
    let bars = panels.iter().flat_map(|panel| &panel.bars);
    let ratios = bars.filter_map(|bar| bar.ratio);
    let values = ratios.flat_map(|ratio| [ratio.lower_quartile, ratio.upper_quartile]);
    // There is an axis on both sides of the line at 1.
    let axis = Axis::new(&values.chain([0.9, 1.1]).collect::<Vec<_>>(), PLOT);
    let rows = || panels.chunks(2);
    let row_height = |row: &[Panel]| row.iter().map(Panel::height).max().unwrap_or(0);
    let servers = servers(panels);
    let legend_top = HEADER_HEIGHT + rows().map(row_height).sum::<i32>();
    let legend_rows = servers.len().div_ceil(2) as i32;
    let height = legend_top + LEGEND_LINE * (legend_rows + 1);
    svg((WIDTH, height), |canvas| {
        heading.draw(canvas)?;
        let mut top = HEADER_HEIGHT;
        for row in rows() {
            for (panel, left) in row.iter().zip([0, COLUMN_WIDTH]) {
                panel.draw(canvas, &axis, left, top)?;
            }
            top += row_height(row);
        }
        for (number, server) in servers.iter().enumerate() {
            let (column, line) = (number as i32 / legend_rows, number as i32 % legend_rows);
            let place = (
                column * COLUMN_WIDTH + 12,
                legend_top + LEGEND_LINE * line + 10,
            );
            draw_legend(canvas, server, place)?;
        }
        Ok(())
    })
}

/// The servers of all panels, each once, in the order of the panels.
fn servers(panels: &[Panel]) -> Vec<&'static str> {
    let mut servers = Vec::new();
    for bar in panels.iter().flat_map(|panel| &panel.bars) {
        if !servers.contains(&bar.server) {
            servers.push(bar.server);
        }
    }
    servers
}

/// A line that says what a server is.
pub fn draw_legend(canvas: &Canvas<'_>, server: &str, (x, y): (i32, i32)) -> Result<()> {
    canvas.rectangle(server_paint(server), [(x, y - 5), (x + 10, y + 5)])?;
    let text = format!("{server}: {}", description(server));
    canvas.text(&text, 12, TEXT, Anchor::Left, (x + 18, y))
}
