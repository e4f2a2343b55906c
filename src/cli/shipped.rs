//! What an installation is made of: each file with its place, all of it embedded in the program.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::{
    args::Cli,
    completion,
    dirs::Mode,
    error::{CliError, CliResult},
};

/// One file of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    /// Where it belongs.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// A person may change it; then it is theirs.
    pub is_config: bool,
}

/// Where an installation goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Whose daemon.
    pub mode: Mode,
    /// The program is in `bin` below it.
    pub prefix: PathBuf,
    /// The directory of `atm.yaml`.
    pub config: PathBuf,
    /// The user's own `systemd/user`; for the system its directories follow from the prefix.
    pub units: PathBuf,
}

/// Where the units say that the program is.
const PROGRAM: &str = "/usr/bin/atm";

const CONFIG: &str = include_str!("../../config/atm.yaml");

/// Directories that systemd reads for a packaged unit; a prefix elsewhere is not among them.
const STANDARD: [&str; 2] = ["/usr", "/usr/local"];

macro_rules! embedded {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../systemd/", $path)))),*]
    };
}

/// For the system, by its place below `lib`; what is not of systemd itself is `systemd`'s sibling there.
const SYSTEM: [(&str, &str); 9] = embedded!(
    "system/atm.service",
    "system/atm.socket",
    "user/atm.service",
    "user/atm.socket",
    "system-preset/80-atm.preset",
    "user-preset/80-atm.preset",
    "catalog/atm.catalog",
    "sysusers.d/atm.conf",
    "tmpfiles.d/atm.conf",
);

const USER: [(&str, &str); 2] = embedded!("user/atm.service", "user/atm.socket");

impl Layout {
    /// The program's own place.
    pub fn program(&self) -> PathBuf {
        self.prefix.join("bin/atm")
    }

    /// The place of a file of systemd's: below the prefix where systemd looks there, in `/etc` otherwise. A
    /// catalogue has no place in `/etc`.
    pub fn place(&self, name: &str) -> Option<PathBuf> {
        let standard = STANDARD.iter().any(|prefix| self.prefix == Path::new(prefix));
        let base = if standard { self.prefix.join("lib") } else { PathBuf::from("/etc") };
        let is_systemds = !name.starts_with("sysusers.d/") && !name.starts_with("tmpfiles.d/");
        let base = if is_systemds { base.join("systemd") } else { base };
        (standard || !name.starts_with("catalog/")).then(|| base.join(name))
    }

    /// All files but the program.
    pub fn files(&self) -> CliResult<Vec<Shipped>> {
        let program = self.program().display().to_string();
        let unit = |text: &str| text.replace(PROGRAM, &program).into_bytes();
        let plain = |path: PathBuf, bytes: Vec<u8>| Shipped { path, bytes, is_config: false };
        let mut files: Vec<_> = match self.mode {
            Mode::System => {
                let placed = SYSTEM.iter().filter_map(|(name, text)| Some((self.place(name)?, text)));
                placed.map(|(path, text)| plain(path, unit(text))).collect()
            }
            Mode::User => {
                let name = |path: &str| path.trim_start_matches("user/").to_owned();
                USER.iter().map(|(path, text)| plain(self.units.join(name(path)), unit(text))).collect()
            }
        };
        files.push(Shipped {
            path: self.config.join("atm.yaml"),
            bytes: CONFIG.as_bytes().to_vec(),
            is_config: true,
        });
        let share = self.prefix.join("share");
        for (shell, path) in [
            ("bash", "bash-completion/completions/atm"),
            ("zsh", "zsh/site-functions/_atm"),
            ("fish", "fish/vendor_completions.d/atm.fish"),
        ] {
            files.push(plain(share.join(path), completion::script(shell)?));
        }
        for (name, page) in manual()? {
            files.push(plain(share.join("man/man1").join(name), page));
        }
        Ok(files)
    }
}

/// One page for the program and one for each verb, each by its file's name.
fn manual() -> CliResult<Vec<(String, Vec<u8>)>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let page = |name: &str, command: &clap::Command| {
        let mut page = Vec::new();
        let made = clap_mangen::Man::new(command.clone().display_name(name.to_owned())).render(&mut page);
        made.map_err(|error| CliError::io("cannot make a manual page", &error))?;
        CliResult::Ok((format!("{name}.1"), page))
    };
    let mut pages = vec![page("atm", &program)?];
    for verb in program.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages.push(page(&format!("atm-{}", verb.get_name()), verb)?);
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(prefix: &str) -> Layout {
        Layout { mode: Mode::System, prefix: prefix.into(), config: "/etc/atm".into(), units: PathBuf::new() }
    }

    fn paths(layout: &Layout) -> Vec<String> {
        layout.files().unwrap().into_iter().map(|file| file.path.display().to_string()).collect()
    }

    #[test]
    fn every_file_is_where_its_reader_looks() {
        let local = paths(&layout("/usr/local"));
        for path in [
            "/usr/local/lib/systemd/system/atm.service",
            "/usr/local/lib/systemd/user/atm.socket",
            "/usr/local/lib/systemd/system-preset/80-atm.preset",
            "/usr/local/lib/systemd/catalog/atm.catalog",
            "/usr/local/lib/sysusers.d/atm.conf",
            "/usr/local/lib/tmpfiles.d/atm.conf",
            "/etc/atm/atm.yaml",
            "/usr/local/share/man/man1/atm.1",
            "/usr/local/share/man/man1/atm-describe.1",
            "/usr/local/share/fish/vendor_completions.d/atm.fish",
        ] {
            assert!(local.iter().any(|other| other == path), "{path}: {local:#?}");
        }
        let elsewhere = paths(&layout("/opt/atm"));
        assert!(elsewhere.iter().any(|path| path == "/etc/systemd/system/atm.service"), "{elsewhere:#?}");
        assert!(elsewhere.iter().any(|path| path == "/etc/sysusers.d/atm.conf"));
        assert!(!elsewhere.iter().any(|path| path.contains("catalog")));
    }

    #[test]
    fn units_start_the_program_that_was_installed() {
        let files = layout("/opt/atm").files().unwrap();
        let unit = files.iter().find(|file| file.path.ends_with("system/atm.service")).unwrap();
        let text = String::from_utf8(unit.bytes.clone()).unwrap();
        assert!(text.contains("\nExecStart=/opt/atm/bin/atm daemon --system\n"), "{text}");
    }
}
