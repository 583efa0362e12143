//! A real systemd that a test boots, with units of echoline and its binary.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::clients;
use super::daemon::BINARY;
use super::deadline::{wait_for, wait_until};
use super::process::send_signal;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd");
const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/support/boot.sh");

/// A booted systemd. It ends on drop.
pub struct Systemd {
    boot: Child,
    /// Process 1 of the namespaces, as the test sees it.
    init: u32,
}

impl Systemd {
    /// Boots systemd with the units of `deploy/systemd` and the binary under test.
    pub fn boot() -> Systemd {
        Systemd::boot_with(&[UNITS, BINARY])
    }

    /// Boots systemd with `args` of `boot.sh`.
    pub fn boot_with(args: &[&str]) -> Systemd {
        let mut boot = Command::new("bash")
            .arg(BOOT)
            .args(args)
            .stdin(Stdio::null())
            .spawn()
            .expect("bash is installed");
        // The shell runs timeout, which runs unshare, which runs systemd.
        let mut pid = boot.id();
        for name in ["timeout", "unshare", "systemd"] {
            pid = wait_for(&format!("{name} to run"), || {
                let status = boot.try_wait().unwrap();
                assert!(status.is_none(), "systemd does not boot: {status:?}");
                child_named(pid, name)
            });
        }
        let systemd = Systemd { boot, init: pid };
        wait_until("systemd to boot", || {
            let state = systemd.try_run("systemctl is-system-running").stdout;
            state == b"running\n" || state == b"degraded\n"
        });
        systemd
    }

    /// A shell script in the namespaces.
    pub fn command(&self, script: &str) -> Command {
        let init = self.init.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &init, "--all", "sh", "-c", script]);
        command
    }

    fn try_run(&self, script: &str) -> Output {
        let output = self.command(script).output();
        output.expect("nsenter is installed")
    }

    /// Runs a shell script in the namespaces; asserts exit status 0 and returns its
    /// output.
    pub fn run(&self, script: &str) -> String {
        let output = self.try_run(script);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {stdout}{stderr}");
        stdout
    }

    /// Adds settings to a section of a unit.
    pub fn configure(&self, unit: &str, section: &str, settings: &str) {
        let dir = format!("/run/systemd/system/{unit}.d");
        self.run(&format!(
            "mkdir -p {dir}
             printf '[{section}]\n{settings}\n' >{dir}/test.conf
             systemctl daemon-reload"
        ));
    }

    /// Replaces the command of echoline.service.
    pub fn configure_command(&self, command: &str) {
        let settings = format!("ExecStart=\nExecStart={command}");
        self.configure("echoline.service", "Service", &settings);
    }

    /// A property of echoline.service.
    pub fn property(&self, name: &str) -> String {
        let show = format!("systemctl show --value --property={name} echoline.service");
        self.run(&show).trim_end().to_owned()
    }

    /// The daemon's process, as the test sees it.
    pub fn daemon(&self) -> Option<u32> {
        child_named(self.init, "echoline")
    }

    pub fn wait_for_daemon(&self) -> u32 {
        wait_for("the daemon to run", || self.daemon())
    }

    /// Waits until another process than `earlier` is ready.
    pub fn wait_for_restart(&self, earlier: u32) {
        wait_until("a new process to be ready", || {
            let restarted = self.daemon().is_some_and(|pid| pid != earlier);
            restarted && self.property("SubState") == "running"
        });
    }

    /// The records of echoline.service in the journal, with `options` of journalctl.
    pub fn journal(&self, options: &str) -> String {
        let journalctl = "journalctl --unit=echoline.service --output=cat";
        self.run(&format!("{journalctl} {options}"))
    }

    pub fn wait_for_record(&self, part: &str) {
        let what = format!("a record with {part:?}");
        wait_until(&what, || self.journal("").contains(part));
    }

    /// Connects in the network namespace.
    pub fn connect(&self, addr: &str) -> TcpStream {
        let addr: SocketAddr = addr.parse().unwrap();
        self.in_network(|| clients::connect(addr))
    }

    /// Runs `body` in a thread that is in the network namespace.
    pub fn in_network<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.init)).unwrap();
        let body = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(network.as_fd(), kind).expect("root may");
            body()
        };
        thread::scope(|scope| scope.spawn(body).join().unwrap())
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.try_run("systemctl status echoline.service; journalctl --no-pager");
            eprintln!("{}", String::from_utf8_lossy(&log.stdout));
        }
        send_signal(self.init, Signal::KILL);
        let _ = self.boot.wait();
    }
}

/// The first child of a process that has the name `name`.
fn child_named(pid: u32, name: &str) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let mut children = children.split_whitespace();
    let child = children.find(|child| {
        let comm = fs::read_to_string(format!("/proc/{child}/comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    });
    child?.parse().ok()
}
