//! `RUST_LOG`: which records are logged, in the syntax that the `env_logger` crate has made
//! common.

use std::cmp::Reverse;

use log::LevelFilter;

/// The target that records of this package begin with: the path of a module.
const PACKAGE: &str = env!("CARGO_PKG_NAME");

/// The levels up to which records are logged.
#[derive(Debug, Clone)]
pub struct LogFilter {
    /// By the beginning of the target, longer ones first. The last one is empty, so it
    /// matches all targets.
    levels: Vec<(String, LevelFilter)>,
    /// Directives that were not understood.
    pub malformed: Vec<String>,
}

impl From<LevelFilter> for LogFilter {
    fn from(level: LevelFilter) -> LogFilter {
        LogFilter {
            levels: vec![(String::new(), level)],
            malformed: Vec::new(),
        }
    }
}

impl LogFilter {
    /// Applies `directives`, with commas between them. Each is `LEVEL` or `TARGET=LEVEL`,
    /// and a target of this package alone logs all of its records. Directives for other
    /// targets are ignored: a shop sets the same `RUST_LOG` for all its programs.
    pub fn with(mut self, directives: &str) -> LogFilter {
        for directive in directives.split(',').map(str::trim) {
            match parse(directive) {
                _ if directive.is_empty() => {}
                Some((target, level)) if target.is_empty() || is_own(target) => {
                    self.set(target, level);
                }
                Some(_) => {}
                None => self.malformed.push(directive.to_owned()),
            }
        }
        self
    }

    /// The last directive for a target counts.
    fn set(&mut self, target: &str, level: LevelFilter) {
        self.levels.retain(|(other, _)| other != target);
        self.levels.push((target.to_owned(), level));
        self.levels.sort_by_key(|(target, _)| Reverse(target.len()));
    }

    /// The level up to which records of `target` are logged.
    pub fn level_of(&self, target: &str) -> LevelFilter {
        let mut levels = self.levels.iter();
        let found = levels.find(|(beginning, _)| is_within(target, beginning));
        found.map_or(LevelFilter::Off, |(_, level)| *level)
    }

    /// The level above which no record is logged.
    pub fn most_verbose(&self) -> LevelFilter {
        let levels = self.levels.iter().map(|(_, level)| *level);
        levels.max().unwrap_or(LevelFilter::Off)
    }
}

/// A directive's target and level; `None` if it is malformed. A word without a level is
/// taken for a misspelt level rather than for another crate.
fn parse(directive: &str) -> Option<(&str, LevelFilter)> {
    let Some((target, level)) = directive.split_once('=') else {
        return match directive.parse() {
            Ok(level) => Some(("", level)),
            Err(_) => is_own(directive).then_some((directive, LevelFilter::Trace)),
        };
    };
    let target = target.trim();
    let level = level.trim().parse().ok()?;
    (!target.is_empty()).then_some((target, level))
}

fn is_own(target: &str) -> bool {
    is_within(target, PACKAGE)
}

/// Whether `target` is the module `beginning` or one in it.
fn is_within(target: &str, beginning: &str) -> bool {
    let rest = target.strip_prefix(beginning);
    rest.is_some_and(|rest| beginning.is_empty() || rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use LevelFilter::{Debug, Error, Info, Off, Trace, Warn};

    use super::*;

    /// The levels of this package, of a module of it and of another crate, with the default
    /// level `Info`.
    fn levels(directives: &str) -> [LevelFilter; 3] {
        let filter = LogFilter::from(Info).with(directives);
        assert!(filter.malformed.is_empty(), "{directives}: {filter:?}");
        ["echoline::net", "echoline::server::drain", "mio::poll"]
            .map(|target| filter.level_of(target))
    }

    #[test]
    fn the_global_level_and_the_directives_of_this_package_hold() {
        for (directives, expected) in [
            ("", [Info, Info, Info]),
            ("debug", [Debug, Debug, Debug]),
            ("OFF", [Off, Off, Off]),
            ("info,hyper=warn", [Info, Info, Info]),
            ("hyper=trace, mio=trace", [Info, Info, Info]),
            ("warn,echoline=debug", [Debug, Debug, Warn]),
            ("echoline=debug,warn", [Debug, Debug, Warn]),
            ("echoline", [Trace, Trace, Info]),
            ("echoline::server=error", [Info, Error, Info]),
            ("echoline::server=error,echoline=warn", [Warn, Error, Info]),
            ("echoline=warn,echoline=debug", [Debug, Debug, Info]),
            ("echoliner=error,echo=error", [Info, Info, Info]),
            (" error , ,", [Error, Error, Error]),
        ] {
            assert_eq!(levels(directives), expected, "{directives}");
        }
    }

    #[test]
    fn malformed_directives_are_kept_and_the_others_hold() {
        for malformed in [
            "verbose",
            "3",
            "=info",
            "echoline=",
            "echoline=loud",
            "hyper=loud",
        ] {
            let filter = LogFilter::from(Info).with(&format!("{malformed},debug"));
            assert_eq!(filter.malformed, [malformed]);
            assert_eq!(filter.level_of("echoline"), Debug);
        }
    }

    #[test]
    fn no_record_is_above_the_most_verbose_level() {
        let filter = LogFilter::from(Warn).with("echoline::net=trace");
        assert_eq!(filter.most_verbose(), Trace);
        assert_eq!(LogFilter::from(Warn).most_verbose(), Warn);
    }
}
