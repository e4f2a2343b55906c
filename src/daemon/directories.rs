//! The daemon's own directories, and who may enter them.

use std::{
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use super::{
    paths::Paths,
    startup::{StartupError, host},
};
use crate::host::{files, machine};

/// Makes what is missing.
pub fn make(paths: &Paths, system: bool) -> Result<(), StartupError> {
    // In system mode every user may reach the socket; what is below is closed to them one by one.
    let open = if system { 0o755 } else { 0o700 };
    let directories = &paths.directories;
    // Also above what is closed: output, which users may read, may be below the same directory.
    for directory in [&directories.runtime, &directories.state, &directories.log] {
        files::make_above(directory, open).map_err(host("make what is above", directory))?;
    }
    for (directory, mode) in [
        (directories.runtime.clone(), open),
        (paths.locks(), 0o700),
        (paths.runs(), if system { 0o711 } else { 0o700 }),
        (directories.state.clone(), 0o700),
    ] {
        files::make_directory(&directory, mode).map_err(host("make", &directory))?;
        open_again(&directory, mode).map_err(host("open to users", &directory))?;
    }
    // What lives can be held without these; what is to start and needs one says so.
    for (directory, mode) in [
        (paths.memories(), 0o700),
        (paths.retired_memories(), 0o700),
        (paths.previous(), 0o700),
        (paths.leaving(), 0o700),
        (directories.log.clone(), open),
    ] {
        if let Err(error) = files::make_directory(&directory, mode) {
            tracing::error!(path = %directory.display(), %error, "cannot make a directory");
        }
    }
    Ok(())
}

/// Gives `directory` its `mode` where it is closed to all others: so a keeper leaves it that made it anew, which cannot
/// know whom the daemon serves. Any other mode is somebody's choice, and stays.
fn open_again(directory: &Path, mode: u32) -> io::Result<()> {
    let found = std::fs::metadata(directory)?;
    let closed = found.permissions().mode() & 0o777 == 0o700;
    if closed && mode != 0o700 && found.uid() == machine::uid() {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::control::Directories;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn paths_below(dir: &Path) -> Paths {
        let [config, sessions, runtime, state, log] = ["c", "s", "r", "t", "l"].map(|name| dir.join(name));
        Paths::new(Directories { config, sessions, runtime, state, log }, None)
    }

    #[test]
    fn directories_are_closed_to_others_in_user_mode() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let paths = paths_below(dir.path());
        make(&paths, false).unwrap();
        for made in [at("r"), at("t"), at("l"), paths.locks(), paths.runs(), paths.memories()] {
            assert_eq!(mode(&made), 0o700, "{}", made.display());
        }
    }

    #[test]
    fn what_a_keeper_made_anew_is_opened_to_users_in_system_mode_and_what_somebody_chose_stays() {
        let close = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let paths = paths_below(dir.path());
        make(&paths, true).unwrap();
        let modes = || [at("r"), paths.runs(), paths.locks(), at("t")].map(|path| mode(&path));
        assert_eq!(modes(), [0o755, 0o711, 0o700, 0o700]);
        close(&at("r"), 0o700);
        close(&paths.runs(), 0o700);
        make(&paths, true).unwrap();
        assert_eq!(modes(), [0o755, 0o711, 0o700, 0o700]);
        close(&at("r"), 0o750);
        make(&paths, true).unwrap();
        assert_eq!(modes(), [0o750, 0o711, 0o700, 0o700]);
        close(&at("r"), 0o700);
        make(&paths, false).unwrap();
        assert_eq!(mode(&at("r")), 0o700, "in user mode it is closed");
    }
}
