//! `atm install`: the program, its units, config, completions and manual into place, and the daemon started.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    context::Context,
    dirs::{self, Mode},
    error::{CliError, CliResult},
    shipped::{Layout, Shipped},
};
use crate::host::{
    errors::words,
    files::make_above,
    put::{AtLink, Manner, Place, Rights, put},
    users,
};

const AFTER: &str = "\
Everything is in the program itself. What is there and the same is left alone, a config that was changed is
kept, and sessions that run go on: it is the way to upgrade, too.

Examples:
  atm install --dry-run
  sudo ./atm install
  ./atm install --user";

/// Arguments of `atm install`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Directory with bin, lib and share [default: /usr/local; with --user: ~/.local]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub prefix: Option<PathBuf>,
}

/// Ends well when everything is in place and the daemon is up.
pub fn run(args: &Args, context: &mut Context) -> CliResult {
    let layout = layout(args.prefix.as_deref(), args.dry_run, context)?;
    let mut steps = Steps { context, dry: args.dry_run, changed: false };
    steps.program(&layout.program())?;
    for file in layout.files()? {
        steps.file(&file)?;
    }
    match layout.mode {
        Mode::System => {
            let group = layout.place("sysusers.d/atm.conf").unwrap_or_default().display().to_string();
            steps.try_command(&["systemd-sysusers", &group])?;
            steps.try_command(&["systemd-tmpfiles", "--create", "--prefix=/etc/atm"])?;
            steps.try_command(&["journalctl", "--update-catalog"])?;
        }
        Mode::User => {
            let name = users::by_uid(context_uid(steps.context)).ok().flatten().map(|account| account.name);
            if let Some(name) = name.filter(|name| !Path::new("/var/lib/systemd/linger").join(name).exists())
            {
                steps.context.out.warn(&format!(
                    "lingering is off: sessions end with your last logout; `loginctl enable-linger {name}` lets them go on"
                ))?;
            }
        }
    }
    steps.systemctl(layout.mode, &["daemon-reload"])?;
    steps.systemctl(layout.mode, &["enable", "atm.service"])?;
    // A restart keeps every session; without a change there is no need for one.
    let verb = if steps.changed { "restart" } else { "start" };
    steps.systemctl(layout.mode, &[verb, "atm.service"])
}

fn context_uid(context: &Context) -> u32 {
    context.environment.uid
}

/// Where it goes, by the mode and the prefix that are asked for.
pub fn layout(prefix: Option<&Path>, dry: bool, context: &Context) -> CliResult<Layout> {
    let mode = context.places.mode(&context.environment);
    let directories = dirs::table(mode, &context.environment)?;
    let config = directories.config.parent().map(Path::to_owned).unwrap_or_default();
    let home = context.environment.home.clone();
    let (default, units) = match mode {
        Mode::System => (PathBuf::from("/usr/local"), PathBuf::new()),
        Mode::User => {
            let home = home.ok_or_else(|| CliError::failed("no home directory is known").hint("set HOME"))?;
            let base = config.parent().map(Path::to_owned).unwrap_or_default();
            (home.join(".local"), base.join("systemd/user"))
        }
    };
    if mode == Mode::System && context.environment.uid != 0 && !dry {
        return Err(CliError::failed("only root installs for the machine")
            .hint("sudo atm install; or `atm install --user` for a daemon of your own"));
    }
    let prefix = prefix.map_or(Ok(default), std::path::absolute);
    let prefix = prefix.map_err(|error| CliError::io("cannot tell where the prefix is", &error))?;
    Ok(Layout { mode, prefix, config, units })
}

/// What is done, one after the other, each said before it is done.
pub struct Steps<'a> {
    /// Where to talk.
    pub context: &'a mut Context,
    /// Only talk.
    pub dry: bool,
    /// Something that the daemon runs by is new.
    pub changed: bool,
}

