//! Health and metrics, on the socket and over HTTP.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{
    SLEEPER,
    client::Client,
    harness::{Atm, LIMIT, now, told, wait_until},
};

/// Samples by name and labels, once the text is found sound.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helps: BTreeMap<&str, &str> = BTreeMap::new();
    let mut samples = BTreeMap::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helps.insert(name, help).is_none() && !help.is_empty(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helps.contains_key(name) && kinds.insert(name, kind).is_none(), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(name.starts_with("atm_") || name.starts_with("process_"), "{line}");
            for unit in ["milliseconds", "_ms", "kilobytes", "megabytes", "percent"] {
                assert!(!name.contains(unit), "not a base unit: {line}");
            }
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|end| name.strip_suffix(end))
                .find(|family| kinds.get(family) == Some(&"histogram"))
                .unwrap_or(name);
            assert!(kinds.contains_key(family), "no type: {line}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
        }
    }
    samples
}

/// What Prometheus' own checker says, where it is installed.
fn promtool(text: &str) {
    let mut command = Command::new("promtool");
    let checking = command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut checking) = checking else { return eprintln!("skipped: no promtool") };
    checking.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = checking.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn metrics_tell_what_happened() {
    let atm = Atm::start_with("clients: {max: 4}\n");
    atm.drop_spec("busy", &format!("{SLEEPER}agent: claude\n"));
    atm.drop_spec("secret-name", "command: [sh, -c, 'exit 3']\nrestartPolicy: Never\n");
    atm.write_spec("broken", "command: [\n");
    atm.wait_pid("busy");
    atm.wait_phase("secret-name", "Failed");
    atm.wait_error("broken", "broken.yaml");
    atm.ok(&["touch", "busy", "--activity", "busy"]);
    let (_watcher, _) = Client::watching(&atm);
    let text = atm.ok(&["metrics"]);
    assert!(!text.contains("secret-name") && !text.contains("broken"), "numbers, no names: {text}");
    promtool(&text);
    let samples = samples(&text);
    for (series, value) in [
        ("atm_sessions{agent=\"claude\",phase=\"Running\"}", 1.0),
        ("atm_sessions{agent=\"generic\",phase=\"Failed\"}", 1.0),
        ("atm_sessions{agent=\"codex\",phase=\"Running\"}", 0.0),
        ("atm_running_sessions{activity=\"Busy\",agent=\"claude\"}", 1.0),
        ("atm_sessions_limit", 100.0),
        ("atm_starts_total", 2.0),
        ("atm_ends_total{cause=\"Exited\"}", 1.0),
        ("atm_evictions_total", 0.0),
        ("atm_cleanup_runs_total", 0.0),
        ("atm_cleanup_errors_total", 0.0),
        ("atm_invalid_specs", 1.0),
        ("atm_watchers", 1.0),
        ("atm_watchers_limit", 4.0),
        ("atm_dropped_messages_total", 0.0),
        ("atm_healthy", 1.0),
        ("atm_config_invalid", 0.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series} in {text}");
    }
    for (series, least) in [
        ("atm_reconcile_duration_seconds_count{key=\"fleet\"}", 1.0),
        ("atm_reconcile_duration_seconds_count{key=\"session\"}", 2.0),
        ("process_resident_memory_bytes", 1e6),
        ("process_cpu_seconds_total", 0.001),
        ("process_open_fds", 5.0),
        ("process_start_time_seconds", 1.7e9),
        ("atm_connections", 1.0),
        ("atm_sessions_memory_limit_bytes", 1e6),
        ("atm_queue_length", 0.0),
    ] {
        assert!(samples[series] >= least, "{series} is {} in {text}", samples[series]);
    }
}

#[test]
fn status_tells_all_of_it_to_programs() {
    let atm = Atm::start_with("http: 127.0.0.1:0\n");
    let health = atm.wait_health("serving", |health| health["http"].is_string());
    assert_eq!(health["healthy"], true);
    assert!(health["usage"]["memoryBytes"].as_u64().unwrap() > 1 << 20, "{health:#}");
    assert!(health["usage"]["descriptors"].as_u64().unwrap() > 5);
    assert!(health["usage"]["cpuMillis"].is_u64() && health["usage"]["queueLength"].is_u64());
    assert_eq!(health["clients"]["maxWatchers"], 10);
    assert!(health["maxMemoryBytes"].is_u64() && health["memoryBytes"].is_u64());
    let page = atm.ok(&["status"]);
    for words in ["Uses:", "Clients:", "0 of 10 watchers", "HTTP:", "/healthz"] {
        assert!(page.contains(words), "no {words:?} in {page}");
    }
}

