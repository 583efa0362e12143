//! The image as a container: echoline is PID 1, without root, capabilities or a writable
//! file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::{Value, json};

use crate::image::Image;
use crate::run::{run, shell};
use crate::support::deadline::{wait_for, wait_until};

/// A container that runc has started. It is killed and removed on drop.
struct Container {
    image: Image,
    bundle: PathBuf,
    /// Unique on the machine: it is also the name of a control group.
    name: String,
    runc: Child,
    log: PathBuf,
}

impl Container {
    /// Starts the image with `args`; returns when the server listens.
    fn start(test: &str, args: &[&str]) -> Container {
        Container::start_with(test, args, &[])
    }

    /// The same with these variables besides those of the image, or instead of them.
    fn start_with(test: &str, args: &[&str], variables: &[(&str, &str)]) -> Container {
        let image = Image::unpack(test);
        let bundle = image.root.parent().unwrap().join("bundle");
        fs::create_dir_all(&bundle).unwrap();
        run(Command::new("runc").arg("spec").current_dir(&bundle));
        let spec = bundle.join("config.json");
        let default = serde_json::from_slice(&fs::read(&spec).unwrap()).unwrap();
        fs::write(
            &spec,
            hardened(default, &image, args, variables).to_string(),
        )
        .unwrap();
        let name = format!("echoline-{test}-{}", std::process::id());
        let log = bundle.join("log");
        let runc = runc(&bundle)
            .args(["run", "--bundle"])
            .args([&bundle])
            .arg(&name)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log).unwrap())
            .spawn()
            .expect("runc is installed");
        let container = Container {
            image,
            bundle,
            name,
            runc,
            log,
        };
        container.wait_for_record("listening on ");
        container
    }

    fn wait_for_record(&self, part: &str) {
        wait_until(&format!("a record with {part:?}"), || {
            self.log().contains(part)
        });
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// What runc says about the container.
    fn state(&self) -> Value {
        let state = run(runc(&self.bundle).args(["state", &self.name]));
        serde_json::from_str(&state).unwrap()
    }

    /// The process, as the machine sees it.
    fn pid(&self) -> String {
        self.state()["pid"].to_string()
    }

    /// Runs the health check of the image inside.
    fn health(&self) -> Output {
        let check = self.image.config["Healthcheck"]["Test"].as_array().unwrap();
        assert_eq!(check[0], "CMD");
        let check: Vec<_> = check[1..].iter().map(|arg| arg.as_str().unwrap()).collect();
        self.exec(&check).output().unwrap()
    }

    /// Expects that the health check finds this.
    fn assert_healthy(&self, why: &str) {
        let output = self.health();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(stdout, format!("healthy: {why}\n"), "{output:?}");
        assert!(output.status.success());
    }

    /// Runs a program of the image inside.
    fn exec(&self, args: &[&str]) -> Command {
        let mut command = runc(&self.bundle);
        command.args(["exec", &self.name]).args(args);
        command
    }

    fn terminate(&mut self) -> ExitStatus {
        run(runc(&self.bundle).args(["kill", &self.name, "TERM"]));
        wait_for("the container to end", || self.runc.try_wait().unwrap())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = runc(&self.bundle)
            .args(["delete", "--force", &self.name])
            .output();
        let _ = self.runc.wait();
        if std::thread::panicking() {
            eprintln!("the container's log:\n{}", self.log());
        }
    }
}

fn runc(bundle: &Path) -> Command {
    let mut command = Command::new("runc");
    command.arg("--root").arg(bundle.join("state"));
    command
}

/// runc's default specification for `image`: private namespaces, that of the network
/// included, so that no port is taken; a read-only root; no capabilities.
fn hardened(mut spec: Value, image: &Image, args: &[&str], variables: &[(&str, &str)]) -> Value {
    let user = image.config["User"].as_str().unwrap();
    let (uid, gid) = user.split_once(':').unwrap();
    let mut command = image.config["Entrypoint"].as_array().unwrap().clone();
    command.extend(args.iter().map(|&arg| arg.into()));
    let mut env = image.config["Env"].as_array().unwrap().clone();
    for (name, value) in variables {
        let start = format!("{name}=");
        env.retain(|variable| !variable.as_str().unwrap().starts_with(&start));
        env.push((start + value).into());
    }
    spec["root"] = json!({"path": image.root, "readonly": true});
    spec["process"] = json!({
        "user": {"uid": uid.parse::<u32>().unwrap(), "gid": gid.parse::<u32>().unwrap()},
        "args": command,
        "env": env,
        "cwd": "/",
        "capabilities": {},
        "noNewPrivileges": true,
    });
    spec
}

