//! What an agent wants to know from somebody: a form to be filled in, or an address to be visited.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::output::Contract;

/// The most bytes of an elicitation's schema, and of what is answered by it, as JSON.
pub const MAX_FORM: usize = 16 * 1024;
/// The most characters of its message.
pub const MAX_MESSAGE: usize = 4000;
/// The most bytes of an address.
pub const MAX_URL: usize = 2048;
/// The most elicitations one run may wait for at once; more are answered `cancel`.
pub const MAX_ELICITATIONS: usize = 4;

/// In which way it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Inquiry {
    /// A form.
    Form {
        /// The JSON Schema of what is to be filled in: an object of plain values.
        requested_schema: Value,
    },
    /// An address where the agent's user does something: what is entered there does not pass here.
    Url {
        /// The agent's id of it.
        elicitation_id: String,
        /// The address.
        url: String,
    },
}

/// What somebody answers to it, as ACP has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Reply {
    /// Yes, and what was filled in.
    Accept {
        /// What fits the schema; none for an address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Value>,
    },
    /// No.
    Decline,
    /// Nobody decided.
    Cancel,
}

impl Reply {
    /// ACP's word for it.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Accept { .. } => "accept",
            Self::Decline => "decline",
            Self::Cancel => "cancel",
        }
    }
}

/// What an agent waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Elicitation {
    /// Its id within the run.
    pub id: String,
    /// What the agent says to whoever is to answer.
    pub message: String,
    /// In which way it is asked.
    pub inquiry: Inquiry,
    /// The answer, from the moment it is given to the moment the agent has it.
    pub reply: Option<Reply>,
}

/// Why something cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unaskable {
    /// Its schema judges nothing.
    #[error("{0}")]
    Schema(String),
    /// Its address is none.
    #[error("an address must begin with http:// or https:// and have at most {MAX_URL} bytes")]
    Address,
    /// Its id is too long.
    #[error("an elicitationId must have 1 to 256 bytes")]
    Id,
}

impl Inquiry {
    /// Whether it can be put to somebody.
    pub fn check(&self) -> Result<(), Unaskable> {
        match self {
            Self::Form { requested_schema } => {
                if size(requested_schema) > MAX_FORM {
                    let why = format!("the schema has more than {MAX_FORM} bytes of JSON");
                    return Err(Unaskable::Schema(why));
                }
                Contract::new(requested_schema)
                    .map(drop)
                    .map_err(|why| Unaskable::Schema(why.to_string()))
            }
            Self::Url { elicitation_id, .. } if !(1..=256).contains(&elicitation_id.len()) => {
                Err(Unaskable::Id)
            }
            Self::Url { url, .. } => {
                let web = url.starts_with("http://") || url.starts_with("https://");
                let fits = web && url.len() <= MAX_URL && !url.contains(char::is_control);
                fits.then_some(()).ok_or(Unaskable::Address)
            }
        }
    }

    /// Whether `reply` answers it; where it does not, what is wrong with its content.
    pub fn judge(&self, reply: &Reply) -> Result<(), String> {
        let Reply::Accept { content } = reply else { return Ok(()) };
        match (self, content) {
            (Self::Url { .. }, None) => Ok(()),
            (Self::Url { .. }, Some(_)) => Err("an address is accepted without content".to_owned()),
            (Self::Form { requested_schema }, content) => {
                let content = content.as_ref().ok_or("a form is accepted with content")?;
                if !content.is_object() {
                    return Err("must be an object".to_owned());
                }
                if size(content) > MAX_FORM {
                    return Err(format!("must be at most {MAX_FORM} bytes of JSON"));
                }
                let contract = Contract::new(requested_schema).map_err(|why| why.to_string())?;
                contract.judge(content)
            }
        }
    }
}

fn size(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_filled_in_fits_the_form() {
        let form = Inquiry::Form {
            requested_schema: json!({
                "type": "object",
                "properties": { "name": { "type": "string", "minLength": 2 } },
                "required": ["name"],
            }),
        };
        assert_eq!(form.check(), Ok(()));
        let accept = |content| Reply::Accept { content };
        assert_eq!(form.judge(&accept(Some(json!({ "name": "Ada" })))), Ok(()));
        for wrong in [None, Some(json!({})), Some(json!({ "name": "A" })), Some(json!([1]))] {
            assert!(form.judge(&accept(wrong.clone())).is_err(), "{wrong:?}");
        }
        assert_eq!(form.judge(&Reply::Decline), Ok(()));
        let long = json!({ "name": "x".repeat(MAX_FORM) });
        assert!(form.judge(&accept(Some(long))).is_err());
    }

    #[test]
    fn an_address_is_one_of_the_web() {
        let at = |url: &str| Inquiry::Url { elicitation_id: "e".to_owned(), url: url.to_owned() };
        assert_eq!(at("https://example.com/login").check(), Ok(()));
        for wrong in ["javascript:alert(1)", "file:///etc/passwd", "https://a\nb", ""] {
            assert_eq!(at(wrong).check(), Err(Unaskable::Address), "{wrong}");
        }
        let address = at("https://example.com");
        assert_eq!(address.judge(&Reply::Accept { content: None }), Ok(()));
        assert!(address.judge(&Reply::Accept { content: Some(json!({})) }).is_err());
    }

    #[test]
    fn a_reply_is_spelled_as_acp_spells_it() {
        let reply = Reply::Accept { content: Some(json!({ "a": 1 })) };
        assert_eq!(json!(reply), json!({ "action": "accept", "content": { "a": 1 } }));
        assert_eq!(json!(Reply::Decline), json!({ "action": "decline" }));
    }
}
