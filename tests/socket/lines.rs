//! What is said on one connection: nonsense, too much, too little, piece by piece.

use std::{
    io::{IoSlice, Read},
    net::Shutdown,
    os::fd::AsFd,
    thread,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use super::{
    SLEEPER,
    client::{Client, descriptors, kind, memory},
    harness::{Atm, wait_until},
};

#[test]
fn nonsense_is_answered_and_the_third_time_the_connection_closes() {
    let atm = Atm::start();
    let deep = format!("{{\"jsonrpc\":\"2.0\",\"id\":{}", "[".repeat(100_000));
    let table: &[(&[u8], &str)] = &[
        (b"hello", "InvalidJson"),
        (b"GET / HTTP/1.1\r", "InvalidJson"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "InvalidJson"),
        (b"{\"id\": \"\0\"}", "InvalidJson"),
        (b"{\"id\": \"\xff\xfe\"}", "InvalidJson"),
        (b"{\"id\": \"\\ud800\"}", "InvalidJson"),
        (b"{\"id\": 1e999}", "InvalidJson"),
        (deep.as_bytes(), "InvalidJson"),
        (b"[{}]", "InvalidRequest"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":18446744073709551616,\"method\":\"list\"}", "InvalidRequest"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"list\",\"method\":\"stop\"}", "InvalidRequest"),
    ];
    for (line, expected) in table {
        let shown = String::from_utf8_lossy(&line[..line.len().min(50)]).into_owned();
        let mut client = Client::connect(&atm);
        for _ in 0..3 {
            client.say([line, b"\n".as_slice()].concat());
            let answer = client.line().unwrap();
            assert_eq!(kind(&answer), *expected, "{shown}: {answer}");
            assert!(answer["id"].is_null() && answer["error"]["code"].is_i64(), "{answer}");
        }
        assert_eq!(client.line(), None, "{shown}: closed after the third");
    }
    // What is a request and cannot be done is no nonsense.
    let mut client = Client::connect(&atm);
    for _ in 0..5 {
        assert_eq!(kind(&client.call("frobnicate", &json!({}))), "MethodNotFound");
        assert_eq!(kind(&client.call("get", &json!({"names": 7}))), "InvalidRequest");
        assert_eq!(kind(&client.call("stop", &json!({"name": "nobody"}))), "NoSuchSession");
        for method in ["list", "plan", "config", "health", "metrics"] {
            assert_eq!(kind(&client.call(method, &json!({"bogus": 1}))), "InvalidRequest", "{method}");
        }
    }
}

#[test]
fn no_json_is_told_with_its_first_hundred_characters() {
    let atm = Atm::start();
    let mut client = Client::connect(&atm);
    client.say(format!("{}\n", "é\u{1b}".repeat(500)));
    let message = client.line().unwrap()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!((message.matches('é').count(), message.matches("\\u{1b}").count()), (50, 50), "{message}");
}

#[test]
fn a_message_of_the_longest_size_is_read_and_one_byte_more_is_not() {
    let atm = Atm::start();
    let whole = |size: usize| {
        let head = "{\"jsonrpc\":\"2.0\",\"id\":\"";
        let tail = "\",\"method\":\"list\"}";
        format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()))
    };
    let mut client = Client::connect(&atm);
    client.say(whole(1 << 20) + "\n");
    assert!(client.line().unwrap()["result"].is_object());
    client.say(whole((1 << 20) + 1) + "\n");
    let answer = client.line().unwrap();
    assert_eq!(kind(&answer), "MessageTooLarge", "{answer}");
    assert_eq!(client.line(), None);

    // One that never ends is refused when it is too long, by however many it is sent.
    let before = memory(atm.daemon_pid());
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let mut client = Client::connect(&atm);
                client.say(vec![b'x'; 4 << 20]);
                let answer = client.line();
                let told = answer.as_ref().map_or("closed", kind);
                assert!(["MessageTooLarge", "Busy", "closed"].contains(&told), "{answer:?}");
            });
        }
    });
    let grown = memory(atm.daemon_pid()).saturating_sub(before);
    assert!(grown < 48 << 20, "grown by {grown} bytes");
    // Live: another limit for who connects from now on.
    atm.write_config("clients: {maxMessage: 64KiB}\n");
    assert!(wait_until(|| {
        let mut client = Client::connect(&atm);
        client.say(whole(100_000) + "\n");
        client.line().is_some_and(|answer| kind(&answer) == "MessageTooLarge")
    }));
}

