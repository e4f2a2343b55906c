//! A line taken for a request, or refused for a reason that its sender can act on.

use std::borrow::Cow;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::failure::Failure;
use crate::{api::control::ErrorKind, daemon::specs::names::escaped};

/// Of a line that is no JSON, so much is told back.
const SHOWN: usize = 100;

/// One request. Parameters are read when the method is known, by its own type.
#[derive(Debug)]
pub struct Request<'a> {
    /// To be echoed; absent: no answer is wanted.
    pub id: Option<Value>,
    /// Which method.
    pub method: Cow<'a, str>,
    params: &'a str,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(default)]
    id: Option<Value>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    /// Reads one line; with a failure goes the id that its answer is to have.
    pub fn parse(line: &'a [u8]) -> Result<Self, (Value, Failure)> {
        let invalid = |id, message: String| (id, Failure::new(ErrorKind::InvalidRequest, message));
        let text = std::str::from_utf8(line).map_err(|error| (Value::Null, no_json(line, &error)))?;
        // A struct may be written as an array in the eyes of serde, but not in those of JSON-RPC.
        if text.trim_ascii_start().starts_with('[') {
            return match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Ok(_) => Err(invalid(Value::Null, "a request is an object; batches are not served".into())),
                Err(error) => Err((Value::Null, no_json(line, &error))),
            };
        }
        let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => {
                invalid(Value::Null, format!("not a request: {}", escaped(&error.to_string())))
            }
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => (Value::Null, no_json(line, &error)),
        })?;
        let Envelope { jsonrpc, id, method, params } = envelope;
        let is_id = match &id {
            None | Some(Value::String(_)) => true,
            Some(Value::Number(number)) => number.is_i64() || number.is_u64(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => false,
        };
        if !is_id {
            return Err(invalid(Value::Null, "`id` must be a string or a whole number of 64 bits".into()));
        }
        let answered = id.clone().unwrap_or_default();
        if jsonrpc.as_deref() != Some("2.0") {
            return Err(invalid(answered, "`jsonrpc` must be \"2.0\"".into()));
        }
        let Some(method) = method else { return Err(invalid(answered, "`method` is missing".into())) };
        let params = match params.map(RawValue::get) {
            None | Some("null") => "{}",
            Some(params) if params.starts_with('{') => params,
            Some(_) => return Err(invalid(answered, "`params` must be an object".into())),
        };
        Ok(Self { id, method, params })
    }

    /// Its parameters, as its method has them.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(self.params).map_err(|error| {
            // It repeats keys as they were meant, and those may act on a terminal.
            let error = escaped(&error.to_string());
            let message = format!("wrong parameters for `{}`: {error}", self.method.escape_debug());
            Failure::new(ErrorKind::InvalidRequest, message)
        })
    }
}

