//! Pure: the `Accept` header, which chooses between the two formats of the metrics
//! (RFC 9110, section 12.5.1).

use super::exposition::Format;

/// The format that a scraper wants which sends these values of `Accept`, if any.
///
/// It is the one with the higher weight, of which its most specific media range has the
/// say. At equal weights `OpenMetrics` has to be named, so that a browser, which takes
/// everything, shows the text. If neither is acceptable the header is disregarded.
pub fn format_for<'a>(values: impl Iterator<Item = &'a [u8]>) -> Format {
    let values: Vec<_> = values.map(String::from_utf8_lossy).collect();
    let elements = values.iter().flat_map(|value| split(value, ','));
    let ranges: Vec<MediaRange> = elements.filter_map(MediaRange::parse).collect();
    let preference = |format| {
        let matching = ranges.iter().filter_map(|range| range.preference(format));
        matching.max().unwrap_or_default()
    };
    let text = preference(Format::Prometheus);
    let open_metrics = preference(Format::OpenMetrics);
    let is_named = open_metrics.specificity >= Specificity::Type;
    if open_metrics.weight > text.weight
        || open_metrics.weight == text.weight && open_metrics.weight > 0 && is_named
    {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

/// An element of `Accept`: `text/plain;version=0.0.4;q=0.5`. Of its parameters only the
/// version is of interest.
struct MediaRange<'a> {
    main: &'a str,
    sub: &'a str,
    version: Option<String>,
    weight: u16,
}

/// How well a media range names a format. The order is that of RFC 9110.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Specificity {
    #[default]
    Any,
    AnySubtype,
    Type,
    Version,
}

/// What a media range says of a format. The more specific range is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Preference {
    specificity: Specificity,
    /// In thousandths; 0: not acceptable.
    weight: u16,
}

impl<'a> MediaRange<'a> {
    /// `None` if the element is malformed.
    fn parse(element: &'a str) -> Option<MediaRange<'a>> {
        let mut parts = split(element, ';');
        let (main, sub) = parts.next()?.split_once('/')?;
        let mut range = MediaRange {
            main,
            sub,
            version: None,
            weight: 1000,
        };
        for parameter in parts.filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            if name.eq_ignore_ascii_case("q") {
                range.weight = weight(value)?;
            } else if name.eq_ignore_ascii_case("version") {
                range.version = Some(unquoted(value));
            }
        }
        Some(range)
    }

    /// What the range says of `format`; `None` if it does not match.
    fn preference(&self, format: Format) -> Option<Preference> {
        let (main, sub) = format.media_type();
        let is = |wanted: &str, name: &str| wanted.eq_ignore_ascii_case(name);
        let specificity = match (self.main, self.sub, &self.version) {
            ("*", "*", None) => Specificity::Any,
            (wanted, "*", None) if is(wanted, main) => Specificity::AnySubtype,
            (wanted, wanted_sub, version) if is(wanted, main) && is(wanted_sub, sub) => {
                match version {
                    None => Specificity::Type,
                    Some(version) if version == format.version() => Specificity::Version,
                    Some(_) => return None,
                }
            }
            _ => return None,
        };
        Some(Preference {
            specificity,
            weight: self.weight,
        })
    }
}

/// A weight in thousandths: `0.5`, with up to three decimals, and at most 1.
fn weight(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" if is_number => Some(thousandths),
        "1" if is_number && thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// The parts of `text` between separators that are in no quoted string (RFC 9110, section
/// 5.6.4), without the white space around them.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |c| {
        let is_separator = c == separator && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        is_separator
    });
    parts.map(|part| part.trim_matches([' ', '\t']))
}

