//! Several users on one machine, and one user's own daemon.

use std::os::unix::fs::{PermissionsExt, chown};

use super::machine::Machine;

const SECRET: &str = "xyzzy-do-not-tell";

impl Machine {
    fn add_user(&self, name: &str, uid: u32) {
        let home = format!("/home/{name}");
        self.ok(&["sh", "-c", &format!("echo '{name}:x:{uid}:{uid}::{home}:/bin/sh' >> /etc/passwd; echo '{name}:x:{uid}:' >> /etc/group; sed -i 's/^atm:.*/&,{name}/; s/:,/:/' /etc/group")]);
        std::fs::create_dir(self.root(&home)).unwrap();
        chown(self.root(&home), Some(uid), Some(uid)).unwrap();
    }

    fn as_user(&self, name: &str, arguments: &[&str]) -> std::process::Output {
        self.run(&[&["setpriv", "--reuid", name, "--regid", name, "--init-groups"], arguments].concat())
    }
}

#[test]
fn two_users_share_a_directory_and_see_their_own_alone() {
    let Some(machine) = Machine::installed() else { return };
    machine.add_user("anna", 4001);
    machine.add_user("bert", 4002);
    let envs = machine.root("/home/anna/keys.env");
    std::fs::write(&envs, format!("API_KEY={SECRET}\n")).unwrap();
    std::fs::set_permissions(&envs, std::fs::Permissions::from_mode(0o600)).unwrap();
    chown(&envs, Some(4001), Some(4001)).unwrap();
    let declare = |user: &str, name: &str, text: &str| {
        let file = format!("/etc/atm/sessions.d/{name}.yaml");
        let output = machine
            .as_user(user, &["sh", "-c", &format!("printf '{text}' > {file}.tmp && mv {file}.tmp {file}")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    declare(
        "anna",
        "hers",
        &format!(
            "command: [sh, -c, \"id -un; env | cut -d= -f1; sleep 1000\"]\\nenvFile: [~/keys.env]\\nenv: {{TOKEN: {SECRET}}}\\n"
        ),
    );
    declare("bert", "his", "command: [sh, -c, \"id -un; sleep 1000\"]\\n");
    machine.wait_running("hers");
    machine.wait_running("his");
    machine.wait("it prints names", || machine.read("/var/log/atm/hers.log").contains("API_KEY"));
    assert!(machine.read("/var/log/atm/hers.log").starts_with("anna"));
    assert!(machine.read("/var/log/atm/his.log").starts_with("bert"));

    // Sticky: nobody removes another's.
    assert!(!machine.as_user("bert", &["rm", "-f", "/etc/atm/sessions.d/hers.yaml"]).status.success());
    let out = |user: &str, arguments: &[&str]| {
        let output = machine.as_user(user, &[&["/usr/local/bin/atm", "--system"], arguments].concat());
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(out("bert", &["get", "-o", "name"]).1.trim(), "his");
    assert_eq!(out("anna", &["get", "-o", "name"]).1.trim(), "hers");
    for verb in ["describe", "stop", "kill", "restart", "logs", "delete"] {
        let (code, said) = out("bert", &[verb, "hers"]);
        assert_ne!(code, Some(0), "{verb}: {said}");
        assert!(!said.contains(SECRET), "{verb}: {said}");
    }
    assert_eq!(machine.get("hers")["status"]["phase"], "Running");

    // The values are with her and root alone.
    assert!(!machine.journal(&["-o", "verbose"]).contains(SECRET));
    let all = machine.atm(&["describe", "hers"]);
    assert!(all.contains("hers"), "{all}");
    let readable =
        machine.as_user("bert", &["grep", "-rl", SECRET, "/run/atm", "/var/lib/atm", "/var/log/atm"]);
    assert_eq!(String::from_utf8_lossy(&readable.stdout), "");
    for left in ["/run/atm/sessions", "/var/lib/atm"] {
        assert!(!machine.as_user("bert", &["ls", left]).status.success(), "{left}");
    }
}

/// A user's own manager, as `user@.service` starts it, and a daemon of theirs that they installed.
#[test]
fn a_user_has_a_daemon_of_their_own_and_is_told_about_lingering() {
    let Some(machine) = Machine::boot() else { return };
    machine.add_user("anna", 4001);
    std::fs::create_dir(machine.root("/run/user/4001")).unwrap();
    chown(machine.root("/run/user/4001"), Some(4001), Some(4001)).unwrap();
    let manager = "[Unit]\nDefaultDependencies=no\n[Service]\nUser=anna\nType=notify\nDelegate=yes\nKillMode=mixed\n\
                   Environment=XDG_RUNTIME_DIR=/run/user/4001\n\
                   ExecStart=/lib/systemd/systemd --user --unit=none.target --log-target=null\n";
    machine.write("/run/systemd/system/user@4001.service", manager);
    machine.write("/run/user/4001/systemd/user/none.target", "[Unit]\nDefaultDependencies=no\n");
    // As for the system's unit, see boot.sh: what a unit pulls in by default is not to be had.
    machine.write(
        "/run/user/4001/systemd/user/atm.service.d/machine.conf",
        "[Unit]\nDefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target\n",
    );
    machine.ok(&["chown", "-R", "anna:anna", "/run/user/4001"]);
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["start", "user@4001.service"]);

    let run = |arguments: &[&str]| {
        let environment = ["env", "HOME=/home/anna", "XDG_RUNTIME_DIR=/run/user/4001"];
        let output = machine.as_user("anna", &[&environment, arguments].concat());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}\n{}", machine.journal(&["--all"]));
        said
    };
    let installed = run(&["/run/host/atm", "install", "--user"]);
    assert!(installed.contains("write /home/anna/.config/systemd/user/atm.service\n"), "{installed}");
    assert!(installed.contains("loginctl enable-linger anna"), "{installed}");
    let atm = |arguments: &[&str]| run(&[&["/home/anna/.local/bin/atm", "--user"], arguments].concat());
    machine.wait("a warning", || atm(&["status"]).contains("lingering is off"));
    assert!(atm(&["status"]).contains("cgroup"), "{}", atm(&["status"]));
    atm(&["run", "--name", "mine", "--", "sh", "-c", "id -un; cat /proc/self/cgroup; sleep 1000"]);
    machine.wait("it prints", || atm(&["logs", "mine"]).contains("atm.service/sessions/s-mine"));
    let pid = || atm(&["get", "mine", "-o", "json"]);
    let of =
        |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap()["status"]["pid"].clone();
    let before = of(pid());
    run(&["systemctl", "--user", "restart", "atm"]);
    assert_eq!(of(pid()), before);

    machine.write("/var/lib/systemd/linger/anna", "");
    run(&["systemctl", "--user", "restart", "atm"]);
    machine.wait("no warning", || !atm(&["status"]).contains("lingering"));
    run(&["systemctl", "--user", "stop", "atm"]);
    assert!(!machine.run(&["kill", "-0", &before.to_string()]).status.success());

    // The last logout without lingering: as a shutdown, within graces.
    run(&["systemctl", "--user", "start", "atm"]);
    atm(&[
        "run",
        "--name",
        "polite",
        "--",
        "sh",
        "-c",
        "trap '' HUP; trap 'sleep 1; echo ended; exit' TERM; echo ready; while :; do sleep 0.1; done",
    ]);
    machine.wait("it is ready", || atm(&["logs", "polite"]).contains("ready"));
    machine.systemctl(&["stop", "user@4001.service"]);
    let said = machine.read("/home/anna/.local/state/atm/log/polite.log");
    assert!(said.contains("ended"), "{said}\n{}", machine.journal(&["--all"]));

    machine.systemctl(&["start", "user@4001.service"]);
    let gone = run(&["/home/anna/.local/bin/atm", "uninstall", "--user"]);
    assert!(gone.contains("remove /home/anna/.config/systemd/user/atm.service\n"), "{gone}");
}