fn no_json(line: &[u8], error: &dyn std::error::Error) -> Failure {
    // Cut before it is decoded: of a long line only the begin is looked at.
    let begin = line.get(..line.len().min(4 * SHOWN)).unwrap_or_default();
    let start: String = String::from_utf8_lossy(begin).chars().take(SHOWN).collect();
    Failure::new(ErrorKind::InvalidJson, format!("not JSON: {error}: `{}`", escaped(&start)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::control::{NameParams, NamesParams};

    fn refused(line: &[u8]) -> (Value, ErrorKind, String) {
        let (id, failure) = Request::parse(line).expect_err(&String::from_utf8_lossy(line));
        (id, failure.kind, failure.message)
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_reason() {
        let brackets = "[".repeat(100_000);
        let deep = format!("{{\"jsonrpc\":\"2.0\",\"id\":{brackets}");
        let table: &[(&[u8], ErrorKind, &str)] = &[
            (b"hello", ErrorKind::InvalidJson, "`hello`"),
            (b"GET / HTTP/1.1\r", ErrorKind::InvalidJson, "`GET / HTTP/1.1\\r`"),
            (b"\x16\x03\x01\x02\x00\x01", ErrorKind::InvalidJson, "`\\u{16}"),
            (b"\0", ErrorKind::InvalidJson, "`\\u{0}`"),
            // As it was written, for whoever looks for it.
            (b"{\"a\": \"b\\\\", ErrorKind::InvalidJson, "`{\"a\": \"b\\\\`"),
            (b"{\"id\": \"\xff\"}", ErrorKind::InvalidJson, "utf-8"),
            (b"{\"id\": \"\\ud800\"}", ErrorKind::InvalidJson, "hex escape"),
            (b"{\"id\": 1e999}", ErrorKind::InvalidJson, "number out of range"),
            (b"{\"jsonrpc\": \"2.0\",", ErrorKind::InvalidJson, "EOF"),
            (deep.as_bytes(), ErrorKind::InvalidJson, "recursion limit"),
            (brackets.as_bytes(), ErrorKind::InvalidJson, "EOF"),
            (b"[]", ErrorKind::InvalidRequest, "batches"),
            (b"[\"2.0\", 1, \"list\", {}]", ErrorKind::InvalidRequest, "batches"),
            (b"7", ErrorKind::InvalidRequest, "not a request"),
            (b"null", ErrorKind::InvalidRequest, "not a request"),
            (b"{}", ErrorKind::InvalidRequest, "`jsonrpc`"),
            (b"{\"jsonrpc\":\"2.0\"}", ErrorKind::InvalidRequest, "`method`"),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":18446744073709551616,\"method\":\"list\"}",
                ErrorKind::InvalidRequest,
                "`id`",
            ),
            (b"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"list\"}", ErrorKind::InvalidRequest, "`id`"),
            (b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"list\"}", ErrorKind::InvalidRequest, "`id`"),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"list\"}",
                ErrorKind::InvalidRequest,
                "duplicate field",
            ),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"list\",\"params\":[]}",
                ErrorKind::InvalidRequest,
                "`params`",
            ),
        ];
        for (line, kind, says) in table {
            let shown = String::from_utf8_lossy(line.get(..line.len().min(60)).unwrap()).into_owned();
            let (_, told, message) = refused(line);
            assert_eq!(told, *kind, "{shown}: {message}");
            assert!(message.contains(says), "{shown}: {message}");
            assert!(message.len() < 1000 && !message.contains(char::is_control), "{shown}: {message}");
        }
        let (id, _, _) = refused(b"{\"jsonrpc\":\"1.0\",\"id\":7,\"method\":\"list\"}");
        assert_eq!(id, json!(7), "as far as it could be read, the id is told");
    }

    #[test]
    fn the_first_hundred_characters_of_what_is_no_json_are_told() {
        let (_, _, message) = refused("é".repeat(5000).as_bytes());
        assert_eq!(message.matches('é').count(), SHOWN);
    }

    #[test]
    fn parameters_are_read_by_their_method() {
        let parse = |params: &str| {
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{params}}}");
            Request::parse(line.as_bytes()).unwrap().params::<NameParams>().map_err(|failure| failure.message)
        };
        assert_eq!(parse(" {\"name\": \"a\"} ").unwrap().name.as_str(), "a");
        for (params, says) in [
            ("{}", "missing field `name`"),
            ("null", "missing field `name`"),
            (r#"{"name": "a", "name": "b"}"#, "duplicate field `name`"),
            (r#"{"name": "a", "nmae": "b"}"#, "unknown field `nmae`"),
            (r#"{"name": "a\u0000"}"#, "name"),
            (r#"{"name": "\ud800"}"#, "hex escape"),
        ] {
            let message = parse(params).unwrap_err();
            assert!(message.contains(says), "{params}: {message}");
        }
        let line = br#"{"jsonrpc":"2.0","id":"a","method":"list"}"#;
        assert!(Request::parse(line).unwrap().params::<NamesParams>().unwrap().names.is_empty());
    }

    #[test]
    fn no_answer_is_as_long_as_what_was_asked() {
        let long = "\\u0007".repeat(10_000);
        let method = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{long}\",\"params\":{{}}}}");
        let key = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"list\",\"params\":{{\"{long}\":1}}}}");
        for line in [method, key] {
            let request = Request::parse(line.as_bytes()).unwrap();
            let message = request.params::<NameParams>().unwrap_err().message;
            assert!(message.len() <= 16 << 10 && !message.contains(char::is_control), "{}", message.len());
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(request) = Request::parse(&line) {
                let _ = request.params::<NamesParams>();
            }
        }
    }
}