/// The text of a token or a quoted string.
fn unquoted(value: &str) -> String {
    let inside = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let Some(inside) = inside else {
        return value.to_owned();
    };
    let mut escaped = false;
    let is_text = |c: &char| {
        escaped = *c == '\\' && !escaped;
        !escaped
    };
    inside.chars().filter(is_text).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choice(accept: &str) -> Format {
        format_for([accept.as_bytes()].into_iter())
    }

    #[track_caller]
    fn assert_chosen(format: Format, headers: &[&str]) {
        for accept in headers {
            assert_eq!(choice(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn open_metrics_1_0_is_sent_if_it_is_preferred() {
        assert_chosen(
            Format::OpenMetrics,
            &[
                "application/openmetrics-text",
                "Application/OpenMetrics-Text ; Version=1.0.0 ; Q=0.001",
                "application/openmetrics-text; version=\"1.0.0\"; charset=utf-8",
                "application/openmetrics-text;version=\"1\\.0.0\"",
                "application/openmetrics-text, text/plain",
                "text/plain;q=0.3, application/openmetrics-text;q=0.4",
                "application/*, text/*;q=0.9",
                "*/*, text/plain;q=0",
                "text/plain;a=\"x, y;q=0\";q=0.5, application/openmetrics-text;q=0.7",
                // Those of Prometheus 2.42 and 3.0.
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            ],
        );
    }

    #[test]
    fn everything_else_gets_the_text_format() {
        assert_chosen(
            Format::Prometheus,
            &[
                "",
                "*/*",
                "application/*, text/*",
                "text/html, */*;q=0.8",
                "application/openmetrics-text;q=0",
                "application/openmetrics-text;q=0.000, text/html",
                "application/openmetrics-text;version=2.0.0",
                "application/openmetrics-text;version=0.0.1, */*;q=0.1",
                "application/openmetrics-textual",
                "text/plain, application/openmetrics-text;q=0.9",
                "application/openmetrics-text;q=0.2, */*;q=0.5",
                "application/openmetrics-text;version=1.0.0;q=0, application/openmetrics-text, text/plain;q=0.1",
                "text/plain;a=\"application/openmetrics-text\"",
                "x/y;a=\", application/openmetrics-text\"",
                // Malformed.
                "application/openmetrics-text;q=1.5",
                "application/openmetrics-text;q=+1",
                "application/openmetrics-text;q=0.1234",
                "application/openmetrics-text;q",
                "openmetrics-text",
            ],
        );
    }

    #[test]
    fn several_headers_are_one_list() {
        let values = [&b"text/plain;q=0.5"[..], b"application/openmetrics-text"];
        assert_eq!(format_for(values.into_iter()), Format::OpenMetrics);
        assert_eq!(format_for(std::iter::empty()), Format::Prometheus);
        let not_utf8 = &b"\xff/\xff, application/openmetrics-text"[..];
        assert_eq!(format_for([not_utf8].into_iter()), Format::OpenMetrics);
    }

    /// A media range as numbers: which type, which version, and the weight.
    #[derive(Debug, Clone)]
    struct Case {
        media_type: usize,
        version: Option<usize>,
        weight: u16,
        spelling: usize,
    }

    const TYPES: [&str; 7] = [
        "*/*",
        "text/*",
        "application/*",
        "text/plain",
        "application/openmetrics-text",
        "text/html",
        "application/openmetrics-textual",
    ];
    const VERSIONS: [&str; 3] = ["0.0.4", "1.0.0", "2.0.0"];

    /// Renders a case in one of several spellings of the same meaning.
    fn render(case: &Case) -> String {
        let is = |bit: usize| case.spelling & bit > 0;
        let space = if is(1) { " \t" } else { "" };
        let mut media_type = TYPES[case.media_type].to_owned();
        if is(2) {
            media_type.make_ascii_uppercase();
        }
        let other = if is(4) { ";other=\"a,b;q=0\\\",\"" } else { "" };
        let version = case.version.map(|version| {
            let quote = if is(8) { "\"" } else { "" };
            let version = VERSIONS[version];
            format!("{space};{space}version={quote}{version}{quote}")
        });
        let weight = (case.weight < 1000 || is(16)).then(|| {
            let (whole, decimals) = (case.weight / 1000, case.weight % 1000);
            format!(";{space}q={whole}.{decimals:03}")
        });
        let (version, weight) = (version.unwrap_or_default(), weight.unwrap_or_default());
        format!("{media_type}{other}{version}{weight}{space}")
    }

    /// The weight of a format, read from the table of RFC 9110: the most specific range
    /// first, and of equal ones the greatest.
    fn expected_weight(
        cases: &[Case],
        type_at: usize,
        any_at: usize,
        version: usize,
    ) -> (u16, bool) {
        let of = |media_type: usize, version: Option<usize>| {
            let same = |case: &&Case| case.media_type == media_type && case.version == version;
            cases.iter().filter(same).map(|case| case.weight).max()
        };
        let named = of(type_at, Some(version)).or_else(|| of(type_at, None));
        let wild = of(any_at, None).or_else(|| of(0, None));
        (named.or(wild).unwrap_or(0), named.is_some())
    }

    fn case() -> impl Strategy<Value = Case> {
        let weight = prop_oneof![Just(0), Just(1000), Just(500), 0..=1000_u16];
        let version = proptest::option::of(0..VERSIONS.len());
        (0..TYPES.len(), version, weight, 0..32_usize).prop_map(
            |(media_type, version, weight, spelling)| Case {
                media_type,
                version,
                weight,
                spelling,
            },
        )
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_the_specification(cases in proptest::collection::vec(case(), 0..6)) {
            let accept: Vec<String> = cases.iter().map(render).collect();
            let (text, _) = expected_weight(&cases, 3, 1, 0);
            let (open, named) = expected_weight(&cases, 4, 2, 1);
            let wants_open = open > text || open == text && open > 0 && named;
            let chosen = choice(&accept.join(","));
            prop_assert_eq!(chosen == Format::OpenMetrics, wants_open, "{:?}", accept);
        }

        #[test]
        fn no_header_is_a_panic(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            format_for([&value[..]].into_iter());
        }
    }
}
