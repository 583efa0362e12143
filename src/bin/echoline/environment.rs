//! Options from environment variables: `ECHOLINE_MAX_LINE` is `--max-line` of the server
//! and of `echoline health`, and `ECHOLINE_PING_COUNT` is `--count` of `echoline ping`.
//!
//! The command line is parsed alone first. Only then does an option that it leaves out
//! get its variable, and only if no option of the command line conflicts with it: clap
//! itself would refuse `-q` because of `ECHOLINE_VERBOSE=1`, and `echoline ping` because
//! of a bad variable of the server.

use std::env;
use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};

pub const PREFIX: &str = "ECHOLINE_";

/// Whether any variable is set that begins like those of this program.
pub fn has_own_variables() -> bool {
    own_variables().next().is_some()
}

fn own_variables() -> impl Iterator<Item = OsString> {
    let names = env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
}

/// Names of variables that look like options of this program and are none.
#[cold]
pub fn unknown_variables(command: &Command) -> Vec<OsString> {
    let known = variables(command);
    own_variables()
        .filter(|name| known.iter().all(|known| name != known.as_str()))
        .collect()
}

/// Completes `given`, what the command line alone says, from the environment. `command`
/// must not have parsed yet: its index of options would be out of date after the change
/// of an option.
///
/// # Errors
///
/// If a variable has a bad value: what is wrong, with the variable's name.
#[cold]
pub fn complete(command: Command, given: &ArgMatches) -> Result<ArgMatches, String> {
    let mut command = match given.subcommand() {
        None => with_variables(command, PREFIX, given),
        Some((name, given)) => command.mut_subcommand(name, |command| {
            with_variables(command, &subcommand_prefix(name), given)
        }),
    };
    let matches = command.try_get_matches_from_mut(env::args_os());
    matches.map_err(|e| match given.subcommand_name() {
        None => explain(&command, &e),
        Some(name) => explain(command.find_subcommand(name).unwrap_or(&command), &e),
    })
}

/// The variables of all options.
fn variables(command: &Command) -> Vec<String> {
    let mut names: Vec<_> = options(command, PREFIX).map(|(_, name)| name).collect();
    for subcommand in command.get_subcommands() {
        let prefix = subcommand_prefix(subcommand.get_name());
        names.extend(options(subcommand, &prefix).map(|(_, name)| name));
    }
    names
}

/// How the variables of a subcommand begin. `echoline health` has those of the server, as
/// it has its options.
pub fn subcommand_prefix(name: &str) -> String {
    match name {
        "health" => PREFIX.to_owned(),
        _ => format!("{PREFIX}{}_", upper_case(name)),
    }
}

/// The variable of an option of the server.
pub fn variable(name: &str) -> String {
    format!("{PREFIX}{}", upper_case(name))
}

/// The paragraph of help that lists the variables of `command`.
pub fn help(command: &Command, prefix: &str) -> String {
    const WIDTH: usize = 80;
    let mut text = "Environment:\n ".to_owned();
    let mut column = 1;
    let mut names = options(command, prefix).map(|(_, name)| name).peekable();
    while let Some(name) = names.next() {
        let comma = if names.peek().is_some() { "," } else { "" };
        if column + 1 + name.len() + comma.len() > WIDTH {
            text += "\n ";
            column = 1;
        }
        text.extend([" ", &name, comma]);
        column += 1 + name.len() + comma.len();
    }
    text + "\n           options that the command line leaves out; switches take 1 or 0"
}

fn upper_case(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// The options of `command`, each with the name of its variable.
fn options<'a>(command: &'a Command, prefix: &'a str) -> impl Iterator<Item = (&'a Arg, String)> {
    let is_setting = |arg: &&Arg| !matches!(arg.get_action(), ArgAction::Help | ArgAction::Version);
    let arguments = command.get_arguments().filter(is_setting);
    arguments.filter_map(move |arg| {
        let name = upper_case(arg.get_long()?);
        Some((arg, format!("{prefix}{name}")))
    })
}

/// Gives the options that `given` leaves out their variables, as far as those are set.
fn with_variables(command: Command, prefix: &str, given: &ArgMatches) -> Command {
    let is_given =
        |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let excludes = |a: &Arg, b: &Arg| {
        let mut conflicts = command.get_arg_conflicts_with(a).into_iter();
        conflicts.any(|conflict| conflict.get_id() == b.get_id())
    };
    let is_open = |arg: &Arg| {
        let mut others = command.get_arguments().filter(|other| is_given(other));
        !is_given(arg) && !others.any(|other| excludes(arg, other) || excludes(other, arg))
    };
    let wanted = options(&command, prefix)
        .filter(|(arg, name)| is_set(arg, name) && is_open(arg))
        .map(|(arg, name)| (arg.get_id().clone(), name))
        .collect();
    assign(command, wanted)
}

/// Gives every option its variable, for the man pages.
#[cfg(test)]
pub fn with_all_variables(command: Command) -> Command {
    let name_all = |command: Command, prefix: &str| {
        let all = options(&command, prefix).map(|(arg, name)| (arg.get_id().clone(), name));
        let all = all.collect();
        assign(command, all)
    };
    let names = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned());
    let names: Vec<_> = names.collect();
    names
        .into_iter()
        .fold(name_all(command, PREFIX), |command, name| {
            let prefix = subcommand_prefix(&name);
            command.mut_subcommand(name, |command| name_all(command, &prefix))
        })
}

fn assign(command: Command, wanted: Vec<(Id, String)>) -> Command {
    wanted.into_iter().fold(command, |command, (id, name)| {
        command.mut_arg(id, |arg| {
            let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
            // Leaked: clap keeps names for as long as the program runs.
            let arg = arg.env(&*name.leak());
            if is_switch {
                arg.value_parser(switch)
            } else {
                arg
            }
        })
    })
}

fn switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("not one of 1, true, yes, on, 0, false, no, off"),
    }
}

/// Whether the variable says anything. An empty one does not, so that a unit or a
/// manifest can take back what another has set; nor does a switch that is off, which
/// would conflict with others.
fn is_set(arg: &Arg, name: &str) -> bool {
    let value = env::var_os(name).unwrap_or_default();
    let is_off = || value.to_str().map(switch) == Some(Ok(false));
    !value.is_empty() && (arg.get_action().takes_values() || !is_off())
}

/// What is wrong with a variable: clap's message, with the variable for the option.
fn explain(command: &Command, e: &clap::Error) -> String {
    let named = |arg| Arg::get_env(arg)?.to_str().map(|name| (arg, name));
    let mut variables = command.get_arguments().filter_map(named);
    if e.kind() == ErrorKind::InvalidUtf8 {
        // clap does not say where.
        let is_bad = |name| env::var_os(name).is_some_and(|value| value.to_str().is_none());
        let bad = variables.find(|(_, name)| is_bad(*name));
        let place = bad.map_or("the environment", |(_, name)| name);
        return format!("invalid UTF-8 in {place}");
    }
    variables.fold(e.to_string(), |text, (arg, name)| {
        text.replace(&format!("'{arg}'"), name)
    })
}
