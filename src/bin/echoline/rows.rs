//! Options as rows of a table: an option is one row, which has its name, its help, how its
//! value is read and where it goes.
//!
//! A row writes to a value of type `T`, whose default holds the defaults of all options. The
//! code that turns rows into clap's arguments exists once, so a row costs its data alone.

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// Reads a text into its place, or says what is wrong with it.
type Read<T> = fn(&mut T, &str) -> Result<(), String>;

/// An option of the command line, or an argument.
pub struct Row<T: 'static> {
    /// The long option, and clap's identifier.
    name: &'static str,
    help: &'static str,
    kind: Kind<T>,
    short: Option<char>,
    /// An option that this one cannot be used with.
    conflict: Option<&'static str>,
}

enum Kind<T: 'static> {
    /// An option without a value, which is given once.
    Switch(fn(&mut T)),
    /// An option without a value, and how often it is given.
    Count(fn(&mut T, u8)),
    Value {
        /// How help names the value.
        name: &'static str,
        read: Read<T>,
        /// The text of the default, if help is to show it.
        default: Option<fn(&T) -> String>,
        repeats: bool,
    },
    /// A value without an option, which must be given.
    Argument(&'static str, Read<T>),
    /// The same, for the name of a file, which need not be UTF-8.
    File(&'static str, fn(&mut T, PathBuf)),
}

impl<T: Default + 'static> Row<T> {
    pub const fn switch(name: &'static str, help: &'static str, set: fn(&mut T)) -> Row<T> {
        Row::new(name, help, Kind::Switch(set))
    }

    pub const fn count(name: &'static str, help: &'static str, set: fn(&mut T, u8)) -> Row<T> {
        Row::new(name, help, Kind::Count(set))
    }

    /// An option with a value, which help calls `value`.
    pub const fn value(
        name: &'static str,
        value: &'static str,
        help: &'static str,
        read: Read<T>,
    ) -> Row<T> {
        let kind = Kind::Value {
            name: value,
            read,
            default: None,
            repeats: false,
        };
        Row::new(name, help, kind)
    }

    /// A value that stands by itself, which help calls `value`.
    pub const fn argument(
        name: &'static str,
        value: &'static str,
        help: &'static str,
        read: Read<T>,
    ) -> Row<T> {
        Row::new(name, help, Kind::Argument(value, read))
    }

    /// The name of a file that stands by itself, which help calls `value`.
    pub const fn file(
        name: &'static str,
        value: &'static str,
        help: &'static str,
        set: fn(&mut T, PathBuf),
    ) -> Row<T> {
        Row::new(name, help, Kind::File(value, set))
    }

    const fn new(name: &'static str, help: &'static str, kind: Kind<T>) -> Row<T> {
        Row {
            name,
            help,
            kind,
            short: None,
            conflict: None,
        }
    }

    pub const fn short(mut self, short: char) -> Row<T> {
        self.short = Some(short);
        self
    }

    pub const fn conflicts_with(mut self, other: &'static str) -> Row<T> {
        self.conflict = Some(other);
        self
    }

    /// Help shows the default, which `text` takes from `T`'s.
    pub const fn default(mut self, text: fn(&T) -> String) -> Row<T> {
        if let Kind::Value { default, .. } = &mut self.kind {
            *default = Some(text);
        }
        self
    }

    /// May be given several times, or once with commas between the values. All come as one
    /// text, with commas.
    pub const fn repeats(mut self) -> Row<T> {
        if let Kind::Value { repeats, .. } = &mut self.kind {
            *repeats = true;
        }
        self
    }

    fn arg_with_default(&self, defaults: &T) -> Arg {
        match self.kind {
            Kind::Value {
                default: Some(text),
                ..
            } => {
                // Leaked: clap keeps texts for as long as the program runs.
                self.arg().default_value(&*text(defaults).leak())
            }
            _ => self.arg(),
        }
    }

    fn arg(&self) -> Arg {
        let mut arg = Arg::new(self.name).help(self.help);
        if let Some(other) = self.conflict {
            arg = arg.conflicts_with(other);
        }
        if let Some(short) = self.short {
            arg = arg.short(short);
        }
        match self.kind {
            Kind::Switch(_) => arg.long(self.name).action(ArgAction::SetTrue),
            Kind::Count(_) => arg.long(self.name).action(ArgAction::Count),
            Kind::Argument(value, read) => with_value(arg, value, read).required(true),
            Kind::File(value, _) => {
                let arg = arg.value_name(value).required(true);
                arg.value_parser(value_parser!(PathBuf))
            }
            Kind::Value {
                name,
                read,
                repeats,
                ..
            } => {
                let arg = with_value(arg.long(self.name), name, read);
                // The check of the value says what is wrong with it. Not for arguments, which
                // would take `-4` for a number where it is an option.
                let arg = arg.allow_negative_numbers(true);
                if repeats {
                    arg.action(ArgAction::Append).value_delimiter(',')
                } else {
                    arg
                }
            }
        }
    }

    /// Sets what `matches` gives, which clap has checked.
    fn apply(&self, matches: &ArgMatches, target: &mut T) {
        let source = matches.value_source(self.name);
        if !matches!(
            source,
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        ) {
            return;
        }
        match self.kind {
            Kind::Switch(set) if matches.get_flag(self.name) => set(target),
            Kind::Switch(_) => {}
            Kind::Count(set) => set(target, matches.get_count(self.name)),
            Kind::Value { read, .. } | Kind::Argument(_, read) => {
                let texts = matches.get_many::<String>(self.name);
                let texts: Vec<&str> = texts.into_iter().flatten().map(String::as_str).collect();
                // Each value is right by itself. Whether all agree is checked after the last.
                let _ = read(target, &texts.join(","));
            }
            Kind::File(_, set) => {
                if let Some(path) = matches.get_one::<PathBuf>(self.name) {
                    set(target, path.clone());
                }
            }
        }
    }
}