/// Sends a request as it is; status code, headers and body of the answer.
fn http(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

fn address(atm: &Atm) -> SocketAddr {
    let health = atm.wait_health("serving", |health| health["http"].is_string());
    health["http"].as_str().unwrap().parse().unwrap()
}

#[test]
fn health_and_metrics_are_served_on_loopback_while_the_config_says_so() {
    let atm = Atm::start_with("http: 127.0.0.1:0\n");
    atm.drop_spec("secret-name", SLEEPER);
    atm.wait_pid("secret-name");
    let at = address(&atm);
    let (status, head, body) = get(at, "/healthz");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["healthy"], &health["sessions"]["running"]), (200, &true.into(), &1.into()));
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    assert!(
        health["daemonMemoryBytes"].as_u64().unwrap() > 1 << 20 && health["memoryBytes"].is_u64(),
        "{health}"
    );
    assert!(!body.contains("secret-name"));
    let (status, head, body) = get(at, "/metrics");
    assert_eq!(status, 200);
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(samples(&body).contains_key("atm_starts_total") && !body.contains("secret-name"), "{body}");

    let asked = |line: &str, host: &str| http(at, &format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n")).0;
    for (line, host, status) in [
        ("GET /", "localhost", 404),
        ("GET /healthz?x=1", "LOCALHOST:1234", 200),
        ("POST /metrics", "localhost", 405),
        ("HEAD /metrics", "localhost", 200),
        // A page in a browser whose own name was made to resolve to this address.
        ("GET /metrics", "evil.example", 403),
        ("GET /metrics", "evil.example:9650", 403),
    ] {
        assert_eq!(asked(line, host), status, "{line} of {host}");
    }
    assert_eq!(http(at, "GET /metrics HTTP/1.0\r\n\r\n").0, 403, "without a host");
    assert_eq!(http(at, "nonsense\r\n\r\n").0, 400);
    let long = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(15_000));
    assert_eq!(http(at, &long).0, 200);
    let mut endless = TcpStream::connect(at).unwrap();
    endless.set_read_timeout(Some(LIMIT)).unwrap();
    let _ = endless.write_all(format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(60_000)).as_bytes());
    let mut answer = Vec::new();
    let _ = endless.read_to_end(&mut answer); // refused or cut off
    assert!(!answer.starts_with(b"HTTP/1.1 200"));

    // Live: off, and on again.
    atm.write_config("maxSessions: 50\n");
    assert!(wait_until(|| TcpStream::connect(at).is_err()));
    assert!(atm.health()["http"].is_null());
    atm.write_config("http: 127.0.0.1:0\n");
    let again = address(&atm);
    assert_eq!(get(again, "/healthz").0, 200);
}

#[test]
fn clients_that_only_hold_connections_are_cut_off() {
    let atm = Atm::start_with("http: 127.0.0.1:0\n");
    let at = address(&atm);
    let held: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(at).unwrap()).collect();
    let is_closed = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    };
    // Who asks is answered however many only hold on: the oldest have to go.
    assert_eq!(get(at, "/healthz").0, 200);
    held.iter().take(20).for_each(is_closed);
    let begun = now();
    held.iter().for_each(is_closed);
    assert!(begun.elapsed() < Duration::from_secs(40));
}

#[test]
fn an_address_in_use_is_a_warning_and_is_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let atm = Atm::start_with(&format!("http: {at}\n"));
    let warned = |health: &Value| {
        health["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains(&at.to_string()))
    };
    let health = atm.wait_health("warning", warned);
    assert!(health["http"].is_null() && health["healthy"] == true, "{health:#}");
    assert!(atm.ok(&["status"]).contains("cannot serve health and metrics"));
    drop(taken);
    atm.wait_health("serving", |health| !warned(health) && health["http"] == at.to_string());
}

#[test]
fn no_other_address_than_loopback_is_taken() {
    let atm = Atm::new();
    for address in ["0.0.0.0:9650", "192.168.0.1:9650", "'[::]:9650'"] {
        std::fs::write(atm.path("atm.yaml"), format!("http: {address}\n")).unwrap();
        let (code, _, err) = told(&atm.atm(&["validate", &atm.path("atm.yaml").display().to_string()]));
        assert!(code == Some(4) && err.contains("loopback"), "{address}: {code:?} {err}");
    }
}

#[test]
fn health_is_503_while_the_daemon_cannot_do_its_work() {
    let atm = Atm::start_with("http: 127.0.0.1:0\n");
    atm.drop_spec("a", SLEEPER);
    atm.wait_pid("a");
    let at = address(&atm);
    std::fs::rename(atm.specs(), atm.path("away")).unwrap();
    atm.wait_health("unhealthy", |health| health["healthy"] == false);
    let (status, _, body) = get(at, "/healthz");
    assert_eq!(status, 503);
    assert!(body.contains("specsUnavailable"), "{body}");
    std::fs::rename(atm.path("away"), atm.specs()).unwrap();
    atm.wait_health("healthy", |health| health["healthy"] == true);
    assert_eq!(get(at, "/healthz").0, 200);
    // A mistake in a file makes the daemon no less healthy.
    atm.write_config("http: 127.0.0.1:0\nmaxSession: 3\n");
    atm.wait_health("in error", |health| !health["configError"].is_null());
    assert_eq!(get(at, "/healthz").0, 200);
}

#[test]
fn a_daemon_that_uses_much_memory_says_so() {
    let atm = Atm::start();
    atm.write_config("daemonMemoryWarning: 1MiB\n");
    let warned = |health: &Value| health["warnings"].to_string().contains("the daemon itself uses");
    atm.wait_health("warning", warned);
    assert_eq!(atm.events(&[]).iter().filter(|event| event["kind"] == "DaemonMemory").count(), 1);
    atm.write_config("daemonMemoryWarning: 1GiB\n");
    atm.wait_health("content", |health| !warned(health));
}
