use super::*;

fn environment(uid: u32, variables: &[(&'static str, &str)]) -> Environment {
    Environment {
        uid,
        home: Some("/home/alice".into()),
        variables: variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect(),
    }
}

fn shown(directories: &Directories) -> String {
    [&directories.config, &directories.sessions, &directories.runtime, &directories.state, &directories.log]
        .map(|path| path.display().to_string())
        .join("\n")
}

fn sockets(places: &Places, environment: &Environment) -> Vec<String> {
    places
        .for_client(environment)
        .unwrap()
        .iter()
        .map(|candidate| candidate.socket.display().to_string())
        .collect()
}

#[test]
fn root_works_for_the_machine() {
    let (mode, directories) = Places::default().for_daemon(&environment(0, &[])).unwrap();
    assert_eq!(mode, Mode::System);
    insta::assert_snapshot!(shown(&directories), @r"
    /etc/atm/atm.yaml
    /etc/atm/sessions.d
    /run/atm
    /var/lib/atm
    /var/log/atm
    ");
}

#[test]
fn a_user_without_xdg_variables_gets_the_standard_places() {
    let (mode, directories) = Places::default().for_daemon(&environment(1000, &[])).unwrap();
    assert_eq!(mode, Mode::User);
    insta::assert_snapshot!(shown(&directories), @r"
    /home/alice/.config/atm/atm.yaml
    /home/alice/.config/atm/sessions.d
    /tmp/atm-1000
    /home/alice/.local/state/atm
    /home/alice/.local/state/atm/log
    ");
}

#[test]
fn xdg_variables_are_followed_unless_they_are_relative() {
    let there = environment(
        1000,
        &[("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "relative"), ("XDG_RUNTIME_DIR", "/run/user/1000")],
    );
    let (_, directories) = Places::default().for_daemon(&there).unwrap();
    insta::assert_snapshot!(shown(&directories), @r"
    /c/atm/atm.yaml
    /c/atm/sessions.d
    /run/user/1000/atm
    /home/alice/.local/state/atm
    /home/alice/.local/state/atm/log
    ");
}

#[test]
fn a_flag_wins_over_systemd_and_systemd_over_the_table() {
    let unit = environment(
        0,
        &[
            ("CONFIGURATION_DIRECTORY", "/u/etc"),
            ("RUNTIME_DIRECTORY", "/u/run:/u/other"),
            ("STATE_DIRECTORY", "/u/state"),
            ("LOGS_DIRECTORY", "/u/log"),
        ],
    );
    let flags = Places {
        sessions_dir: Some("/flag/specs".into()),
        state_dir: Some("/flag/state".into()),
        ..Places::default()
    };
    insta::assert_snapshot!(shown(&flags.for_daemon(&unit).unwrap().1), @r"
    /u/etc/atm.yaml
    /flag/specs
    /u/run
    /flag/state
    /u/log
    ");
}

#[test]
fn systemds_variables_of_another_unit_do_not_mislead_a_client() {
    let other =
        environment(1000, &[("RUNTIME_DIRECTORY", "/run/backup"), ("XDG_RUNTIME_DIR", "/run/user/1000")]);
    assert_eq!(sockets(&Places::default(), &other), ["/run/user/1000/atm/atm.sock", "/run/atm/atm.sock"]);
}

#[test]
fn a_client_finds_the_socket_by_flag_variable_mode_and_both_tables() {
    let plain = environment(1000, &[("XDG_RUNTIME_DIR", "/run/user/1000")]);
    let inside = environment(1000, &[("XDG_RUNTIME_DIR", "/run/user/1000"), ("ATM_SOCKET", "/x/atm.sock")]);
    let socket = Places { socket: Some("/flag.sock".into()), ..Places::default() };
    let runtime = Places { runtime_dir: Some("/r".into()), ..Places::default() };
    let system = Places { system: true, ..Places::default() };
    let user = Places { user: true, ..Places::default() };

    assert_eq!(sockets(&socket, &inside), ["/flag.sock"]);
    assert_eq!(sockets(&runtime, &inside), ["/r/atm.sock"]);
    assert_eq!(sockets(&Places::default(), &inside), ["/x/atm.sock"]);
    assert_eq!(sockets(&system, &inside), ["/x/atm.sock"]);
    assert!(system.is_overruled(&inside) && !system.is_overruled(&plain));
    assert_eq!(sockets(&system, &plain), ["/run/atm/atm.sock"]);
    assert_eq!(sockets(&user, &plain), ["/run/user/1000/atm/atm.sock"]);
    assert_eq!(
        sockets(&Places::default(), &plain),
        ["/run/user/1000/atm/atm.sock", "/run/atm/atm.sock"],
        "the user's, then the system's"
    );
}

#[test]
fn a_named_socket_in_a_known_place_means_that_mode() {
    let plain = environment(1000, &[("ATM_SOCKET", "/run/atm/atm.sock")]);
    let candidates = Places::default().for_client(&plain).unwrap();
    assert_eq!(candidates[0].mode, Some(Mode::System));
    assert_eq!(candidates[0].directories.log, Path::new("/var/log/atm"));

    let elsewhere = environment(1000, &[("ATM_SOCKET", "/x/atm.sock")]);
    let candidates = Places::default().for_client(&elsewhere).unwrap();
    assert_eq!(candidates[0].mode, None);
    assert_eq!(candidates[0].directories.runtime, Path::new("/x"));
}

#[test]
fn without_a_home_the_machines_daemon_can_still_be_meant() {
    let homeless = Environment { uid: 1000, ..Environment::default() };
    assert_eq!(sockets(&Places::default(), &homeless), ["/run/atm/atm.sock"]);
    let error = Places { user: true, ..Places::default() }.for_client(&homeless).unwrap_err();
    assert_eq!(error.kind, super::super::error::Kind::Failed);
    assert!(error.hint.is_some());
}