impl Steps<'_> {
    fn say(&mut self, what: &str) -> CliResult {
        let text = if self.dry { format!("would {what}") } else { what.to_owned() };
        self.context.out.line(&super::text::escape(&text))
    }

    fn program(&mut self, place: &Path) -> CliResult {
        let own =
            std::env::current_exe().map_err(|error| CliError::io("cannot find this program", &error))?;
        let bytes = fs::read(&own)
            .map_err(|error| CliError::io(format_args!("cannot read `{}`", own.display()), &error))?;
        self.put(place, &bytes, 0o755)
    }

    fn file(&mut self, file: &Shipped) -> CliResult {
        let there = fs::read(&file.path).ok();
        if file.is_config && there.as_ref().is_some_and(|there| *there != file.bytes) {
            return self.say(&format!("keep {}: it was changed", file.path.display()));
        }
        self.put(&file.path, &file.bytes, 0o644)
    }

    /// Writes a file by renaming, so that what runs or reads the old one keeps it whole.
    fn put(&mut self, path: &Path, bytes: &[u8], mode: u32) -> CliResult {
        let same = fs::metadata(path).is_ok_and(|there| there.mode() & 0o777 == mode)
            && fs::read(path).is_ok_and(|there| there == bytes);
        if same {
            return self.say(&format!("leave {}: it is as it should be", path.display()));
        }
        self.say(&format!("write {}", path.display()))?;
        self.changed = true;
        if self.dry {
            return Ok(());
        }
        write(path, bytes, mode)
            .map_err(|error| CliError::io(format_args!("cannot write `{}`", path.display()), &error))
    }

    /// Removes a file that is there.
    pub fn remove(&mut self, path: &Path) -> CliResult {
        if fs::symlink_metadata(path).is_err() {
            return Ok(());
        }
        self.say(&format!("remove {}", path.display()))?;
        if self.dry {
            return Ok(());
        }
        fs::remove_file(path)
            .map_err(|error| CliError::io(format_args!("cannot remove `{}`", path.display()), &error))
    }

    /// Says that a file stays, and why.
    pub fn keep(&mut self, path: &Path, why: &str) -> CliResult {
        self.say(&format!("keep {}: {why}", path.display()))
    }

    /// Runs a command that has to succeed.
    pub fn systemctl(&mut self, mode: Mode, arguments: &[&str]) -> CliResult {
        let user: &[&str] = if mode == Mode::User { &["--user"] } else { &[] };
        let command = [&["systemctl"], user, arguments].concat();
        let Some(why) = self.command(&command)? else { return Ok(()) };
        Err(CliError::failed(format!("`{}` failed: {why}", command.join(" ")))
            .hint("`systemctl status atm` and `journalctl -u atm` say more; without systemd: atm daemon"))
    }

    /// Runs a command that may be missing: what it does is a convenience.
    pub fn try_command(&mut self, command: &[&str]) -> CliResult {
        match self.command(command)? {
            Some(why) => self.context.out.warn(&format!("`{}` failed: {why}", command.join(" "))),
            None => Ok(()),
        }
    }

    /// Why it failed, where it did.
    fn command(&mut self, command: &[&str]) -> CliResult<Option<String>> {
        self.say(&format!("run {}", command.join(" ")))?;
        let (false, Some((program, arguments))) = (self.dry, command.split_first()) else { return Ok(None) };
        self.context.out.flush()?; // its own words come after ours
        Ok(match Command::new(program).args(arguments).status() {
            Ok(status) if status.success() => None,
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(words(&error)),
        })
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    make_above(path, 0o755)?;
    put(path, bytes, Manner { place: Place::Replace, link: AtLink::Replace, rights: Rights::Own(mode) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_installs_is_not_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("bin/atm"), dir.path().join("victim"));
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(&victim, "safe").unwrap();
        for name in ["atm", ".atm.tmp", "atm.atm-new"] {
            std::os::unix::fs::symlink(&victim, dir.path().join("bin").join(name)).unwrap();
        }
        write(&path, b"new", 0o755).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"safe");
        let about = fs::symlink_metadata(&path).unwrap();
        assert_eq!((about.is_file(), about.mode() & 0o777), (true, 0o755));
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
