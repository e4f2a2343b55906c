//! Executing a program, and finding out why it could not be.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use nix::{errno::Errno, unistd::execve};

/// An exec that failed.
#[derive(Debug)]
pub struct NotExecuted {
    /// The file that stood in the way, or the program as it was asked for where no file did.
    pub file: CString,
    /// What the system said.
    pub error: io::Error,
}

/// Replaces this process by a program; returns only if that fails.
///
/// A program without a slash is looked for in `search`, directory by directory; one that may not be executed
/// does not hide a later one that may, and is what is reported if there is none.
pub fn execute(arguments: &[CString], environment: &[CString], search: &str) -> NotExecuted {
    let failed = |file: &CStr, error: Errno| NotExecuted { file: file.to_owned(), error: error.into() };
    let Some(program) = arguments.first().filter(|program| !program.is_empty()) else {
        return failed(c"", Errno::ENOENT);
    };
    let attempt = |file: &CStr| match execve(file, arguments, environment) {
        Err(error) => error,
        Ok(never) => match never {},
    };
    if program.as_bytes().contains(&b'/') {
        return failed(program, attempt(program));
    }
    let mut found = failed(program, Errno::ENOENT);
    for directory in search.split(':').filter(|directory| !directory.is_empty()) {
        let path = Path::new(directory).join(OsStr::from_bytes(program.as_bytes()));
        let Ok(file) = CString::new(path.as_os_str().as_bytes()) else {
            continue;
        };
        match attempt(&file) {
            // The file itself is there: what is missing is its interpreter.
            Errno::ENOENT if path.exists() => return failed(&file, Errno::ENOENT),
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT => {}
            // A directory that this user may not search has no program for them, nor is a directory one.
            Errno::EACCES if path.symlink_metadata().is_err() || path.is_dir() => {}
            Errno::EACCES => found = failed(&file, Errno::EACCES),
            error => return failed(&file, error),
        }
    }
    found
}

/// The interpreter that a file names in its first line (`#!`); `None` for other files.
pub fn interpreter(file: &Path) -> Option<String> {
    let mut start = [0_u8; 256];
    let length = File::open(file).ok()?.read(&mut start).ok()?;
    let line = start.get(..length)?.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_a_script_is_its_first_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, "#! /no/such/sh -e\nexit\n").unwrap();
        assert_eq!(interpreter(&path).as_deref(), Some("/no/such/sh"));
        std::fs::write(&path, "exit\n").unwrap();
        assert_eq!(interpreter(&path), None);
    }

    #[test]
    fn what_is_not_there_is_told_as_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let search = dir.path().to_str().unwrap();
        let failed = execute(&[c"no-such-program".to_owned()], &[], search);
        assert_eq!(failed.file.as_c_str(), c"no-such-program");
        assert_eq!(failed.error.kind(), io::ErrorKind::NotFound);
        std::fs::write(dir.path().join("plain"), "").unwrap();
        let failed = execute(&[c"plain".to_owned()], &[], &format!("{search}:/nowhere"));
        assert_eq!(failed.error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(failed.file.to_str().unwrap(), format!("{search}/plain"));
    }
}
