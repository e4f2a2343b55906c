//! The daemon's own directories, and who may enter them.

use super::{
    paths::Paths,
    startup::{StartupError, host},
};
use crate::host::files;

/// Makes what is missing.
pub fn make(paths: &Paths, system: bool) -> Result<(), StartupError> {
    // In system mode every user may reach the socket; what is below is closed to them one by one.
    let open = if system { 0o755 } else { 0o700 };
    let directories = &paths.directories;
    for (directory, mode) in [
        (directories.runtime.clone(), open),
        (paths.locks(), 0o700),
        (paths.runs(), if system { 0o711 } else { 0o700 }),
        (directories.state.clone(), 0o700),
    ] {
        files::make_directory(&directory, mode).map_err(host("make", &directory))?;
    }
    // What lives can be held without these; what is to start and needs one says so.
    for (directory, mode) in
        [(paths.memories(), 0o700), (paths.retired_memories(), 0o700), (directories.log.clone(), open)]
    {
        if let Err(error) = files::make_directory(&directory, mode) {
            tracing::error!(path = %directory.display(), %error, "cannot make a directory");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::api::control::Directories;

    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directories_are_closed_to_others_in_user_mode() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let directories = Directories {
            config: at("c"),
            sessions: at("s"),
            runtime: at("r"),
            state: at("t"),
            log: at("l"),
        };
        let paths = Paths::new(directories, None);
        make(&paths, false).unwrap();
        for made in [at("r"), at("t"), at("l"), paths.locks(), paths.runs(), paths.memories()] {
            assert_eq!(mode(&made), 0o700, "{}", made.display());
        }
    }
}
