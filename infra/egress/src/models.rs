//! Which models there are, and who serves one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use crate::config::Api;
use crate::forward::Upstream;
use crate::problem::{Kind, Problem};
use crate::scripted;

/// Who can answer.
pub(crate) enum Endpoints {
    /// Providers: one at least, one for each API at most.
    Providers(Vec<Upstream>),
    /// The scripted model alone.
    Scripted,
    /// Nobody.
    Nobody,
}

/// Who answers for one model.
pub(crate) enum Server<'a> {
    Provider(&'a Upstream),
    Scripted,
}

impl Server<'_> {
    pub(crate) const fn api(&self) -> Api {
        match self {
            Self::Provider(upstream) => upstream.api,
            Self::Scripted => Api::Anthropic,
        }
    }
}

impl Endpoints {
    /// Who serves `model`: a lone provider whatever it is; of several, the one whose default it is,
    /// else the one its name speaks of.
    pub(crate) fn server(&self, model: &str) -> Result<Server<'_>, Problem> {
        match self {
            Self::Scripted if model == scripted::MODEL => Ok(Server::Scripted),
            Self::Providers(all) => match all.as_slice() {
                [only] => Some(only),
                all => all
                    .iter()
                    .find(|upstream| upstream.default_model.as_deref() == Some(model))
                    .or_else(|| all.iter().find(|upstream| upstream.api == named(model))),
            }
            .map(Server::Provider)
            .ok_or_else(|| unavailable("No provider serves this model.")),
            Self::Scripted => Err(unavailable(
                "No provider is set up: there is only the scripted demo model, `scripted`.",
            )),
            Self::Nobody => Err(unavailable("No provider is set up.")),
        }
    }
}

pub(crate) fn unavailable(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::ModelUnavailable, detail)
}

fn named(model: &str) -> Api {
    if model.starts_with("claude") {
        Api::Anthropic
    } else if model.starts_with("gemini") {
        Api::Google
    } else {
        Api::OpenAi
    }
}

/// A model, as `OpenAI` describes one.
#[derive(Debug, Serialize)]
pub(crate) struct Model {
    id: String,
    object: &'static str,
    owned_by: &'static str,
}

impl Model {
    fn new(id: impl Into<String>, api: Api) -> Self {
        Self { id: id.into(), object: "model", owned_by: api.owner() }
    }
}

/// The models to use when none is named, the best first.
#[derive(Debug, Serialize)]
pub(crate) struct Models {
    object: &'static str,
    data: Vec<Model>,
}

pub(crate) async fn list(State(endpoints): State<Arc<Endpoints>>) -> Json<Models> {
    let mut data = Vec::new();
    match &*endpoints {
        Endpoints::Providers(all) => {
            for upstream in all {
                let default = match &upstream.default_model {
                    Some(model) => Some(model.clone()),
                    None => ask(upstream).await,
                };
                data.extend(default.map(|id| Model::new(id, upstream.api)));
            }
        }
        Endpoints::Scripted => data.push(Model::new(scripted::MODEL, Api::Anthropic)),
        Endpoints::Nobody => {}
    }
    Json(Models { object: "list", data })
}

pub(crate) async fn get(
    State(endpoints): State<Arc<Endpoints>>,
    Path(model): Path<String>,
) -> Result<Json<Model>, Problem> {
    let api = endpoints.server(&model)?.api();
    Ok(Json(Model::new(model, api)))
}

/// A provider's own default. Anthropic lists its newest model first. The order of others means
/// nothing: only one that has a single model has a default.
async fn ask(upstream: &Upstream) -> Option<String> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(alias = "models")]
        data: Vec<Id>,
    }
    #[derive(Deserialize)]
    struct Id {
        #[serde(alias = "name")]
        id: String,
    }
    let list = upstream.models().await.ok()?;
    let Listed { data } = serde_json::from_slice(&list).ok()?;
    let clear = upstream.api == Api::Anthropic || data.len() == 1;
    let only = data.into_iter().next().filter(|_| clear)?.id;
    Some(only.strip_prefix("models/").map(str::to_owned).unwrap_or(only))
}
