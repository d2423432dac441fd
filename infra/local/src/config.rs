//! What `--config FILE` says, and saying it again while `reeve` runs.
//!
//! What holds here: a file counts whole or not at all. It is read at the start, and again at SIGHUP:
//! then the models count from the next request on and the log at once, and where the file cannot be
//! taken, what counted before goes on counting, and the log and `/metrics` say so. The command line and
//! the environment count before the file, at the start and later.
//!
//! Deliberately absent: what a running system cannot change. A file that would is not taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::Request;
use domain::limits::Limits;
use domain::text::Slug;
use serde::Deserialize;
use tokio::sync::watch;
use tower::{ServiceExt as _, service_fn};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::cli::Up;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is not TOML, or not of this shape; says where.
    #[error("{path}: {message}")]
    Malformed {
        /// Which.
        path: String,
        /// What is wrong; quotes no value.
        message: String,
    },
    /// A value is none of those there are.
    #[error("{path}: {name} {why}")]
    Value {
        /// Which.
        path: String,
        /// Whose value.
        name: String,
        /// What it must be.
        why: &'static str,
    },
    /// The models cannot be reached as it says.
    #[error("the models of the file: {0}")]
    Models(String),
    /// It differs in what only a start can change.
    #[error("{0} take a restart")]
    Restart(&'static str),
    /// The log takes no other filter.
    #[error("the log: {0}")]
    Log(#[from] reload::Error),
}

/// What the file says.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// What is logged, as `RUST_LOG` has it.
    log: Option<String>,
    #[serde(default)]
    models: Models,
    /// The addresses under which agents of the driver `http` may be.
    #[serde(default)]
    http_agents: Vec<String>,
    #[serde(default)]
    repositories: BTreeMap<String, PathBuf>,
    #[serde(default)]
    limits: BTreeMap<String, Amount>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Models {
    #[serde(default)]
    anthropic: Model,
    #[serde(default)]
    openai: Model,
    #[serde(default)]
    gemini: Model,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    api_key: Option<String>,
    api_key_file: Option<PathBuf>,
    base_url: Option<String>,
    #[serde(rename = "model")]
    default: Option<String>,
}

#[derive(PartialEq, Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u64),
    Text(String),
}

impl Config {
    /// What the file says that `options` name; nothing where they name none.
    pub(crate) fn read(options: &Up) -> Result<Self, ConfigError> {
        let Some(path) = &options.config else { return Ok(Self::default()) };
        let name = || path.display().to_string();
        let text = text(path)?;
        let mut config: Self = toml::from_str(&text).map_err(|error| {
            // Without the line itself: it may be the one with a credential.
            let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
            let message = format!("line {line}: {}", error.message());
            ConfigError::Malformed { path: name(), message }
        })?;
        let wrong = |of: String, why| ConfigError::Value { path: name(), name: of, why };
        for model in config.models.each() {
            if let Some(file) = model.api_key_file.take() {
                let file = path.parent().unwrap_or_else(|| Path::new("")).join(file);
                model.api_key = Some(self::text(&file)?.trim().to_owned());
            }
        }
        for repository in config.repositories.keys() {
            if Slug::new(repository).is_err() || repository.contains('/') {
                let why = "is not a name: letters, digits, `.`, `_` and `-`";
                return Err(wrong(format!("repositories.{repository}"), why));
            }
        }
        for (limit, amount) in &config.limits {
            if Limits::default().with(&assignment(limit, amount)).is_err() {
                let why = "is no limit, or has no such value";
                return Err(wrong(format!("limits.{limit}"), why));
            }
        }
        if config.log.as_ref().is_some_and(|log| EnvFilter::try_new(log).is_err()) {
            return Err(wrong(
                "log".to_owned(),
                "is no filter, such as `info` or `info,app=debug`",
            ));
        }
        Ok(config)
    }

