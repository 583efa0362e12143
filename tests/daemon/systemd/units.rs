//! The unit files, without a booted systemd.

use std::fs;
use std::process::Command;

const SERVICES: [&str; 2] = ["echoline.service", "echoline@.service"];

fn path_of(unit: &str) -> String {
    format!("{}/deploy/systemd/{unit}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
#[ignore = "needs systemd"]
fn the_exposure_of_the_services_is_at_most_one_and_a_half() {
    for unit in SERVICES {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
            .arg(path_of(unit))
            .output()
            .expect("systemd is installed");
        let table = String::from_utf8_lossy(&output.stdout);
        let exposure = table.lines().find(|line| line.contains("exposure level"));
        println!("{}", exposure.expect("the exposure level"));
        assert!(output.status.success(), "{table}");
    }
}

/// The program and its man page are not installed, so a copy of each unit names another
/// program, and man pages are not looked for.
#[test]
#[ignore = "needs systemd"]
fn systemd_finds_nothing_wrong_with_the_units() {
    let dir = env!("CARGO_TARGET_TMPDIR");
    let dir = format!("{dir}/units.{}", std::process::id());
    fs::create_dir(&dir).unwrap();
    let units = ["echoline.service", "echoline.socket", "echoline@.service"].map(|unit| {
        let text = fs::read_to_string(path_of(unit)).unwrap();
        let text = text.replace("ExecStart=/usr/bin/echoline", "ExecStart=/bin/true");
        let path = format!("{dir}/{}", unit.replace('@', "@0"));
        fs::write(&path, text).unwrap();
        path
    });
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
        .expect("systemd is installed");
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn the_template_differs_from_the_service_only_in_what_an_instance_has() {
    let [service, template] = SERVICES.map(|unit| {
        let text = fs::read_to_string(path_of(unit)).unwrap();
        let own = [
            "#",
            "Description=",
            "EnvironmentFile=-/etc/default/echoline@",
            "ExecStart=",
            "CPUAffinity=",
        ];
        let common = text
            .lines()
            .filter(|l| !own.iter().any(|own| l.starts_with(own)));
        common.map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(service, template);
}
