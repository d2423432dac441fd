//! The events of a session, as pages and streams show them.

use std::borrow::Cow;

use domain::event::Event;
use domain::{RunId, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One durable event. On a stream its `seq` is the event's id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventView(pub Event);

impl JsonSchema for EventView {
    fn schema_name() -> Cow<'static, str> {
        "Event".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "One durable event. Types are ACP's sessionUpdate names in ACP's shapes, and run_state and session_state.",
            "required": ["seq", "type", "time", "data"],
            "properties": {
                "seq": { "type": "integer", "minimum": 1, "description": "Its place in the session: one more than the event before it." },
                "type": { "type": "string", "description": "What kind it is." },
                "runId": generator.subschema_for::<RunId>(),
                "time": generator.subschema_for::<Timestamp>(),
                "data": { "type": "object", "description": "The rest, in the shape its type has." },
            },
        })
    }
}

/// A piece of what is being said right now: on streams only, not durable, without an id. The
/// durable message that follows holds the whole.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveView<'a> {
    /// `agent_message_delta` or `agent_thought_delta`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The run.
    pub run_id: RunId,
    /// When the control plane passed it on.
    pub time: Timestamp,
    /// How many characters (Unicode scalar values) of its message came before this piece.
    pub offset: u64,
    /// `{"messageId","text"}`.
    pub data: &'a RawValue,
}