    /// What it says of limits and repositories goes before what `options` say: the last counts.
    pub(crate) fn fill(&self, options: &mut Up) {
        let limits = self.limits.iter().map(|(limit, amount)| assignment(limit, amount));
        options.limit.splice(0..0, limits);
        let repositories =
            self.repositories.iter().map(|(name, path)| (name.clone(), path.clone()));
        options.repository.splice(0..0, repositories);
    }

    /// The filter of the log.
    pub(crate) fn filter(&self) -> EnvFilter {
        EnvFilter::try_from_default_env()
            .or_else(|_| EnvFilter::try_new(self.log.as_deref().unwrap_or("info")))
            .unwrap_or_else(|_| EnvFilter::new("info"))
    }

    /// The models, where `variable` has what the environment says.
    pub(crate) fn models(&self, variable: impl Fn(&str) -> Option<String>) -> egress::Config {
        egress::Config::from_vars(|name| {
            variable(name).or_else(|| match name {
                "REEVE_HTTP_AGENTS" => Some(self.http_agents.join(" ")),
                name => self.models.variable(name),
            })
        })
    }

    /// What cannot be changed while it runs and differs in `other`.
    fn fixed(&self, other: &Self) -> Option<&'static str> {
        if self.repositories != other.repositories {
            return Some("repositories");
        }
        (self.limits != other.limits).then_some("limits")
    }
}

impl Models {
    fn each(&mut self) -> [&mut Model; 3] {
        [&mut self.anthropic, &mut self.openai, &mut self.gemini]
    }

    /// What the file says in place of a variable that egress knows.
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "ANTHROPIC_API_KEY" => &self.anthropic.api_key,
            "ANTHROPIC_BASE_URL" => &self.anthropic.base_url,
            "ANTHROPIC_MODEL" => &self.anthropic.default,
            "OPENAI_API_KEY" => &self.openai.api_key,
            "OPENAI_BASE_URL" => &self.openai.base_url,
            "OPENAI_MODEL" => &self.openai.default,
            "GEMINI_API_KEY" => &self.gemini.api_key,
            "GOOGLE_GEMINI_BASE_URL" => &self.gemini.base_url,
            "GEMINI_MODEL" => &self.gemini.default,
            _ => return None,
        };
        value.clone()
    }
}

fn text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.display().to_string(), source })
}

fn assignment(limit: &str, amount: &Amount) -> String {
    match amount {
        Amount::Number(number) => format!("{limit}={number}"),
        Amount::Text(text) => format!("{limit}={text}"),
    }
}

/// What counts, and takes another file while everything runs.
pub(crate) struct Current {
    options: Up,
    config: Config,
    models: watch::Sender<Router>,
    log: reload::Handle<EnvFilter, Registry>,
}

impl Current {
    /// With `config`, which `options` named; and the way to the models, whichever count by then.
    pub(crate) fn new(
        options: Up,
        config: Config,
        log: reload::Handle<EnvFilter, Registry>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, Router), ConfigError> {
        let (models, now) = watch::channel(way_out(&options, &config, variable)?);
        let router = Router::new().fallback_service(service_fn(move |request: Request| {
            let now = now.borrow().clone();
            now.oneshot(request)
        }));
        Ok((Self { options, config, models, log }, router))
    }

    /// Reads the file again. Where it fails, nothing has changed.
    pub(crate) fn again(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        let config = Config::read(&self.options)?;
        if let Some(fixed) = config.fixed(&self.config) {
            return Err(ConfigError::Restart(fixed));
        }
        let models = way_out(&self.options, &config, variable)?;
        self.log.reload(config.filter())?;
        drop(self.models.send_replace(models));
        self.config = config;
        Ok(())
    }
}

fn way_out(
    options: &Up,
    config: &Config,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Router, ConfigError> {
    egress::router(config.models(variable).scripted(options.demo))
        .map_err(|error| ConfigError::Models(error.to_string()))
}
