//! SHELL: the programs' sizes, stripped, as they are shipped.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::figures::Figures;

const LOAD: &str = "program";

pub(crate) fn run(figures: &mut Figures) {
    figures.put(LOAD, "rivulet-collector, KiB", kib(&super::centre::built("rivulet-collector")));
    build(&[], "rivulet, KiB", figures);
    build(&["--no-default-features"], "rivulet without decode, KiB", figures);
}

fn build(features: &[&str], what: &str, figures: &mut Figures) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(here).args(["build", "--release", "--bin", "rivulet", "--quiet"]);
    let target = here.join("target/size");
    let status = command.args(features).env("CARGO_TARGET_DIR", &target).status();
    assert!(status.expect("cargo runs").success(), "the agent does not build");
    figures.put(LOAD, what, kib(&target.join("release/rivulet")));
}

fn kib(path: &Path) -> f64 {
    fs::metadata(path).expect("it was built").len() as f64 / 1024.0
}
