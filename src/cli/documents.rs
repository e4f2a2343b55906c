//! What people write: specs, the config, their schemas, and what is wrong with them.

use std::{
    io::{self, Read},
    path::Path,
};

use super::error::{CliError, CliResult};
use crate::{
    api::{
        config::{Config, Machine},
        diagnose::Diagnostics,
        name::SessionName,
        schema,
        spec::WrittenSpec,
    },
    host::{client as host, errors::words},
};

/// Longest spec or config that is read.
pub const LONGEST: u64 = 64 << 10;

/// The config with every default, as it is installed.
pub const DEFAULT_CONFIG: &str = include_str!("../../config/atm.yaml");

/// What is wrong with a file, for a terminal.
pub fn render(diagnostics: &Diagnostics) -> String {
    diagnostics.render()
}

/// JSON Schema of a session spec.
pub fn session_schema() -> String {
    schema::session()
}

/// JSON Schema of the config.
pub fn config_schema() -> String {
    schema::config()
}

/// Reads a spec; `shown` is for messages.
pub fn parse_spec(bytes: &[u8], shown: &Path) -> Result<WrittenSpec, Diagnostics> {
    WrittenSpec::parse_bytes(bytes, shown)
}

/// Reads a config; `shown` is for messages.
pub fn parse_config(bytes: &[u8], shown: &Path) -> Result<Config, Diagnostics> {
    Config::parse_bytes(bytes, shown, machine())
}

/// What holds where nothing is written.
pub fn default_config() -> Config {
    Config::defaults(machine())
}

/// Whether two specs of this name, in a file of this owner, mean the same.
pub fn same_meaning(one: &[u8], other: &[u8], name: &SessionName, owner: u32) -> bool {
    let parsed = |bytes| parse_spec(bytes, Path::new("spec")).ok();
    let digest = |bytes| parsed(bytes).map(|spec| spec.without_own(name, owner).digest());
    one == other || matches!((digest(one), digest(other)), (Some(one), Some(other)) if one == other)
}

fn machine() -> Machine {
    Machine { memory: host::machine_memory().unwrap_or(u64::MAX) }
}

/// Reads a file of at most [`LONGEST`] bytes; a FIFO or a device never blocks.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    take(host::open_regular(path, host::Links::Follow)?)
}

/// Reads standard input, as much as a spec may have.
pub fn read_stdin() -> CliResult<Vec<u8>> {
    take(io::stdin().lock()).map_err(|error| CliError::io("cannot read standard input", &error))
}

fn take(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {LONGEST} bytes")));
    }
    Ok(bytes)
}

/// Why a file could not be read, in the form of what is wrong with it.
pub fn unreadable(path: &Path, error: &io::Error) -> Diagnostics {
    Diagnostics::whole(path.display().to_string(), format!("cannot be read: {}", words(error)))
}

/// The session that a spec file declares: its stem. `None` where the file's name is no spec's.
pub fn session_of(path: &Path) -> Option<Result<SessionName, Diagnostics>> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"))?;
    if stem.starts_with('.') || name.starts_with('.') || name.starts_with('#') {
        return None;
    }
    Some(SessionName::new(stem).map_err(|error| {
        Diagnostics::whole(path.display().to_string(), format!("the file's name names the session: {error}"))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stem_is_the_name() {
        let name =
            |path: &str| session_of(Path::new(path)).map(|name| name.map(|name| name.to_string()).ok());
        assert_eq!(name("/x/fix-login.yaml"), Some(Some("fix-login".into())));
        assert_eq!(name("a.b.yml"), Some(Some("a.b".into())));
        assert_eq!(name("Fix.yaml"), Some(None), "a spec whose name is wrong");
        for no_spec in [".hidden.yaml", ".a.yaml.tmp", "a.yaml~", "a.txt", "#a.yaml#", "4913"] {
            assert_eq!(name(no_spec), None, "{no_spec}");
        }
    }
}
