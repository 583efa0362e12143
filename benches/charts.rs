//! The figures as charts: bars with their figures written on them.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{Kind, Row, Table};

/// One kind of figure of one workload.
struct Panel {
    title: String,
    /// Server, and their medians.
    bars: Vec<(String, f64)>,
    /// A tenth is as long a step as ten tenths.
    is_logarithmic: bool,
}

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const OURS: RGBColor = RGBColor(0xd9, 0x5f, 0x02);
const BASELINE: RGBColor = RGBColor(0x66, 0x66, 0x66);
const OTHER: RGBColor = RGBColor(0x9d, 0xb4, 0xc8);

/// All lengths are in pixels.
const COLUMN: i32 = 480;
const BAR: i32 = 22;
const TITLE: i32 = 40;
/// Where bars begin, and how long the longest is; its figure comes after it.
const NAMES: i32 = 180;
const LONGEST: i32 = 200;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a chart of each kind that there are figures for.
pub fn draw(tables: &[Table], out: &Path) -> Result<(), Box<dyn Error>> {
    let panels = |kind, is_logarithmic| -> Vec<Panel> {
        let panels = tables
            .iter()
            .map(|table| Panel::of(table, kind, is_logarithmic));
        panels.filter(|panel| !panel.bars.is_empty()).collect()
    };
    let medians = panels(Kind::P50, true).into_iter();
    let latency: Vec<Panel> = medians
        .zip(panels(Kind::P99, true))
        .flat_map(<[Panel; 2]>::from)
        .collect();
    chart(&out.join("throughput.svg"), &panels(Kind::Rate, false))?;
    chart(&out.join("cpu.svg"), &panels(Kind::Cpu, true))?;
    chart(&out.join("latency.svg"), &latency)?;
    chart(&out.join("memory.svg"), &panels(Kind::PerConnection, true))
}

impl Panel {
    fn of(table: &Table, kind: Kind, is_logarithmic: bool) -> Panel {
        let bar = |row: &Row| Some((row.server.to_owned(), row.summary(kind)?.median));
        Panel {
            title: format!("{}: {}", table.workload, kind.title()),
            bars: table.rows.iter().filter_map(bar).collect(),
            is_logarithmic,
        }
    }

    fn height(&self) -> i32 {
        TITLE + BAR * i32::try_from(self.bars.len()).expect("a few")
    }

    /// The length of a bar.
    fn length(&self, figure: f64) -> i32 {
        let most = self.bars.iter().map(|bar| bar.1).fold(f64::MIN, f64::max);
        let least = self.bars.iter().map(|bar| bar.1).fold(f64::MAX, f64::min);
        let part = if self.is_logarithmic {
            // From the power of ten below the least; what is there has a tenth.
            let decades = |figure: f64| figure.log10() - least.log10().floor() + 0.1;
            decades(figure) / decades(most)
        } else {
            figure / most
        };
        #[expect(clippy::cast_possible_truncation, reason = "pixels")]
        return (part * f64::from(LONGEST)) as i32;
    }

    fn draw(&self, area: &Area<'_>, left: i32, top: i32) -> Result<(), Box<dyn Error>> {
        let text = |size, place| {
            let style = ("sans-serif", size).into_font().color(&INK);
            style.pos(Pos::new(place, VPos::Center))
        };
        let scale = if self.is_logarithmic {
            " (log. scale)"
        } else {
            ""
        };
        let title = format!("{}{scale}", self.title);
        area.draw_text(&title, &text(15, HPos::Left), (left + 10, top + TITLE / 2))?;
        for (number, (server, figure)) in self.bars.iter().enumerate() {
            let top = top + TITLE + BAR * i32::try_from(number)?;
            let (middle, start) = (top + BAR / 2, left + NAMES);
            let end = start + self.length(*figure);
            let bar = Rectangle::new(
                [(start, top + 3), (end, top + BAR - 3)],
                color(server).filled(),
            );
            area.draw(&bar)?;
            area.draw_text(server, &text(13, HPos::Right), (start - 6, middle))?;
            area.draw_text(&short(*figure), &text(13, HPos::Left), (end + 6, middle))?;
        }
        Ok(())
    }
}

/// Draws panels in two columns, if there are any.
fn chart(path: &Path, panels: &[Panel]) -> Result<(), Box<dyn Error>> {
    let heights = panels
        .chunks(2)
        .map(|row| row.iter().map(Panel::height).max().unwrap_or(0));
    let height: i32 = heights.clone().sum::<i32>() + TITLE / 2;
    if panels.is_empty() {
        return Ok(());
    }
    let columns = panels.len().min(2);
    let size = (
        u32::try_from(COLUMN)? * u32::try_from(columns)?,
        u32::try_from(height)?,
    );
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE)?;
        let mut top = 0;
        for (row, height) in panels.chunks(2).zip(heights) {
            for (panel, left) in row.iter().zip([0, COLUMN]) {
                panel.draw(&area, left, top)?;
            }
            top += height;
        }
        area.present()?;
    }
    Ok(std::fs::write(path, text)?)
}

fn color(server: &str) -> RGBColor {
    match server {
        _ if server.starts_with("echoline") => OURS,
        _ if server.starts_with("baseline") => BASELINE,
        _ => OTHER,
    }
}

/// A figure with as many digits as matter.
fn short(figure: f64) -> String {
    match figure {
        1e6.. => format!("{:.1} M", figure / 1e6),
        1e4.. => format!("{:.0} k", figure / 1e3),
        10.0.. => format!("{figure:.0}"),
        _ => format!("{figure:.2}"),
    }
}
