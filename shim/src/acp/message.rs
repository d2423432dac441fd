//! The messages of JSON-RPC 2.0.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// No such method.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters do not fit.
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// Something else went wrong.
pub(crate) const INTERNAL: i64 = -32603;
/// The agent wants credentials.
pub(crate) const AUTH_REQUIRED: i64 = -32000;
/// No such session.
pub(crate) const NOT_FOUND: i64 = -32002;

/// Who asked: what comes back in the answer, as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Id {
    Null,
    Number(i64),
    Text(String),
}

impl Id {
    /// The number it stands for. Some agents send ours back as text.
    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Null => None,
        }
    }
}

/// A failure, as the other side says it. Whatever it says there, it is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Value")]
pub(crate) struct Fault {
    pub(crate) code: i64,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Value>,
}

impl From<Value> for Fault {
    fn from(mut said: Value) -> Self {
        let code = &said["code"];
        let code = code.as_i64().or_else(|| code.as_str()?.parse().ok()).unwrap_or_default();
        let message = &said["message"];
        let message = match message.as_str().or_else(|| said.as_str()) {
            Some(message) => message.to_owned(),
            None if message.is_null() => String::new(),
            None => message.to_string(),
        };
        let data = said.get_mut("data").map(Value::take).filter(|data| !data.is_null());
        Self { code, message, data }
    }
}

impl Fault {
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// A failure with one of our stable codes.
    pub(crate) fn stable(code: &str, message: impl Into<String>) -> Self {
        Self { code: INTERNAL, message: message.into(), data: Some(json!({ "code": code })) }
    }

    /// What it says, with what it adds to that: many say only there what really went wrong.
    pub(crate) fn told(&self) -> String {
        let data = self.data.as_ref();
        let more = data.and_then(|data| {
            let fields = ["details", "message", "error"].into_iter().map(|field| &data[field]);
            std::iter::once(data).chain(fields).find_map(Value::as_str)
        });
        match more.filter(|more| !more.is_empty() && !self.message.contains(more)) {
            Some(more) if self.message.is_empty() => more.to_owned(),
            Some(more) => format!("{}: {more}", self.message),
            None if self.message.is_empty() => format!("error {}", self.code),
            None => self.message.clone(),
        }
    }

    /// The stable code it carries.
    pub(crate) fn stable_code(&self) -> Option<&str> {
        self.data.as_ref()?.get("code")?.as_str()
    }
}

/// One message, read.
#[derive(Debug)]
pub(crate) enum Incoming {
    Request { id: Id, method: String, params: Box<RawValue> },
    Notification { method: String, params: Box<RawValue> },
    Answer { id: Id, result: Result<Box<RawValue>, Fault> },
}

#[derive(Deserialize)]
struct Any<'a> {
    /// Twice optional: an id that is null is another thing than none.
    #[serde(default, deserialize_with = "present")]
    id: Option<Id>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Fault>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Id>, D::Error> {
    Id::deserialize(deserializer).map(Some)
}

/// How messages begin.
const BEGINNING: &[u8] = br#"{"jsonrpc""#;

/// Reads a line; none where it is no message. One may have something else before it: a greeting that
/// ends no line, half of another message.
pub(crate) fn read(line: &[u8]) -> Option<Incoming> {
    parse(line).or_else(|| {
        let begins = line.windows(BEGINNING.len()).rposition(|bytes| bytes == BEGINNING)?;
        if begins == 0 { None } else { parse(&line[begins..]) }
    })
}

fn parse(line: &[u8]) -> Option<Incoming> {
    let any: Any<'_> = serde_json::from_slice(line).ok()?;
    let params = || any.params.unwrap_or(RawValue::NULL).to_owned();
    Some(match (any.id, any.method) {
        (Some(id), Some(method)) => Incoming::Request { id, method, params: params() },
        (None, Some(method)) => Incoming::Notification { method, params: params() },
        (Some(id), None) => {
            let result = match any.error {
                Some(fault) => Err(fault),
                None => Ok(any.result.unwrap_or(RawValue::NULL).to_owned()),
            };
            Incoming::Answer { id, result }
        }
        (None, None) => return None,
    })
}

