//! An interactive bash in a terminal: tmux with a server of its own.

use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use crate::support::deadline::{wait_for, wait_until};

/// How tmux hands text to bash.
#[derive(Clone, Copy)]
pub enum Paste {
    /// Marked as pasted text: bash takes several lines at once.
    Bracketed,
    /// Like keys that are pressed.
    Typed,
}

const PROMPT: &str = "tour$ ";
const BASHRC: &str = "PS1='tour$ '\nunset HISTFILE PROMPT_COMMAND\n";

/// Columns and rows of the terminal: wide enough for the longest line of the tour.
const SIZE: [&str; 4] = ["-x", "240", "-y", "50"];

/// Terminals that this process has opened.
static OPENED: AtomicU32 = AtomicU32::new(0);

/// An interactive bash in the repository's directory. It ends on drop, and so does what
/// `serve` has started.
pub struct Terminal {
    /// bash's home, and the place of tmux's socket and of all temporary files.
    dir: PathBuf,
}

impl Terminal {
    pub fn open() -> Terminal {
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        // A short path: that of a Unix socket has at most 107 bytes.
        let name = format!("echoline-terminal.{}.{number}", process::id());
        let dir = env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(".bashrc"), BASHRC).unwrap();
        let terminal = Terminal { dir };
        let new_session = [&["new-session", "-d"], &SIZE[..], &["bash"]].concat();
        terminal.tmux(&new_session);
        wait_until("the first prompt", || is_prompt(&terminal.last_line()));
        terminal
    }

    /// Runs `commands`, lines of bash, and returns what the terminal shows beside the
    /// prompts and the commands.
    pub fn run(&self, commands: &str, paste: Paste) -> String {
        // The last line is the prompt.
        let before = self.lines().len() - 1;
        self.start(commands, paste);
        wait_for("the prompt after the commands", || {
            output(&self.lines()[before..], commands)
        })
    }

    /// Pastes `commands`, so that bash runs them.
    pub fn start(&self, commands: &str, paste: Paste) {
        let commands = commands.trim_end_matches('\n');
        match paste {
            Paste::Bracketed => {
                self.tmux(&["set-buffer", commands]);
                self.tmux(&["paste-buffer", "-p"]);
                self.press("Enter");
            }
            // All at once: while a command runs, the terminal would echo further keys.
            Paste::Typed => {
                self.tmux(&["set-buffer", &format!("{commands}\n")]);
                self.tmux(&["paste-buffer"]);
            }
        }
    }

    /// Presses a key by its name in tmux.
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// All lines since the start, without the empty ones at the end.
    pub fn lines(&self) -> Vec<String> {
        let screen = self.tmux(&["capture-pane", "-p", "-S", "-"]);
        screen.trim_end().lines().map(str::to_owned).collect()
    }

    fn last_line(&self) -> String {
        self.lines().pop().unwrap_or_default()
    }

    /// Runs a command of tmux and returns what the command prints.
    fn tmux(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("tmux is installed");
        assert!(output.status.success(), "tmux {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command for the tmux server of this terminal. The first command starts the server.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(self.dir.join("tmux"))
            .args(["-u", "-f", "/dev/null"])
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("HOME", &self.dir)
            .env("TMPDIR", &self.dir)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .env_remove("RUST_LOG");
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).status();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What `lines` have beside the prompts and the commands; `None` until a prompt follows
/// the last command.
fn output(lines: &[String], commands: &str) -> Option<String> {
    let (last, lines) = lines.split_last()?;
    let mut commands = commands.lines().peekable();
    let mut output = String::new();
    for line in lines {
        let command = line.strip_prefix(PROMPT).unwrap_or(line);
        if commands.next_if_eq(&command).is_none() {
            output += line;
            output.push('\n');
        }
    }
    (is_prompt(last) && commands.next().is_none()).then_some(output)
}

/// Whether the line has nothing but a prompt. tmux leaves out spaces at the end of a line.
fn is_prompt(line: &str) -> bool {
    line == PROMPT.trim_end()
}
