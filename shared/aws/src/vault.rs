//! The vault on Secrets Manager: one managed secret for each realm, which holds all of its names.
//!
//! What holds here
//! - Secrets Manager has no conditional put, but the version of a managed secret cannot be changed
//!   once it is there, and whoever makes one chooses its id. So the id of the next version is made of
//!   the number of the realm's change that it is: of two who make the same change number, one makes
//!   the version and the other is told that it exists, reads again and decides again. No lock, no row
//!   in the table, and nothing to clean up after a crash.
//! - Who changes something signs it with a number of its own, so that nobody takes another's change
//!   for its own, and a call that is repeated because its answer was lost is told from a race.
//! - Encrypted under the installation's own KMS key. Values are in no error: what the service says of
//!   a call names the secret, never what is in it.
//!
//! Secrets Manager keeps every version for a day and at most about a hundred of them: a realm can be
//! changed about a hundred times a day, and is told so when it has been. A managed secret is never
//! deleted here, not even without names: its changes would begin to count again.
//!
//! Its role needs `secretsmanager:GetSecretValue`, `CreateSecret` and `PutSecretValue` on names that
//! begin with the prefix, and `kms:Decrypt` and `kms:GenerateDataKey` on the key.
//!
//! A read may lag behind another's change by moments. Changes never do: one that was decided on old
//! values is told that its number is taken.

use std::sync::Arc;
use std::time::Duration;

use app::ports::{Clock, Kept, Named, SecretValue, Vault, VaultError};
use app::secrets::Secrets;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use domain::RealmId;
use domain::text::Slug;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::Scope;

use crate::fault::Fault;
use crate::{Environment, EnvironmentError, Sdk};

/// How long all attempts of one call may take together, and how many there are.
const DEADLINE: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How often a change is decided again because others were faster.
const RACES: u32 = 20;

/// The longest one waits after the first lost race. It doubles with every other, up to sixteenfold.
const RACE_WAIT: Duration = Duration::from_millis(50);

/// The Vault port on Secrets Manager.
#[derive(Clone, Debug)]
pub struct ManagedVault {
    client: Client,
    clock: Arc<dyn Clock>,
    prefix: String,
    key: String,
}

/// What a managed secret holds.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// Who made this version. Two who change the same in the same way write something else.
    writer: String,
    #[serde(flatten)]
    secrets: Secrets,
}

impl ManagedVault {
    /// The vault whose secrets begin with the prefix that `environment` names.
    pub fn new(
        sdk: &Sdk,
        environment: &Environment,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EnvironmentError> {
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(FIRST_BACKOFF)
            .with_max_backoff(MAX_BACKOFF);
        let timeouts = TimeoutConfig::builder().operation_timeout(DEADLINE).build();
        let config = aws_sdk_secretsmanager::config::Builder::from(sdk.config())
            .retry_config(retries)
            .timeout_config(timeouts)
            .build();
        Ok(Self {
            client: Client::from_conf(config),
            clock,
            prefix: environment.vault_prefix()?.to_owned(),
            key: environment.vault_key()?.to_owned(),
        })
    }

    fn name(&self, realm: RealmId) -> String {
        format!("{}{realm}", self.prefix)
    }

    async fn load(&self, realm: RealmId) -> Result<Secrets, VaultError> {
        let answer = self.client.get_secret_value().secret_id(self.name(realm)).send().await;
        match answer {
            Ok(answer) => {
                let text = answer.secret_string().unwrap_or_default();
                // What serde says of a text may quote it.
                let stored = serde_json::from_str::<Stored>(text).map_err(|error| {
                    let place = format!("line {} column {}", error.line(), error.column());
                    let why = format!("the realm's secrets do not parse: {place}");
                    unavailable(Fault::new("GetSecretValue", why))
                })?;
                Ok(stored.secrets)
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                Ok(Secrets::default())
            }
            Err(error) => Err(unavailable(Fault::of("GetSecretValue", &error))),
        }
    }

    /// Makes `secrets` the realm's. Answers false where another has made the change of this number.
    async fn store(&self, realm: RealmId, secrets: &Secrets) -> Result<bool, VaultError> {
        let stored = Stored { writer: random()?, secrets: secrets.clone() };
        let text = serde_json::to_string(&stored).map_err(unavailable)?;
        let name = self.name(realm);
        let token = token(&name, secrets.revision());
        let by_us = || self.is_of(&name, &token, &stored.writer);
        if secrets.revision() == 1 {
            let made = self
                .client
                .create_secret()
                .name(&name)
                .description("What a realm keeps in its vault")
                .kms_key_id(&self.key)
                .client_request_token(&token)
                .secret_string(text)
                .send()
                .await;
            return match made {
                Ok(_) => Ok(true),
                Err(error) => match error.as_service_error() {
                    Some(service) if service.is_resource_exists_exception() => by_us().await,
                    Some(service) if service.is_limit_exceeded_exception() => Err(too_many()),
                    _ => Err(unavailable(Fault::of("CreateSecret", &error))),
                },
            };
        }
        let put = self
            .client
            .put_secret_value()
            .secret_id(&name)
            .client_request_token(&token)
            .secret_string(text)
            .send()
            .await;
        match put {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(service) if service.is_resource_exists_exception() => by_us().await,
                Some(service) if service.is_limit_exceeded_exception() => Err(too_many()),
                _ => Err(unavailable(Fault::of("PutSecretValue", &error))),
            },
        }
    }