/// A line of `/proc/PID/status`.
fn status_field(pid: &str, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = status.lines().find_map(|line| line.strip_prefix(name));
    field
        .unwrap()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
#[ignore = "needs deploy/build.sh image, buildah, runc and root"]
fn the_server_runs_as_pid_1_without_root_and_without_capabilities() {
    let container = Container::start("pid-1", &[]);
    let pid = container.pid();
    assert_eq!(status_field(&pid, "NSpid:"), format!("{pid} 1"));
    assert_eq!(status_field(&pid, "Uid:"), "65532 65532 65532 65532");
    assert_eq!(status_field(&pid, "Gid:"), "65532 65532 65532 65532");
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(status_field(&pid, set), "0000000000000000");
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    let root = mounts
        .lines()
        .find(|mount| mount.split(' ').nth(1) == Some("/"));
    let options = root.unwrap().split(' ').nth(3).unwrap();
    assert!(options.starts_with("ro"), "{options}");
}

#[test]
#[ignore = "needs deploy/build.sh image, buildah, runc, nsenter (util-linux), nc and root"]
fn clients_outside_get_their_echoes_and_the_health_check_is_well() {
    let container = Container::start("echo", &[]);
    let pid = container.pid();
    for host in ["127.0.0.1", "::1"] {
        let nc = "echo hello | nsenter --net --target \"$1\" nc -N \"$2\" 3000";
        assert_eq!(shell(nc, &[&pid, host]), "hello\n");
    }
    container.assert_healthy("http://127.0.0.1:9300/healthz: 200 OK: ok");
    let shell = container.exec(&["/bin/sh"]).output().unwrap();
    assert!(!shell.status.success(), "the image has a shell");
}

/// The check reads the variables that the server reads. Without metrics it sends a line.
#[test]
#[ignore = "needs deploy/build.sh image, buildah, runc and root"]
fn the_health_check_follows_the_variables() {
    let variables = [
        ("ECHOLINE_LISTEN", "0.0.0.0:4000"),
        ("ECHOLINE_PREFIX", "a: "),
        ("ECHOLINE_PROXY_PROTOCOL", "1"),
    ];
    let with = |more| [&variables[..], &[more]].concat();
    let metrics = with(("ECHOLINE_METRICS", ":9301"));
    let container = Container::start_with("health-metrics", &[], &metrics);
    container.assert_healthy("http://127.0.0.1:9301/healthz: 200 OK: ok");
    drop(container);
    let none = with(("ECHOLINE_METRICS", ""));
    let container = Container::start_with("health-echo", &[], &none);
    container.assert_healthy("127.0.0.1:4000 echoes");
    run(runc(&container.bundle).args(["kill", &container.name, "STOP"]));
    wait_until("a failed health check", || {
        !container.health().status.success()
    });
    run(runc(&container.bundle).args(["kill", &container.name, "CONT"]));
    container.assert_healthy("127.0.0.1:4000 echoes");
}

/// A quiet client has the only place.
#[test]
#[ignore = "needs deploy/build.sh image, buildah, runc, nsenter (util-linux), nc and root"]
fn liveness_does_not_depend_on_a_free_place() {
    let limit = [("ECHOLINE_MAX_CONNECTIONS", "1")];
    let container = Container::start_with("health-full", &[], &limit);
    let mut clients = [(); 2].map(|()| {
        Command::new("nsenter")
            .args(["--net", "--target", &container.pid()])
            .args(["nc", "127.0.0.1", "3000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    });
    container.wait_for_record("accept paused: connection limit");
    container.assert_healthy("http://127.0.0.1:9300/healthz: 200 OK: ok");
    drop(container);
    for client in &mut clients {
        drop(client.stdin.take());
        client.wait().unwrap();
    }
}

#[test]
#[ignore = "needs deploy/build.sh image, buildah, runc, nsenter (util-linux), nc and root"]
fn sigterm_drains_and_ends_with_status_0() {
    let mut container = Container::start("stop", &["-v"]);
    let mut client = Command::new("nsenter")
        .args([
            "--net",
            "--target",
            &container.pid(),
            "nc",
            "127.0.0.1",
            "3000",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    container.wait_for_record(" connected");
    let status = container.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(
        container.log().contains("closed by "),
        "{}",
        container.log()
    );
    assert!(container.log().contains("totals: "));
    drop(client.stdin.take());
    client.wait().unwrap();
}