#[test]
fn requests_are_answered_in_order_however_they_come() {
    let atm = Atm::start();
    let request = |id: usize| json!({"jsonrpc": "2.0", "id": id, "method": "list"}).to_string() + "\n";
    let mut all_at_once = Client::connect(&atm);
    let mut writer = all_at_once.stream.try_clone().unwrap();
    let text: String = (0..1000).map(request).collect();
    let writing = thread::spawn(move || std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap());
    for id in 0..1000 {
        assert_eq!(all_at_once.line().unwrap()["id"], id);
    }
    writing.join().unwrap();

    let mut byte_by_byte = Client::connect(&atm);
    for byte in request(7).bytes() {
        byte_by_byte.say([byte]);
    }
    assert_eq!(byte_by_byte.line().unwrap()["id"], 7);

    // Half-open: nothing more is said, and the answers still come.
    let mut half_open = Client::connect(&atm);
    half_open.say(request(1) + &request(2));
    half_open.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        (half_open.line().unwrap()["id"].as_u64(), half_open.line().unwrap()["id"].as_u64()),
        (Some(1), Some(2))
    );
    assert_eq!(half_open.line(), None);

    // Half a request is none, also where it would be a whole one.
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    for cut in [false, true] {
        let mut half = Client::connect(&atm);
        half.say(json!({"jsonrpc": "2.0", "id": 1, "method": "kill", "params": {"name": "a"}}).to_string());
        if cut {
            half.stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(half.line(), None);
        }
    }
    assert_eq!(atm.wait_pid("a"), pid);
    // Without an id no answer is wanted.
    let mut silent = Client::connect(&atm);
    silent.say("{\"jsonrpc\":\"2.0\",\"method\":\"list\"}\n\n  \n");
    silent.say(request(9));
    assert_eq!(silent.line().unwrap()["id"], 9);
}

#[test]
fn descriptors_that_are_sent_along_are_not_taken() {
    let atm = Atm::start();
    let mut client = Client::connect(&atm);
    client.ok("list", &json!({}));
    let before = descriptors(atm.daemon_pid());
    let file = std::fs::File::open("/dev/null").unwrap();
    for id in 0..100 {
        let fds = [file.as_fd(); 253];
        let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let request = json!({"jsonrpc": "2.0", "id": id, "method": "list"}).to_string() + "\n";
        sendmsg(&client.stream, &[IoSlice::new(request.as_bytes())], &mut control, SendFlags::empty())
            .unwrap();
        assert_eq!(client.line().unwrap()["id"], id);
        assert!(descriptors(atm.daemon_pid()) <= before + 1);
    }
}

#[test]
fn who_asks_for_another_version_is_told_which_there_are() {
    let atm = Atm::start();
    let mut client = Client::connect(&atm);
    for (params, spoken) in [
        (json!({"protocol": 1}), Some(1)),
        (json!({"protocol": 1, "minProtocol": 1}), Some(1)),
        (json!({"protocol": 99}), Some(1)),
        (json!({"protocol": 99, "minProtocol": 2}), None),
        (json!({"protocol": 0}), None),
    ] {
        let answer = client.call("initialize", &params);
        assert_eq!(answer["result"]["protocol"].as_u64(), spoken, "{params}: {answer}");
        let supported = json!({"min": 1, "max": 1});
        if spoken.is_some() {
            assert_eq!(answer["result"]["supported"], supported);
        } else {
            assert_eq!(kind(&answer), "ProtocolVersion");
            assert_eq!(answer["error"]["data"]["supported"], supported);
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.contains("versions 1 to 1"), "{message}");
            assert!(message.contains(env!("CARGO_PKG_VERSION")), "{message}");
        }
    }
}

