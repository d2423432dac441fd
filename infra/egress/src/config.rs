//! Which providers there are, and how to reach them.

use std::fmt;

/// The shape of requests and answers that a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// Anthropic's Messages.
    Anthropic,
    /// `OpenAI`'s Chat Completions and Responses.
    OpenAi,
    /// Google's Gemini.
    Google,
}

impl Api {
    /// What `owned_by` says of its models.
    pub const fn owner(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::Google => "google",
        }
    }

    const fn public_base(self) -> &'static str {
        match self {
            Self::Anthropic => "https://api.anthropic.com",
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Google => "https://generativelanguage.googleapis.com",
        }
    }
}

/// What can be asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Messages,
    CountTokens,
    ChatCompletions,
    Responses,
    Generate,
    StreamGenerate,
    CountContent,
}

/// Where containers reach Google's: the last part of the path is the model and what is asked of it.
pub(crate) const GOOGLE: &str = "/v1beta/models/{call}";

impl Endpoint {
    /// Those that have a path of their own: which model is meant is in the body.
    pub(crate) const WITH_PATHS: [Self; 4] =
        [Self::Messages, Self::CountTokens, Self::ChatCompletions, Self::Responses];

    /// The model and what is asked of it, as the last part of a path of Google's says it.
    pub(crate) fn called(call: &str) -> Option<(&str, Self)> {
        let (model, verb) = call.split_once(':')?;
        let endpoint = match verb {
            "generateContent" => Self::Generate,
            "streamGenerateContent" => Self::StreamGenerate,
            "countTokens" => Self::CountContent,
            _ => return None,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (!model.is_empty() && model.bytes().all(plain)).then_some((model, endpoint))
    }

    /// Whose it is.
    pub(crate) const fn api(self) -> Api {
        match self {
            Self::Messages | Self::CountTokens => Api::Anthropic,
            Self::ChatCompletions | Self::Responses => Api::OpenAi,
            Self::Generate | Self::StreamGenerate | Self::CountContent => Api::Google,
        }
    }

    /// The path on which containers reach it.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Generate | Self::StreamGenerate | Self::CountContent => GOOGLE,
        }
    }

    /// What is appended to a provider's base URL.
    pub(crate) fn at_provider(self, model: &str) -> String {
        match self {
            Self::Messages => "/v1/messages".to_owned(),
            Self::CountTokens => "/v1/messages/count_tokens".to_owned(),
            Self::ChatCompletions => "/chat/completions".to_owned(),
            Self::Responses => "/responses".to_owned(),
            Self::Generate => format!("/v1beta/models/{model}:generateContent"),
            Self::StreamGenerate => {
                format!("/v1beta/models/{model}:streamGenerateContent?alt=sse")
            }
            Self::CountContent => format!("/v1beta/models/{model}:countTokens"),
        }
    }
}

/// A provider's credential. It has no form in which it could end up in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The credential `key`.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// One place to send model requests to.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What it speaks.
    pub api: Api,
    /// What its paths are appended to, as its own client libraries take it. For [`Api::OpenAi`] a
    /// base without a path means `/v1`.
    pub base_url: String,
    /// The credential. None is for servers that ask for none: they are sent a placeholder.
    pub api_key: Option<ApiKey>,
    /// The model for agents that name none. Without one the provider is asked what it has.
    pub default_model: Option<String>,
}

/// What the endpoints are built from.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// At most one for each [`Api`].
    pub providers: Vec<Provider>,
    /// Whether the scripted model stands in when there is no provider.
    pub scripted: bool,
    /// The addresses under which agents of the driver `http` may be. None, and there are none.
    pub http_agents: Vec<String>,
}

impl Config {
    /// What the variables of the client libraries say: `ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL`,
    /// `ANTHROPIC_MODEL`, `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_MODEL`, `GEMINI_API_KEY`,
    /// `GOOGLE_GEMINI_BASE_URL`, `GEMINI_MODEL`. A provider is set up where there is a key or a base
    /// URL. `REEVE_HTTP_AGENTS` has the addresses of agents outside, with spaces between them. An empty
    /// variable is none.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| {
            var(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let provider = |api: Api, key: &str, base: &str, model: &str| {
            let (api_key, base_url) = (var(key).map(ApiKey::new), var(base));
            if api_key.is_none() && base_url.is_none() {
                return None;
            }
            let base_url = base_url.unwrap_or_else(|| api.public_base().to_owned());
            Some(Provider { api, base_url, api_key, default_model: var(model) })
        };
        let providers = [
            provider(Api::Anthropic, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL"),
            provider(Api::OpenAi, "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"),
            provider(Api::Google, "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GEMINI_MODEL"),
        ];
        let http_agents = var("REEVE_HTTP_AGENTS").unwrap_or_default();
        let http_agents = http_agents.split_ascii_whitespace().map(str::to_owned).collect();
        let providers = providers.into_iter().flatten().collect();
        Self { providers, scripted: false, http_agents }
    }

    /// The same, with the scripted model standing in for no provider, or not.
    #[must_use]
    pub fn scripted(self, scripted: bool) -> Self {
        Self { scripted, ..self }
    }

    /// What models there will be, for people: names no credential and no URL.
    pub fn describe(&self) -> String {
        let all: Vec<String> = self
            .providers
            .iter()
            .map(|Provider { api, default_model, .. }| match default_model {
                Some(model) => format!("{model} ({})", api.owner()),
                None => format!("what {} offers", api.owner()),
            })
            .collect();
        match all.as_slice() {
            [] if self.scripted => "scripted, which is a program and no language model".to_owned(),
            [] => "none".to_owned(),
            all => all.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)]) -> Config {
        Config::from_vars(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_is_no_provider() {
        assert!(from(&[]).providers.is_empty());
        assert!(
            from(&[("OPENAI_API_KEY", " "), ("ANTHROPIC_MODEL", "claude")]).providers.is_empty()
        );
    }

    #[test]
    fn a_key_or_a_base_url_is_enough() {
        let config = from(&[
            ("ANTHROPIC_API_KEY", "sk-ant-1\n"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:11434"),
            ("OPENAI_MODEL", "qwen3"),
        ]);
        insta::assert_debug_snapshot!(config.providers, @r#"
        [
            Provider {
                api: Anthropic,
                base_url: "https://api.anthropic.com",
                api_key: Some(
                    ApiKey(..),
                ),
                default_model: None,
            },
            Provider {
                api: OpenAi,
                base_url: "http://127.0.0.1:11434",
                api_key: None,
                default_model: Some(
                    "qwen3",
                ),
            },
        ]
        "#);
        assert_eq!(config.providers[0].api_key, Some(ApiKey::new("sk-ant-1")));
    }
}
