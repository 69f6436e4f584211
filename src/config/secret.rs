//! SHELL: a password that never shows itself, and the file that it is read from.
//!
//! A password is never written into the configuration: it is named by file or by environment
//! variable. A file is read anew whenever it is asked for: by the collector for each connection to its
//! broker, by the agent when it starts.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Text that must not appear in logs: `Debug` and `Display` print `***`.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Wraps what must not be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a password comes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Password {
    /// The account has none.
    #[default]
    None,
    /// From the environment, taken when the configuration was read.
    Given(Secret),
    /// The first line of this file.
    File(PathBuf),
}

impl Password {
    /// The password as it is now.
    ///
    /// # Errors
    /// The file is missing, unreadable, readable by everybody, not UTF-8, or has more than
    /// [`FILE_BYTES_MAX`] bytes or more than one line.
    pub fn read(&self) -> Result<Secret, PasswordError> {
        match self {
            Self::None => Ok(Secret::default()),
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => read(path)
                .map_err(|reason| PasswordError { path: path.clone(), reason: reason.to_string() }),
        }
    }
}

/// Why a password file cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PasswordError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "password file {}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for PasswordError {}

fn read(path: &Path) -> io::Result<Secret> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    let file = File::open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return refuse("is not a file");
    }
    if facts.permissions().mode() & 0o007 != 0 {
        return refuse("is open to everybody; chmod 600 it");
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return refuse("is too long for a password");
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains(['\n', '\0']) {
        return refuse("must hold one line, the password");
    }
    Ok(Secret::new(line))
}

/// What to say of a password that stands in a configuration.
pub(super) const PASSWORD_REFUSED: &str = "is refused: this file is shown, copied and backed up. Name a private \
     file with `password_file` or an environment variable with `password_env`";

/// The longest password file, in bytes: far more than any server accepts.
pub const FILE_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, Password) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, Password::File(path))
    }

    #[test]
    fn secrets_do_not_show_themselves() {
        let secret = Secret::new("hunter2");
        let password = Password::Given(secret.clone());
        let shown = format!("{secret} {secret:?} {password:?} {password:#?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn one_line_end_is_not_part_of_the_password() {
        for text in ["s3cret ", "s3cret \n", "s3cret \r\n"] {
            let (_dir, password) = file(text, 0o600);
            assert_eq!(password.read().unwrap().expose(), "s3cret ");
        }
    }

    #[test]
    fn a_password_file_must_be_private_and_one_line() {
        let reason = |text: &str, mode| file(text, mode).1.read().unwrap_err().reason;
        assert_eq!(reason("x", 0o644), "is open to everybody; chmod 600 it");
        assert_eq!(reason("x\ny\n", 0o600), "must hold one line, the password");
        assert_eq!(reason(&"x".repeat(5000), 0o600), "is too long for a password");
        let (dir, _) = file("x", 0o600);
        let folder = Password::File(dir.path().to_owned()).read().unwrap_err();
        assert_eq!(folder.reason, "is not a file");
        let absent = Password::File(dir.path().join("absent")).read().unwrap_err();
        assert!(absent.to_string().contains("absent: No such file"), "{absent}");
    }
}
