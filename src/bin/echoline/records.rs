//! All records that the program logs beside those of the library: a row each, with level,
//! fields and text.

use std::io;
use std::net::SocketAddr;
use std::str::EscapeDebug;

use echoline::Plural;

echoline::records! {
    Warn MalformedDirective<'a> { directive: EscapeDebug<'a> } =
        "RUST_LOG: '{directive}' is ignored: it is neither off, error, warn, info, debug or trace nor TARGET=LEVEL";
    Warn UnknownVariable<'a> { name: EscapeDebug<'a> } = "unknown environment variable {name}";
    Warn FdLimit<'a> { error: &'a io::Error } =
        "cannot raise the limit on file descriptors: {error}";
    Warn CannotNotify<'a> { error: &'a io::Error } = "cannot notify the service manager: {error}";
    Warn OverriddenVariable<'a> { variable: &'a str } =
        "{variable} has no effect: systemd has opened the sockets (LISTEN_FDS), and their unit has the addresses";
    Info MetricsListening { addr: SocketAddr } = "metrics on http://{addr}/metrics";
    Warn RecordsLost { records: Plural } = "{records} lost";
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/usage.md");

    /// Whether `shown` is `text` with something in place of each field.
    fn shows(shown: &str, text: &str) -> bool {
        let Some((literal, rest)) = text.split_once('{') else {
            return shown == text;
        };
        let (_, rest) = rest.split_once('}').unwrap();
        shown.strip_prefix(literal).is_some_and(|shown| {
            let mut ends = shown.char_indices().map(|(at, c)| at + c.len_utf8());
            ends.any(|end| shows(&shown[end..], rest))
        })
    }

    /// Texts and levels in the rows of the table of records.
    fn rows() -> Vec<(Vec<&'static str>, Vec<&'static str>)> {
        let table = PAGE.split("| record | level | meaning |").nth(1).unwrap();
        let rows = table.trim_start().lines().skip(1);
        rows.take_while(|line| line.starts_with('|'))
            .map(|line| {
                let mut cells = line.split(" | ");
                let texts = cells.next().unwrap().split('`').skip(1).step_by(2);
                (texts.collect(), cells.next().unwrap().split(", ").collect())
            })
            .collect()
    }

    fn all() -> impl Iterator<Item = (Level, &'static str)> {
        echoline::RECORDS.iter().chain(ROWS).copied()
    }

    #[test]
    fn each_record_is_in_the_table_of_docs_usage() {
        let rows = rows();
        for (level, text) in all() {
            let is_in = |(texts, levels): &(Vec<&str>, Vec<&str>)| {
                levels.contains(&level.as_str()) && texts.iter().any(|shown| shows(shown, text))
            };
            assert!(rows.iter().any(is_in), "{level} {text}");
        }
    }

    #[test]
    fn the_table_of_docs_usage_has_only_records() {
        for (texts, levels) in rows() {
            for shown in &texts {
                let is_record = |(level, text): (Level, &str)| {
                    levels.contains(&level.as_str()) && shows(shown, text)
                };
                assert!(all().any(is_record), "{shown}: {levels:?}");
            }
            for level in &levels {
                let is_record = |(of, text): (Level, &str)| {
                    of.as_str() == *level && texts.iter().any(|shown| shows(shown, text))
                };
                assert!(all().any(is_record), "{texts:?}: {level}");
            }
        }
    }

    #[test]
    fn docs_usage_names_each_reason_for_a_close() {
        let words = PAGE.split("REASON is one of").nth(1).unwrap();
        let sentence = words.split(".\n").next().unwrap().replace('\n', " ");
        let named: Vec<_> = sentence.split('`').skip(1).step_by(2).collect();
        let reasons = echoline::CloseReason::ALL
            .iter()
            .map(|reason| reason.name());
        for reason in reasons {
            assert!(named.contains(&reason), "{reason}: {named:?}");
        }
        assert_eq!(named.len(), echoline::CloseReason::ALL.len());
    }
}
