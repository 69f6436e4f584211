//! SHELL: whether files are still those that were read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells files from those that were there before: device, number, length and the time of the last change
/// to what the file system knows of each (seconds and nanoseconds). That time cannot be set from outside, and
/// moves with the contents too. A file that is not there has none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stamps(Vec<Option<Stamp>>);

type Stamp = (u64, u64, u64, i64, i64);

impl Stamps {
    /// Those of files, in the order given.
    pub fn of<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let stamp = |path: P| {
            let found = fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec()))
        };
        Self(paths.into_iter().map(stamp).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_removed_or_written_has_another_stamp() {
        let dir = std::env::temp_dir().join(format!("rivulet-stamps-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("certificate");
        let mut seen = vec![Stamps::of([&file])];
        fs::write(&file, "one").unwrap();
        seen.push(Stamps::of([&file]));
        fs::write(&file, "longer").unwrap();
        seen.push(Stamps::of([&file]));
        fs::write(dir.join("new"), "LONGER").unwrap();
        fs::rename(dir.join("new"), &file).unwrap();
        seen.push(Stamps::of([&file]));
        assert_eq!(seen[3], Stamps::of([&file]), "nothing happened");
        seen.dedup();
        assert_eq!(seen.len(), 4);
        fs::remove_dir_all(&dir).unwrap();
    }
}
