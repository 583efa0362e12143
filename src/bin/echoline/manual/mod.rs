//! Man pages and shell completions, generated from the command line's definition.
//!
//! The files are committed, so that a package needs no generator, and the program does
//! not carry one. The test fails if they are out of date;
//! `UPDATE_MANUAL=1 cargo test --bin echoline manual` writes them.

use std::path::Path;
use std::{env, fs};

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::cli::{Extent, definition};
use crate::environment;

const SERVER: Page = Page {
    name: "echoline",
    usage: "echoline [OPTIONS]\necholine health [OPTIONS]\necholine ping [OPTIONS] <HOST:PORT>\necholine packets [OPTIONS] <FILE>",
    description: include_str!("echoline.txt"),
    sections: include_str!("echoline.roff"),
};

const PING: Page = Page {
    name: "echoline-ping",
    usage: "echoline ping [OPTIONS] <HOST:PORT>",
    description: include_str!("echoline-ping.txt"),
    sections: include_str!("echoline-ping.roff"),
};

const PACKETS: Page = Page {
    name: "echoline-packets",
    usage: "echoline packets [OPTIONS] <FILE>",
    description: include_str!("echoline-packets.txt"),
    sections: include_str!("echoline-packets.roff"),
};

/// What a man page has besides the options.
struct Page {
    name: &'static str,
    usage: &'static str,
    description: &'static str,
    /// The sections after the options.
    sections: &'static str,
}

impl Page {
    fn render(&self, command: Command) -> (String, Vec<u8>) {
        let command = command
            .override_usage(self.usage)
            .long_about(self.description);
        let man = Man::new(command);
        // clap_mangen leaves out an empty date, which moves the version to its place.
        let (name, version) = (self.name, env!("CARGO_PKG_VERSION"));
        let title = format!(".TH {name} 1 \"\" \"echoline {version}\" \"User Commands\"\n");
        let mut page = title.into_bytes();
        man.render_name_section(&mut page).unwrap();
        man.render_synopsis_section(&mut page).unwrap();
        man.render_description_section(&mut page).unwrap();
        man.render_options_section(&mut page).unwrap();
        page.extend(self.sections.bytes());
        (format!("man/{name}.1"), page)
    }
}

fn completions(shell: Shell, file: &str) -> (String, Vec<u8>) {
    let mut script = Vec::new();
    generate(
        shell,
        &mut definition(Extent::Whole),
        "echoline",
        &mut script,
    );
    (format!("completions/{file}"), script)
}

/// Every generated file: its path in `deploy/`, and its contents.
fn files() -> [(String, Vec<u8>); 6] {
    let mut command = environment::with_all_variables(definition(Extent::Whole));
    command.build();
    let [ping, packets] =
        ["ping", "packets"].map(|name| command.find_subcommand(name).unwrap().clone());
    [
        SERVER.render(command),
        PING.render(ping),
        PACKETS.render(packets),
        completions(Shell::Bash, "echoline.bash"),
        completions(Shell::Zsh, "_echoline"),
        completions(Shell::Fish, "echoline.fish"),
    ]
}

#[test]
fn man_pages_and_completions_are_current() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for (path, contents) in files() {
        let file = deploy.join(&path);
        if env::var_os("UPDATE_MANUAL").is_some() {
            fs::write(&file, &contents).unwrap();
        }
        let is_current = fs::read(&file).is_ok_and(|committed| committed == contents);
        assert!(
            is_current,
            "deploy/{path} is out of date: UPDATE_MANUAL=1 cargo test --bin echoline manual"
        );
    }
}