#[test]
fn a_request_about_a_run_that_is_over_does_nothing() {
    let atm = Atm::start();
    atm.drop_spec("a", SLEEPER);
    let pid = atm.wait_pid("a");
    let mut client = Client::connect(&atm);
    let run = atm.get("a")["runId"].clone();
    let params = json!({"name": "a", "runId": run});
    assert_eq!(client.ok("restart", &params)["changed"], true);
    let again = atm.wait("a", "started again", |s| s["status"]["phase"] == "Running" && s["runId"] != run);
    assert_ne!(again["status"]["pid"], pid);
    // As a client does that lost the answer: the new run is not restarted once more.
    for (method, params) in [
        ("restart", params.clone()),
        ("stop", params.clone()),
        ("kill", params.clone()),
        ("kill", json!({"name": "a", "runId": run, "signal": 9})),
    ] {
        let answer = client.call(method, &params);
        assert_eq!(kind(&answer), "Conflict", "{answer}");
    }
    assert_eq!(atm.get("a")["runId"], again["runId"]);
}

#[test]
fn a_client_that_goes_while_it_is_answered_is_no_trouble() {
    let atm = Atm::start();
    let before = descriptors(atm.daemon_pid());
    for round in 0..200 {
        let mut client = Client::connect(&atm);
        client.ask(["list", "watch", "events", "health"][round % 4], &json!({}));
        if round % 3 == 0 {
            let mut byte = [0];
            client.stream.read_exact(&mut byte).unwrap();
        }
    }
    assert!(wait_until(|| descriptors(atm.daemon_pid()) <= before));
    atm.ok(&["get"]);
}

/// Whether `shown` says nothing that `real` does not have.
fn is_part(shown: &Value, real: &Value) -> Result<(), String> {
    match (shown, real) {
        (Value::Object(shown), Value::Object(real)) => shown.iter().try_for_each(|(key, value)| {
            let real = real.get(key).ok_or_else(|| format!("no `{key}`"))?;
            is_part(value, real).map_err(|error| format!("{key}: {error}"))
        }),
        (Value::Array(shown), Value::Array(real)) => {
            shown.iter().zip(real).try_for_each(|(shown, real)| is_part(shown, real))
        }
        _ if std::mem::discriminant(shown) == std::mem::discriminant(real) => Ok(()),
        _ => Err(format!("{shown} is shown, and it is {real}")),
    }
}

#[test]
fn the_exchange_in_the_document_is_a_real_one() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md");
    let document = std::fs::read_to_string(document).unwrap();
    let atm = Atm::start();
    atm.drop_spec("fix-login", SLEEPER);
    atm.wait_pid("fix-login");
    let mut client = Client::connect(&atm);
    let mut answers: Vec<Value> = Vec::new();
    let mut shown_count = 0;
    for line in document.lines() {
        if let Some(request) = line.strip_prefix("→ ") {
            client.say(format!("{request}\n"));
        } else if let Some(shown) = line.strip_prefix("← ") {
            let shown: Value = serde_json::from_str(shown).unwrap();
            shown_count += 1;
            // Answers and notifications may come in either order, and a look may be told in between.
            let real = loop {
                let same = |real: &Value| real["id"] == shown["id"] && real["method"] == shown["method"];
                if let Some(at) = answers.iter().position(same) {
                    break answers.remove(at);
                }
                answers.push(client.line().unwrap());
            };
            is_part(&shown, &real).unwrap_or_else(|error| panic!("{error} in {real:#}"));
            for place in ["/error/code", "/error/data/kind", "/error/message"] {
                assert_eq!(shown.pointer(place), real.pointer(place), "{place}: {real}");
            }
        }
    }
    assert_eq!(shown_count, 5);
}
