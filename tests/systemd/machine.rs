//! A machine of the test's own: a real systemd as the first process of fresh namespaces (see `boot.sh`).

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;
use tempfile::TempDir;

use super::harness::{is_root, wait_until};

const SYSTEMD: &str = "/lib/systemd/systemd";
const ATM: &str = "/usr/local/bin/atm";

/// Counts lines from 0, without a gap: what a session of a test mostly does.
pub const COUNTER: &str = "command: [sh, -c, 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done']\nterminationGracePeriod: 5s\n";

/// A booted machine.
pub struct Machine {
    /// Bound to `/run/host/test` there.
    dir: TempDir,
    /// Its processes are in this cgroup, and those that it makes below it.
    group: PathBuf,
    /// `unshare`, which waits for the machine's first process.
    outer: Child,
    /// The machine's first process, as we see it.
    pid: u32,
}

impl Machine {
    /// Boots one; `None`, with a word, where that is not possible.
    pub fn boot() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let skip = |why: &str| {
            eprintln!("skipped: {why}");
            None
        };
        if !is_root() || !Path::new(SYSTEMD).exists() {
            return skip("a machine of one's own needs root and systemd");
        }
        let mut roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().map(PathBuf::from);
        let Some(root) = roots.find(|root| root.join("cgroup.procs").exists()) else {
            return skip("no cgroup2 hierarchy");
        };
        let group = root.join(format!(
            "atm-systemd-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        if fs::create_dir(&group).is_err() {
            return skip("no cgroup of one's own can be made");
        }
        // Not below /tmp, which the machine has none of ours of.
        let dir =
            tempfile::Builder::new().prefix("machine-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/boot.sh");
        let outer = Command::new("sh")
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec setpriv --pdeathsig KILL \"$@\""])
            .arg(&group)
            .args("unshare --fork --kill-child --pid --mount --uts --ipc --cgroup --mount-proc sh".split(' '))
            .args([&boot, dir.path(), Path::new(env!("CARGO_BIN_EXE_atm"))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("boot.log")).unwrap())
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let mut machine = Self { dir, group, outer, pid: 0 };
        let up = wait_until(|| {
            let child = fs::read_to_string(&children).unwrap_or_default();
            machine.pid = child.trim().parse().unwrap_or(0);
            let ended = machine.outer.try_wait().unwrap().is_some();
            ended
                || (machine.pid != 0 && machine.out(&["systemctl", "is-system-running"]).contains("running"))
        });
        let log = fs::read_to_string(machine.dir.path().join("boot.log")).unwrap_or_default();
        if machine.outer.try_wait().unwrap().is_some() {
            return skip(&format!("namespaces or mounts are refused: {log}"));
        }
        assert!(up, "the machine does not come up: {log}");
        Some(machine)
    }

    /// Boots one and installs the program as a person would.
    pub fn installed() -> Option<Self> {
        let machine = Self::boot()?;
        // Started with the machine's own target, there is no other.
        machine.write("/etc/atm/atm.yaml", "resyncInterval: 1s\n");
        machine.ok(&["/run/host/atm", "install"]);
        Some(machine)
    }

    /// The place of a file of the machine's, as we see it.
    pub fn root(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    pub fn write(&self, path: &str, text: &str) {
        let place = self.root(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let new = place.with_extension("tmp");
        fs::write(&new, text).unwrap();
        fs::rename(new, place).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root(path)).unwrap_or_default()
    }

    /// A command there, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-p", "-m", "-u", "-i", "-C"]).args(arguments);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints, whether or not it succeeds.
    pub fn out(&self, arguments: &[&str]) -> String {
        String::from_utf8_lossy(&self.run(arguments).stdout).into_owned()
    }

    /// What a command prints that has to succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {text}{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.journal(&[])
        );
        text
    }

    pub fn systemctl(&self, arguments: &[&str]) -> String {
        self.ok(&[&["systemctl"], arguments].concat())
    }

    pub fn atm(&self, arguments: &[&str]) -> String {
        self.ok(&[&[ATM], arguments].concat())
    }

    /// What the journal has of our unit.
    pub fn journal(&self, arguments: &[&str]) -> String {
        self.out(&[&["journalctl", "--no-pager", "-q", "-u", "atm"], arguments].concat())
    }

    /// The same as values.
    pub fn entries(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.journal(&[&["-o", "json"], arguments].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A property of our unit.
    pub fn property(&self, name: &str) -> String {
        self.out(&["systemctl", "show", "--value", "-p", name, "atm"]).trim().to_owned()
    }

    pub fn main_pid(&self) -> String {
        self.property("MainPID")
    }

    pub fn spec(&self, name: &str, text: &str) {
        self.write(&format!("/etc/atm/sessions.d/{name}.yaml"), text);
    }

    pub fn get(&self, name: &str) -> Value {
        serde_json::from_str(&self.out(&[ATM, "get", name, "-o", "json"])).unwrap_or_default()
    }

    /// Waits until it runs, and gives its pid.
    pub fn wait_running(&self, name: &str) -> i64 {
        self.wait(&format!("{name} runs"), || self.get(name)["status"]["phase"] == "Running");
        self.get(name)["status"]["pid"].as_i64().unwrap()
    }

    pub fn wait(&self, what: &str, condition: impl FnMut() -> bool) {
        assert!(wait_until(condition), "not in time: {what}\n{}", self.journal(&[]));
    }

    /// The numbers that a counter has printed so far, of which none is missing.
    pub fn counted(&self, name: &str) -> usize {
        let text = self.read(&format!("/var/log/atm/{name}.log"));
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().map(|line| line.trim().to_owned());
        let numbers: Vec<usize> = lines.map(|line| line.parse().unwrap()).collect();
        let expected: Vec<_> = (0..numbers.len()).collect();
        assert!(numbers == expected, "{name} has a gap: {text}");
        numbers.len()
    }

    /// Waits until a counter has gone on.
    pub fn wait_counting(&self, name: &str) {
        let before = self.counted(name);
        self.wait(&format!("{name} counts"), || self.counted(name) > before + 2);
    }

    /// Processes of our unit, as its group tells.
    pub fn unit_processes(&self) -> Vec<String> {
        let mut pids = Vec::new();
        let mut groups = vec![self.group.join("system.slice/atm.service")];
        while let Some(group) = groups.pop() {
            let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            pids.extend(listed.lines().map(str::to_owned));
            for entry in fs::read_dir(&group).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    groups.push(entry.path());
                }
            }
        }
        pids
    }

    /// A group of our unit.
    pub fn unit_group(&self, below: &str) -> PathBuf {
        self.group.join("system.slice/atm.service").join(below)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its first process all of the machine ends, and its mounts go.
        let _ = fs::write(self.group.join("cgroup.kill"), "1");
        let _ = self.outer.kill();
        let _ = self.outer.wait();
        wait_until(|| remove_groups(&self.group).is_ok());
    }
}

fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_groups(&path)?;
        }
    }
    fs::remove_dir(group)
}
