//! What a built-in agent is told by its environment, read once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::agent::RunLimits;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::shim::Egress;

use super::echo;

/// Which agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Echo,
    Vanilla,
    Process,
    Http,
}

impl Kind {
    /// What a session begins with.
    pub(super) fn fresh(self) -> Value {
        match self {
            Self::Echo => json!(echo::Heard::default()),
            Self::Vanilla => json!([]),
            Self::Process | Self::Http => json!({}),
        }
    }
}

/// The part that comes from the agent's plan.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Plan {
    command: Vec<String>,
    url: Option<String>,
    model: Option<String>,
    system_prompt: Option<String>,
    limits: RunLimits,
    egress: Option<Egress>,
}

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) kind: Kind,
    pub(super) home: PathBuf,
    /// The program that is run for each prompt.
    pub(super) command: Vec<String>,
    /// Where the endpoint is that is asked for each prompt.
    pub(super) url: Option<String>,
    pub(super) model: Option<String>,
    pub(super) system_prompt: Option<String>,
    pub(super) limits: RunLimits,
    /// The way out, for what asks somebody outside.
    pub(super) egress: Option<Egress>,
    /// `ECHO_CAPABILITIES`: `load`, `none` or `no fork` make the echo agent a lesser one, `rich` one that
    /// wants to be logged in and offers modes and options.
    capabilities: Option<String>,
    /// `ECHO_SCRIPTS`: what the echo agent plays at a moment of the protocol, by its name.
    pub(super) scripts: BTreeMap<String, String>,
}

impl Settings {
    #[expect(clippy::disallowed_methods, reason = "this is where the process starts")]
    pub(super) fn read(kind: &str) -> Result<Self, String> {
        let kind = match kind {
            "echo" => Kind::Echo,
            "vanilla" => Kind::Vanilla,
            "process" => Kind::Process,
            "http" => Kind::Http,
            other => return Err(format!("there is no built-in agent {other}")),
        };
        let plan: Plan = match std::env::var("REEVE_AGENT") {
            Ok(text) => serde_json::from_str(&text).map_err(|why| format!("REEVE_AGENT: {why}"))?,
            Err(_) => Plan::default(),
        };
        let scripts = match std::env::var("ECHO_SCRIPTS") {
            Ok(text) => {
                serde_json::from_str(&text).map_err(|why| format!("ECHO_SCRIPTS: {why}"))?
            }
            Err(_) => BTreeMap::new(),
        };
        Ok(Self {
            kind,
            home: std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into()).into(),
            command: plan.command,
            url: plan.url,
            model: plan.model,
            system_prompt: plan.system_prompt,
            limits: plan.limits,
            egress: plan.egress,
            capabilities: std::env::var("ECHO_CAPABILITIES").ok(),
            scripts,
        })
    }

    /// Whether it wants to be logged in, and offers modes and options.
    pub(super) fn is_rich(&self) -> bool {
        self.capabilities.as_deref() == Some("rich")
    }

    /// Whether it can copy a session.
    pub(super) fn forks(&self) -> bool {
        !matches!(self.capabilities.as_deref(), Some("load" | "none" | "no fork"))
    }

    /// What a session offers when it is opened.
    pub(super) fn offers(&self) -> Value {
        if !self.is_rich() {
            return json!({});
        }
        let levels =
            json!([{ "value": "low", "name": "Low" }, { "value": "high", "name": "High" }]);
        json!({
            "modes": {
                "currentModeId": "ask",
                "availableModes": [{ "id": "ask", "name": "Ask" }, { "id": "code", "name": "Code" }],
            },
            "models": {
                "currentModelId": "small",
                "availableModels": [
                    { "modelId": "small", "name": "Small" },
                    { "modelId": "large", "name": "Large" },
                ],
            },
            "configOptions": [
                {
                    "id": "effort", "name": "Effort", "category": "thought_level",
                    "type": "select", "currentValue": "low", "options": levels,
                },
                { "id": "web", "name": "Search the web", "type": "boolean", "currentValue": false },
            ],
        })
    }

    /// The answer to `initialize`.
    pub(super) fn capabilities(&self) -> Value {
        let mut sessions = match self.capabilities.as_deref() {
            Some("load" | "none") => json!({}),
            Some(_) | None => json!({ "resume": {}, "close": {}, "delete": {} }),
        };
        if self.forks() {
            sessions["fork"] = json!({});
        }
        let name = match self.kind {
            Kind::Echo => "echo",
            Kind::Vanilla => "vanilla",
            Kind::Process => "process",
            Kind::Http => "http",
        };
        json!({
            "protocolVersion": 1,
            "agentCapabilities": {
                "loadSession": self.capabilities.as_deref() != Some("none"),
                "sessionCapabilities": sessions,
            },
            "authMethods": if self.is_rich() {
                let said = "A key from the environment";
                json!([
                    { "id": "terminal-api-key", "type": "terminal" },
                    // Not every way that is offered works.
                    { "id": "broken-api-key" },
                    { "id": "echo-api-key", "name": "Echo key", "description": said },
                ])
            } else {
                json!([])
            },
            "agentInfo": { "name": name, "version": env!("CARGO_PKG_VERSION") },
        })
    }
}
