//! What the kernel, git and other programs leave in files.

use std::{fs, path::Path};

use super::{Broken, fit_for_people, promise, text};
use crate::host::{assume, cgroup, git, look::machine, look::stat::Stat, program};

/// Files of `/proc` and of cgroups.
pub(super) fn proc(bytes: &[u8], scratch: &Path) -> Result<(), Broken> {
    if let Some(stat) = Stat::parse(bytes) {
        // Whatever the process calls itself, it is the one that the file begins with.
        let begin = bytes.split(|byte| *byte == b'(').next().unwrap_or_default();
        promise!(text(begin).trim().parse() == Ok(stat.pid), "another process: {stat:?}");
        let _ = (stat.has_ended(), stat.is_stopped());
    }
    let status = text(bytes);
    if let Some(rights) = assume::parse(&status) {
        let most = status.lines().map(|line| line.split_whitespace().count()).max().unwrap_or(0);
        promise!(rights.groups().len() <= most, "more groups than words: {rights:?}");
    }
    let _ = (cgroup::field(&status, "usage_usec "), machine::kib(bytes, "MemAvailable:"));
    let script = scratch.join("script");
    fs::write(&script, bytes.get(..bytes.len().min(512)).unwrap_or_default()).map_err(|e| e.to_string())?;
    if let Some(program) = program::interpreter(&script) {
        promise!(!program.is_empty() && !program.contains(char::is_whitespace), "a program {program:?}");
        // Each byte that is no text is three of what stands for it.
        promise!(program.len() <= 3 * 256, "a program of {} bytes", program.len());
    }
    Ok(())
}

/// A directory of somebody's with files of git in it: `HEAD`, `config`, `commondir` and `.git` itself.
pub(super) fn repository(bytes: &[u8], scratch: &Path) -> Result<(), Broken> {
    let failed = |error: std::io::Error| format!("the test's own files: {error}");
    let files: Vec<&[u8]> = bytes.split(|byte| *byte == 0xff).collect();
    let [head, more @ ..] = files.as_slice() else { return Ok(()) };
    let (place, own) = (scratch.join("tree"), scratch.join("tree/.git"));
    let _ = fs::remove_dir_all(&place); // of the input before
    fs::create_dir_all(&own).map_err(failed)?;
    if let [_, _, link] = more {
        fs::remove_dir(&own).map_err(failed)?;
        fs::write(&own, link).map_err(failed)?;
    } else {
        fs::write(own.join("HEAD"), head).map_err(failed)?;
        for (name, bytes) in ["config", "commondir"].into_iter().zip(more) {
            fs::write(own.join(name), bytes).map_err(failed)?;
        }
    }
    let Some(view) = git::of_directory(&place) else { return Ok(()) };
    fit_for_people("a repository", &view.repo, 255)?;
    promise!(!view.repo.contains('/') || view.repo == "/", "a repository {:?}", view.repo);
    promise!(place.starts_with(&view.root), "a repository at {:?}", view.root);
    view.branch.map_or(Ok(()), |branch| fit_for_people("a branch", &branch, 250))
}