/// The value is read once to check it, so that clap's message names the option.
fn with_value<T: Default + 'static>(arg: Arg, name: &'static str, read: Read<T>) -> Arg {
    let check = move |text: &str| read(&mut T::default(), text).map(|()| text.to_owned());
    arg.value_name(name).value_parser(check)
}

/// Adds the options of `rows` to `command`.
pub fn define<T: Default>(command: Command, rows: &[Row<T>]) -> Command {
    command.args(rows.iter().map(Row::arg))
}

/// The same, with the texts of their defaults, which only help shows.
pub fn define_with_defaults<T: Default>(command: Command, rows: &[Row<T>]) -> Command {
    let defaults = T::default();
    command.args(rows.iter().map(|row| row.arg_with_default(&defaults)))
}

/// The defaults, with what `matches` gives.
pub fn read<T: Default>(matches: &ArgMatches, rows: &[Row<T>]) -> T {
    let mut target = T::default();
    for row in rows {
        row.apply(matches, &mut target);
    }
    target
}

/// What a text stands for, or what is wrong with the text.
pub fn read_as<V: FromStr<Err: Display>>(text: &str) -> Result<V, String> {
    text.parse().map_err(|e: V::Err| e.to_string())
}

/// A whole number in a range.
pub fn number_in<N>(text: &str, range: RangeInclusive<N>) -> Result<N, String>
where
    N: TryFrom<i128> + PartialOrd + Debug,
{
    let number = N::try_from(whole(text)?).ok();
    let number = number.filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{text} is not in {range:?}"))
}

/// A whole number, whose range is checked elsewhere.
pub fn number<N: TryFrom<i128>>(text: &str) -> Result<N, String> {
    let number = whole(text)?;
    let why = if number < 0 { "negative" } else { "too large" };
    N::try_from(number).map_err(|_| format!("it is {why}"))
}

/// Larger than all numbers of options, so that one too many for them is told from no number.
fn whole(text: &str) -> Result<i128, String> {
    text.parse().map_err(|_| "it is not a whole number".into())
}
