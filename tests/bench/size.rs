//! SHELL: the programs' sizes, stripped, as they are shipped.

use std::fs;
use std::path::Path;

use super::centre::built;
use super::figures::Figures;

const LOAD: &str = "program";

pub(crate) fn run(folder: &Path, figures: &mut Figures) {
    let programs = [
        ("rivulet, KiB", built("rivulet")),
        ("rivulet without decode, KiB", folder.join("rivulet-without-decode")),
        ("rivulet-collector, KiB", built("rivulet-collector")),
    ];
    for (what, path) in programs {
        let bytes = fs::metadata(path).expect("`make bench` builds it").len();
        figures.put(LOAD, what, bytes as f64 / 1024.0);
    }
}
