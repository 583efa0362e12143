//! The Kubernetes manifest.

use std::process::Command;

use crate::repository;
use crate::run::run;

#[test]
#[ignore = "needs kubernetes-validate (PyPI)"]
fn the_manifest_conforms_to_the_schema() {
    let manifest = repository("deploy/kubernetes/echoline.yaml");
    let output = run(Command::new("kubernetes-validate")
        .arg("--strict")
        .arg(manifest));
    assert_eq!(output.matches("passed").count(), 2, "{output}");
}
