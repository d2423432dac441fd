//! The first realm and its key, made when the installation is; and the end of its tasks, when it goes.
//!
//! What holds here: it can be done any number of times. The key is kept before it works, so one that
//! works is never lost; what holds a key already is left as it is. CloudFormation waits for an answer
//! at an address of its own and is given one, whether it went well or not.

use std::time::Duration;

use app::App;
use aws::Secret;
use aws_lambda_events::cloudformation::{
    CloudFormationCustomResourceRequest as Request,
    CloudFormationCustomResourceResponse as Response,
    CloudFormationCustomResourceResponseStatus as Status,
};
use axum::http::{self, Method};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::key::PresentedKey;
use domain::{KeyId, RealmId};
use http_body_util::Full;
use lambda_runtime::Context;

use crate::invocation::{each, left};
use crate::process::Process;
use crate::{Error, outside};

/// What the resource is called for good: were it called otherwise, the old one would be deleted.
const RESOURCE: &str = "first-key";

/// What is kept back of an invocation's time, to answer that it was not enough.
const RESERVE: Duration = Duration::from_secs(10);

/// Makes, changes and removes the resource for as long as the process lives.
pub(super) async fn serve(process: Process, app: App) -> Result<(), Error> {
    let secret = Secret::new(process.sdk()?, process.environment.bootstrap_secret()?);
    let shared = process.clone();
    each(process, async move |request: Request, context: &Context| {
        let late = shared.clock.wait(left(&*shared.clock, context, RESERVE));
        let done = tokio::select! {
            done = carry_out(&shared, &app, &secret, &request) => done,
            () = late => Err("it took too long".into()),
        };
        answer(request, done).await
    })
    .await
}

/// Answers with the first realm, where there is to be one.
async fn carry_out(
    process: &Process,
    app: &App,
    secret: &Secret,
    request: &Request,
) -> Result<Option<RealmId>, Error> {
    match request {
        Request::Create(_) | Request::Update(_) => {
            let key = first_key(process, secret).await?;
            Ok(Some(app.realms().bootstrap(&key).await?))
        }
        // Tasks belong to no stack, and no stack goes whose cluster has some: they go first. Table and
        // secret go with the installation, or stay with it.
        Request::Delete(_) => {
            app.containers().stop_all().await?;
            Ok(None)
        }
        _ => Err("CloudFormation asks for something that was not known of".into()),
    }
}

async fn first_key(process: &Process, secret: &Secret) -> Result<PresentedKey, Error> {
    if let Some(kept) = secret.read().await?
        && let Ok(key) = kept.parse()
    {
        return Ok(key);
    }
    let id = KeyId::new(process.ids.ulid(process.clock.now()));
    let spelled = PresentedKey::spell(id, &URL_SAFE_NO_PAD.encode(process.ids.secret()));
    secret.write(&spelled).await?;
    spelled.parse().map_err(|_| "a key that was just made is none".into())
}

async fn answer(request: Request, done: Result<Option<RealmId>, Error>) -> Result<(), Error> {
    let (url, stack, id, resource) = match request {
        Request::Create(asked) => {
            (asked.response_url, asked.stack_id, asked.request_id, asked.logical_resource_id)
        }
        Request::Update(asked) => {
            (asked.response_url, asked.stack_id, asked.request_id, asked.logical_resource_id)
        }
        Request::Delete(asked) => {
            (asked.response_url, asked.stack_id, asked.request_id, asked.logical_resource_id)
        }
        _ => return Err("CloudFormation asks for something that was not known of".into()),
    };
    let mut response = Response::default();
    RESOURCE.clone_into(&mut response.physical_resource_id);
    (response.stack_id, response.request_id, response.logical_resource_id) = (stack, id, resource);
    match done {
        Ok(realm) => {
            response.reason = Some("done".to_owned());
            response.data.extend(realm.map(|realm| ("RealmId".to_owned(), realm.to_string())));
        }
        Err(error) => {
            tracing::error!(%error, "the first key was not made");
            response.status = Status::Failed;
            response.reason = Some(error.to_string());
        }
    }
    put(&url, serde_json::to_vec(&response)?).await
}

/// Puts a document where the address says, which is signed for exactly that: no type, no other header.
async fn put(url: &str, document: Vec<u8>) -> Result<(), Error> {
    let request = http::Request::builder().method(Method::PUT).uri(url);
    let response = outside::client()?.request(request.body(Full::new(document.into()))?).await?;
    if response.status().is_success() {
        return Ok(());
    }
    Err(format!("CloudFormation took no answer: {}", response.status()).into())
}