/// Writes a message as one line.
pub(crate) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    jsonrpc: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    method: &'a str,
    params: &'a T,
}

/// A request, or without `id` a notification.
pub(crate) fn call<T: Serialize>(id: Option<i64>, method: &str, params: &T) -> Vec<u8> {
    line(&Outgoing { jsonrpc: "2.0", id: id.map(Id::Number), method, params })
}

/// An answer.
pub(crate) fn answer(id: &Id, result: Result<Value, Fault>) -> Vec<u8> {
    match result {
        Ok(result) => line(&json!({ "jsonrpc": "2.0", "id": id, "result": result })),
        Err(error) => line(&json!({ "jsonrpc": "2.0", "id": id, "error": error })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_may_be_null_numbers_or_text() {
        for (line, number) in [
            (r#"{"id":null,"result":1}"#, None),
            (r#"{"id":7,"result":1}"#, Some(7)),
            (r#"{"id":"7","result":1}"#, Some(7)),
            (r#"{"id":"x","result":1}"#, None),
        ] {
            match read(line.as_bytes()) {
                Some(Incoming::Answer { id, .. }) => assert_eq!(id.number(), number, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(matches!(
            read(br#"{"id":null,"method":"m"}"#),
            Some(Incoming::Request { id: Id::Null, .. })
        ));
        assert!(matches!(read(br#"{"method":"m"}"#), Some(Incoming::Notification { .. })));
        for noise in ["", "[]", "null", "hello", "{}", r#"{"method":"#] {
            assert!(read(noise.as_bytes()).is_none(), "{noise}");
        }
    }

    #[test]
    fn a_message_may_have_something_before_it() {
        for before in ["Loading… ", "\u{feff}", "\u{1b}[?25h", r#"{"jsonrpc":"2.0","method":"ses"#]
        {
            let line = format!(r#"{before}{{"jsonrpc":"2.0","id":7,"result":{{}}}}"#);
            let read = read(line.as_bytes());
            assert!(matches!(read, Some(Incoming::Answer { id: Id::Number(7), .. })), "{line}");
        }
    }

    #[test]
    fn a_failure_tells_what_it_adds() {
        for (error, told) in [
            (json!({ "code": -32603, "message": "Internal error" }), "Internal error"),
            (json!({ "message": "no", "data": "no model" }), "no: no model"),
            (json!({ "message": "no", "data": { "details": "no model" } }), "no: no model"),
            (json!({ "message": "no: no model", "data": "no model" }), "no: no model"),
            (json!({ "data": { "message": "no model" } }), "no model"),
            (json!({ "code": 7, "data": { "code": "model_error" } }), "error 7"),
        ] {
            assert_eq!(Fault::from(error.clone()).told(), told, "{error}");
        }
    }

    #[test]
    fn a_failure_is_one_whatever_it_says() {
        for (error, code, message) in [
            (r#"{"code":-32000,"message":"log in"}"#, -32000, "log in"),
            (r#"{"code":"-32000","message":null,"data":null}"#, -32000, ""),
            (r#"{"code":"ECONNRESET","message":{"why":1}}"#, 0, r#"{"why":1}"#),
            (r#""it broke""#, 0, "it broke"),
            ("{}", 0, ""),
            ("7", 0, ""),
        ] {
            let line = format!(r#"{{"jsonrpc":"2.0","id":7,"error":{error}}}"#);
            match read(line.as_bytes()) {
                Some(Incoming::Answer { result: Err(fault), .. }) => {
                    assert_eq!((fault.code, fault.message.as_str()), (code, message), "{error}");
                }
                other => panic!("{error}: {other:?}"),
            }
        }
    }
}
