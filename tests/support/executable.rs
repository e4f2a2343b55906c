//! Programs that a test makes itself.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Writes what can be executed at once. By a process of its own: a process that another test starts meanwhile has all
/// descriptors of this one until it executes its program, and a file that anybody may write cannot be executed.
pub fn executable(path: &Path, bytes: &[u8]) {
    let write = ["-c", "cat >\"$0\" && chmod 755 \"$0\""];
    let mut child = Command::new("sh").args(write).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(child.wait().unwrap().success(), "cannot write {}", path.display());
}