    /// Whether it was this writer who made that version: its answer may have been lost.
    async fn is_of(&self, name: &str, version: &str, writer: &str) -> Result<bool, VaultError> {
        let found = self.client.get_secret_value().secret_id(name).version_id(version).send().await;
        match found {
            Ok(found) => {
                let stored =
                    serde_json::from_str::<Stored>(found.secret_string().unwrap_or_default());
                Ok(stored.is_ok_and(|stored| stored.writer == writer))
            }
            // It is there, but cannot be read yet: it is another's, who was faster.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(unavailable(Fault::of("GetSecretValue", &error))),
        }
    }

    async fn change<T: Send>(
        &self,
        scope: Scope,
        change: impl Fn(&mut Secrets) -> Result<T, VaultError> + Send + Sync,
    ) -> Result<T, VaultError> {
        let realm = scope.realm();
        for lost in 0..RACES {
            let mut secrets = self.load(realm).await?;
            let before = secrets.revision();
            let answer = change(&mut secrets)?;
            if secrets.revision() == before || self.store(realm, &secrets).await? {
                return Ok(answer);
            }
            self.clock.wait(jitter(RACE_WAIT * (1 << lost.min(4)))?).await;
        }
        let why = format!("others were faster {RACES} times");
        Err(unavailable(Fault::new("PutSecretValue", why)))
    }
}

#[async_trait::async_trait]
impl Vault for ManagedVault {
    async fn put(&self, scope: Scope, name: &Slug, value: &SecretValue) -> Result<u64, VaultError> {
        self.change(scope, |secrets| secrets.put(name, value)).await
    }

    async fn get(&self, scope: Scope, name: &Slug) -> Result<Option<Kept>, VaultError> {
        Ok(self.load(scope.realm()).await?.get(name))
    }

    async fn rotate(
        &self,
        scope: Scope,
        name: &Slug,
        version: u64,
        value: &SecretValue,
    ) -> Result<u64, VaultError> {
        self.change(scope, |secrets| secrets.rotate(name, version, value)).await
    }

    async fn delete(&self, scope: Scope, name: &Slug) -> Result<(), VaultError> {
        self.change(scope, |secrets| {
            secrets.delete(name);
            Ok(())
        })
        .await
    }

    async fn list(
        &self,
        scope: Scope,
        after: Option<&Slug>,
        limit: usize,
    ) -> Result<Vec<Named>, VaultError> {
        Ok(self.load(scope.realm()).await?.list(after, limit))
    }
}

/// The id of the version that change number `revision` makes: 64 characters, as many as it may have.
fn token(name: &str, revision: u64) -> String {
    hex::encode(Sha256::digest(format!("{name} {revision}")))
}

fn random() -> Result<String, VaultError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(unavailable)?;
    Ok(hex::encode(bytes))
}

/// Any time up to `most`.
fn jitter(most: Duration) -> Result<Duration, VaultError> {
    let chance = getrandom::u32().map_err(unavailable)?;
    Ok(most.mul_f64(f64::from(chance) / f64::from(u32::MAX)))
}

fn too_many() -> VaultError {
    VaultError::Refused(
        "the secrets of this realm were changed too often: Secrets Manager keeps each change for a \
         day, and no more than about a hundred. Try again tomorrow"
            .to_owned(),
    )
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> VaultError {
    VaultError::Unavailable(Box::new(error))
}
