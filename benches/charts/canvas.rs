//! An SVG drawing in the colours of the charts, light and dark.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{Pos, VPos};

/// On which side of its place a text stands.
pub use plotters::style::text_anchor::HPos as Anchor;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A colour on a white page, and the colour in its place on a dark one.
#[derive(Clone, Copy)]
pub struct Paint {
    light: (u8, u8, u8),
    dark: (u8, u8, u8),
}

const fn paint(light: (u8, u8, u8), dark: (u8, u8, u8)) -> Paint {
    Paint { light, dark }
}

pub const BACKGROUND: Paint = paint((0xff, 0xff, 0xff), (0x0d, 0x11, 0x17));
pub const TEXT: Paint = paint((0x1f, 0x23, 0x28), (0xe6, 0xed, 0xf3));
pub const MUTED: Paint = paint((0x59, 0x63, 0x6e), (0x91, 0x98, 0xa1));
pub const GRID: Paint = paint((0xd8, 0xde, 0xe4), (0x30, 0x36, 0x3d));
const ECHOLINE: Paint = paint((0xd9, 0x5f, 0x02), (0xf0, 0x88, 0x3e));
const BASELINE: Paint = paint((0x6e, 0x77, 0x81), (0x8b, 0x94, 0x9e));
const TOKIO: Paint = paint((0x1a, 0x66, 0xc2), (0x58, 0xa6, 0xff));
const OTHER: Paint = paint((0x9d, 0xb4, 0xc8), (0x54, 0x6a, 0x80));

const PAINTS: [Paint; 8] = [
    BACKGROUND, TEXT, MUTED, GRID, ECHOLINE, BASELINE, TOKIO, OTHER,
];

/// The colour of a server in every chart.
pub fn server_paint(server: &str) -> Paint {
    match server {
        "tokio" => TOKIO,
        _ if server.starts_with("echoline") => ECHOLINE,
        _ if server.starts_with("baseline") => BASELINE,
        _ => OTHER,
    }
}

/// All lengths are in pixels.
pub type Point = (i32, i32);

pub struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// The SVG text of a drawing.
pub fn svg(size: Point, draw: impl FnOnce(&Canvas<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    let size = (u32::try_from(size.0)?, u32::try_from(size.1)?);
    let canvas = Canvas(SVGBackend::with_string(&mut text, size).into_drawing_area());
    canvas.0.fill(&rgb(BACKGROUND))?;
    draw(&canvas)?;
    canvas.0.present()?;
    drop(canvas); // Ends the borrow of `text`.
    Ok(with_dark_colors(&text))
}

/// Adds a style that takes effect where the reader prefers dark pages. It
/// overrides the attributes that plotters writes.
fn with_dark_colors(svg: &str) -> String {
    let rule = |paint: &Paint| {
        let (light, dark) = (hex(paint.light), hex(paint.dark));
        let part = |attribute| format!("[{attribute}=\"{light}\"]{{{attribute}:{dark}}}");
        part("fill") + &part("stroke")
    };
    let rules: Vec<String> = PAINTS.iter().map(rule).collect();
    let rules = rules.join("\n");
    let style = format!("<style>@media (prefers-color-scheme:dark){{\n{rules}\n}}</style>\n<rect");
    svg.replacen("<rect", &style, 1)
}

fn hex((red, green, blue): (u8, u8, u8)) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

fn rgb(paint: Paint) -> RGBColor {
    RGBColor(paint.light.0, paint.light.1, paint.light.2)
}

impl Canvas<'_> {
    /// Writes `text` in the middle of the height of `place`.
    pub fn text(
        &self,
        text: &str,
        size: i32,
        paint: Paint,
        anchor: Anchor,
        place: Point,
    ) -> Result<()> {
        let style = ("sans-serif", size).into_font().color(&rgb(paint));
        let style = style.pos(Pos::new(anchor, VPos::Center));
        Ok(self.0.draw_text(text, &style, place)?)
    }

    pub fn rectangle(&self, paint: Paint, corners: [Point; 2]) -> Result<()> {
        Ok(self.0.draw(&Rectangle::new(corners, rgb(paint).filled()))?)
    }

    pub fn line(&self, paint: Paint, width: u32, points: Vec<Point>) -> Result<()> {
        let style = rgb(paint).stroke_width(width);
        Ok(self.0.draw(&PathElement::new(points, style))?)
    }

    pub fn dot(&self, paint: Paint, center: Point) -> Result<()> {
        Ok(self.0.draw(&Circle::new(center, 4, rgb(paint).filled()))?)
    }
}
