//! What an agent says of itself when it is greeted.
//!
//! What holds here: what is meant is taken in whichever spelling it comes; what is not known is left
//! alone.

use domain::instance::AuthMethod;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use wire::shim::failure;

use super::failure::Failure;

/// What an agent said it can do, as far as it matters here.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the protocol says each for itself")]
pub(super) struct Capabilities {
    pub(super) load: bool,
    pub(super) resume: bool,
    pub(super) fork: bool,
    pub(super) close: bool,
    pub(super) delete: bool,
    /// All the ways to log in that it offers.
    pub(super) log_ins: Vec<AuthMethod>,
    /// The ways to log in that ask nobody, in the agent's order.
    pub(super) ways_in: Vec<String>,
}

/// Reads the answer to `initialize` of an agent whose environment has what `knows` says.
pub(super) fn read(
    result: &RawValue,
    knows: impl Fn(&str) -> bool,
) -> Result<Capabilities, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Hello {
        protocol_version: Value,
        agent_capabilities: Value,
        auth_methods: Value,
    }
    let wrong = |why: &str| Failure::new(failure::AGENT_PROTOCOL, why);
    let hello: Hello = serde_json::from_str(result.get())
        .map_err(|_| wrong("the answer to initialize cannot be read"))?;
    let version = &hello.protocol_version;
    if version.is_null() {
        return Err(wrong("the answer to initialize names no version"));
    }
    if version.as_f64() != Some(1.0) && version.as_str() != Some("1") {
        let why = format!("the agent speaks version {version} of the protocol, not 1");
        return Err(wrong(&why));
    }
    let can = hello.agent_capabilities;
    let methods = hello.auth_methods.as_array().into_iter().flatten();
    Ok(Capabilities {
        load: has(&can["loadSession"]),
        resume: has(&can["sessionCapabilities"]["resume"]),
        fork: has(&can["sessionCapabilities"]["fork"]),
        close: has(&can["sessionCapabilities"]["close"]),
        delete: has(&can["sessionCapabilities"]["delete"]),
        log_ins: AuthMethod::kept(methods.clone().filter_map(method)),
        ways_in: methods
            .filter(|method| asks_nobody(method, &knows))
            .filter_map(|method| method["id"].as_str().map(str::to_owned))
            .collect(),
    })
}

/// A way to log in, as far as it can be named.
fn method(told: &Value) -> Option<AuthMethod> {
    let text = |told: &Value| told.as_str().map(str::to_owned);
    let id = text(&told["id"])?;
    let name = text(&told["name"]).unwrap_or_else(|| id.clone());
    Some(AuthMethod { id, name, description: text(&told["description"]) })
}

/// Whether a capability is there: some are said with `true`, some with an object.
fn has(capability: &Value) -> bool {
    capability.is_object() || *capability == Value::Bool(true)
}

/// Whether a way to log in takes no more than what is there. One with variables names them; of the
/// others, all that tells one with a key is what it is called.
fn asks_nobody(method: &Value, knows: &impl Fn(&str) -> bool) -> bool {
    match method["type"].as_str() {
        Some("terminal") => false,
        Some("env_var") => {
            let variables = method["vars"].as_array().into_iter().flatten();
            let mut needed = variables.filter(|one| one["optional"] != true).peekable();
            needed.peek().is_some() && needed.all(|one| one["name"].as_str().is_some_and(knows))
        }
        _ => ["id", "name"].into_iter().filter_map(|field| method[field].as_str()).any(|called| {
            let called = called.to_lowercase().replace(['-', '_'], " ");
            called.contains("api key")
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(hello: &Value) -> Result<Capabilities, Failure> {
        let raw = RawValue::from_string(hello.to_string()).unwrap();
        read(&raw, |variable| variable == "OPENAI_API_KEY")
    }

    #[test]
    fn a_version_is_one_in_every_spelling() {
        for one in [json!(1), json!(1.0), json!("1")] {
            assert!(said(&json!({ "protocolVersion": one })).is_ok(), "{one}");
        }
        for other in [json!(0), json!(2), json!("2025-06-18"), json!(null), json!(true)] {
            let refused = said(&json!({ "protocolVersion": other })).unwrap_err();
            assert_eq!(refused.code, failure::AGENT_PROTOCOL, "{other}");
        }
    }

    #[test]
    fn a_capability_is_an_object_or_true() {
        for (capability, expected) in
            [(json!({}), true), (json!(true), true), (json!(false), false), (json!(null), false)]
        {
            let sessions = json!({ "resume": capability, "fork": capability, "close": capability });
            let can = json!({ "loadSession": capability, "sessionCapabilities": sessions });
            let can = said(&json!({ "protocolVersion": 1, "agentCapabilities": can })).unwrap();
            assert_eq!([can.load, can.resume, can.fork, can.close], [expected; 4], "{capability}");
        }
    }

    #[test]
    fn a_way_in_asks_nobody() {
        let ways = json!([
            { "id": "browser", "name": "Log in at example.com" },
            { "id": "terminal-api-key", "type": "terminal" },
            { "id": "a", "type": "env_var", "vars": [{ "name": "OTHER_API_KEY" }] },
            { "id": "b", "type": "env_var", "vars": [{ "name": "OPENAI_API_KEY" }] },
            { "id": "c", "type": "env_var", "vars": [
                { "name": "OPENAI_API_KEY" }, { "name": "MORE", "optional": true },
            ] },
            { "id": "an-api-key", "type": "env_var", "vars": [] },
            { "id": "d_api_key", "type": "agent" },
            { "id": "e", "name": "Use an API key" },
            { "name": "Use an API key" },
        ]);
        let can = said(&json!({ "protocolVersion": 1, "authMethods": ways })).unwrap();
        assert_eq!(can.ways_in, ["b", "c", "d_api_key", "e"]);
        assert_eq!(said(&json!({ "protocolVersion": 1 })).unwrap().ways_in, [""; 0]);
    }
}
