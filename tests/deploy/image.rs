//! The container image, unpacked by buildah.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::run::run;
use crate::{VERSION, package, scratch};

/// The image in a storage of its own, without an engine or a registry.
pub struct Image {
    dir: PathBuf,
    /// Its root file system.
    pub root: PathBuf,
    /// Its configuration: user, entry point, environment, health check.
    pub config: Value,
}

impl Image {
    pub fn unpack(test: &str) -> Image {
        let archive = package(&format!("echoline-{VERSION}-image.tar"));
        let dir = scratch(test);
        let archive = format!("docker-archive:{}", archive.display());
        buildah(&dir, &["from", "--name", "image", &archive]);
        let inspected = buildah(&dir, &["inspect", "image"]);
        let mut inspected: Value = serde_json::from_str(&inspected).unwrap();
        let root = buildah(&dir, &["mount", "image"]).trim_end().into();
        let config = inspected["Docker"]["config"].take();
        Image { dir, root, config }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        buildah(&self.dir, &["rm", "image"]);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn buildah(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("buildah");
    command.arg("--root").arg(dir.join("storage"));
    command.arg("--runroot").arg(dir.join("run"));
    run(command.args(["--storage-driver", "vfs"]).args(args))
}

#[test]
#[ignore = "needs deploy/build.sh image and buildah"]
fn the_image_is_the_binary_alone_and_at_most_2_5_megabytes() {
    let archive = package(&format!("echoline-{VERSION}-image.tar"));
    let size = fs::metadata(archive).unwrap().len();
    println!("image: {size} bytes");
    assert!(size <= 2_500_000, "{size}");
    let image = Image::unpack("image");
    let files = run(Command::new("find")
        .arg(&image.root)
        .args(["-mindepth", "1"]));
    let binary = image.root.join("echoline");
    assert_eq!(files, format!("{}\n", binary.display()));
}

#[test]
#[ignore = "needs deploy/build.sh image and buildah"]
fn the_image_has_a_user_an_entry_point_a_port_and_a_health_check() {
    let image = Image::unpack("config");
    let config = &image.config;
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/echoline"]));
    assert!(config["ExposedPorts"].get("3000/tcp").is_some(), "{config}");
    let check = &config["Healthcheck"]["Test"];
    assert_eq!(check[0], "CMD", "{config}"); // Without a shell, which the image lacks.
    assert_eq!(check[1], "/echoline", "{config}");
    assert_eq!(check[2], "health", "{config}");
}
