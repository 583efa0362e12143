//! Bar charts of the medians, as SVG.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::metric::Metric;
use crate::report::{Row, Table};

/// One metric of one workload.
struct Panel {
    title: String,
    /// Servers and their medians.
    bars: Vec<(&'static str, f64)>,
    scale: Scale,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

const TEXT_COLOR: RGBColor = RGBColor(0x22, 0x22, 0x22);
const ECHOLINE_COLOR: RGBColor = RGBColor(0xd9, 0x5f, 0x02);
const BASELINE_COLOR: RGBColor = RGBColor(0x66, 0x66, 0x66);
const OTHER_COLOR: RGBColor = RGBColor(0x9d, 0xb4, 0xc8);

// All lengths are in pixels.
const COLUMN_WIDTH: i32 = 480;
const BAR_HEIGHT: i32 = 22;
const TITLE_HEIGHT: i32 = 40;
const LABEL_WIDTH: i32 = 180;
const MAX_BAR_LENGTH: i32 = 200;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes one chart per metric that was measured.
pub fn draw(tables: &[Table], out: &Path) -> Result<(), Box<dyn Error>> {
    let panels = |metric, scale| -> Vec<Panel> {
        let panels = tables.iter().map(|table| Panel::new(table, metric, scale));
        panels.filter(|panel| !panel.bars.is_empty()).collect()
    };
    let latency: Vec<Panel> = panels(Metric::P50, Scale::Logarithmic)
        .into_iter()
        .zip(panels(Metric::P99, Scale::Logarithmic))
        .flat_map(<[Panel; 2]>::from)
        .collect();
    let memory = panels(Metric::MemoryPerConnection, Scale::Logarithmic);
    let charts = [
        ("throughput.svg", panels(Metric::Rate, Scale::Linear)),
        ("cpu.svg", panels(Metric::CpuTime, Scale::Logarithmic)),
        ("latency.svg", latency),
        ("memory.svg", memory),
    ];
    for (name, panels) in charts {
        if !panels.is_empty() {
            fs::write(out.join(name), svg(&panels)?)?;
        }
    }
    Ok(())
}

/// Draws the panels in two columns.
fn svg(panels: &[Panel]) -> Result<String, Box<dyn Error>> {
    let rows = || panels.chunks(2);
    let row_height = |row: &[Panel]| row.iter().map(Panel::height).max().unwrap_or(0);
    let height = rows().map(row_height).sum::<i32>() + TITLE_HEIGHT / 2;
    let width = COLUMN_WIDTH * i32::try_from(panels.len().min(2))?;
    let size = (u32::try_from(width)?, u32::try_from(height)?);
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
    area.fill(&WHITE)?;
    let mut top = 0;
    for row in rows() {
        for (panel, left) in row.iter().zip([0, COLUMN_WIDTH]) {
            panel.draw(&area, left, top)?;
        }
        top += row_height(row);
    }
    area.present()?;
    drop(area); // Ends the borrow of `text`.
    Ok(text)
}

impl Panel {
    fn new(table: &Table, metric: Metric, scale: Scale) -> Panel {
        let bar = |row: &Row| Some((row.server, row.summary(metric)?.median));
        Panel {
            title: format!("{}: {}", table.workload, metric.title()),
            bars: table.rows.iter().filter_map(bar).collect(),
            scale,
        }
    }

    fn height(&self) -> i32 {
        TITLE_HEIGHT + BAR_HEIGHT * i32::try_from(self.bars.len()).expect("few servers")
    }

    fn bar_length(&self, value: f64) -> i32 {
        let max = self.bars.iter().map(|bar| bar.1).fold(f64::MIN, f64::max);
        let min = self.bars.iter().map(|bar| bar.1).fold(f64::MAX, f64::min);
        let fraction = match self.scale {
            Scale::Linear => value / max,
            Scale::Logarithmic => {
                // The axis begins a tenth of a decade below the power of ten
                // under the minimum, so that every bar is visible.
                let decades = |value: f64| value.log10() - min.log10().floor() + 0.1;
                decades(value) / decades(max)
            }
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_BAR_LENGTH")]
        return (fraction * f64::from(MAX_BAR_LENGTH)) as i32;
    }

    fn draw(&self, area: &Area<'_>, left: i32, top: i32) -> Result<(), Box<dyn Error>> {
        let scale = match self.scale {
            Scale::Linear => "",
            Scale::Logarithmic => " (log. scale)",
        };
        let title = format!("{}{scale}", self.title);
        let place = (left + 10, top + TITLE_HEIGHT / 2);
        area.draw_text(&title, &text_style(15, HPos::Left), place)?;
        for (number, (server, value)) in self.bars.iter().enumerate() {
            let top = top + TITLE_HEIGHT + BAR_HEIGHT * i32::try_from(number)?;
            let (middle, start) = (top + BAR_HEIGHT / 2, left + LABEL_WIDTH);
            let end = start + self.bar_length(*value);
            let corners = [(start, top + 3), (end, top + BAR_HEIGHT - 3)];
            area.draw(&Rectangle::new(corners, color(server).filled()))?;
            area.draw_text(server, &text_style(13, HPos::Right), (start - 6, middle))?;
            let style = text_style(13, HPos::Left);
            area.draw_text(&rounded(*value), &style, (end + 6, middle))?;
        }
        Ok(())
    }
}

fn text_style(size: i32, position: HPos) -> TextStyle<'static> {
    let style = ("sans-serif", size).into_font().color(&TEXT_COLOR);
    style.pos(Pos::new(position, VPos::Center))
}

fn color(server: &str) -> RGBColor {
    match server {
        _ if server.starts_with("echoline") => ECHOLINE_COLOR,
        _ if server.starts_with("baseline") => BASELINE_COLOR,
        _ => OTHER_COLOR,
    }
}

/// Shortens a value to fit beside its bar.
fn rounded(value: f64) -> String {
    match value {
        1e6.. => format!("{:.1} M", value / 1e6),
        1e4.. => format!("{:.0} k", value / 1e3),
        10.0.. => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}
