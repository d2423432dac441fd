//! One secret of the installation itself, as opposed to those of its realms, which the vault keeps.

use std::fmt;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_smithy_types::error::display::DisplayErrorContext;

use crate::Sdk;

/// Why a secret was not read or written. Never says what it holds.
#[derive(Debug, thiserror::Error)]
#[error("the secret {name} cannot be {verb}: {cause}")]
pub struct SecretError {
    name: String,
    verb: &'static str,
    cause: String,
}

/// One secret by its name or ARN.
#[derive(Clone)]
pub struct Secret {
    client: Client,
    name: String,
}

impl Secret {
    /// The secret of this name or ARN.
    pub fn new(sdk: &Sdk, name: impl Into<String>) -> Self {
        Self { client: Client::new(sdk.config()), name: name.into() }
    }

    /// What it holds, if anything was ever written. One call.
    pub async fn read(&self) -> Result<Option<String>, SecretError> {
        match self.client.get_secret_value().secret_id(&self.name).send().await {
            Ok(found) => Ok(found.secret_string),
            Err(error) => match error.as_service_error() {
                Some(GetSecretValueError::ResourceNotFoundException(_)) => Ok(None),
                _ => Err(self.failed("read", &error)),
            },
        }
    }

    /// Writes what it holds from now on. The secret itself must be there. One call.
    pub async fn write(&self, value: &str) -> Result<(), SecretError> {
        let put = self.client.put_secret_value().secret_id(&self.name).secret_string(value);
        put.send().await.map(drop).map_err(|error| self.failed("written", &error))
    }

    fn failed(&self, verb: &'static str, error: &impl std::error::Error) -> SecretError {
        let cause = DisplayErrorContext(error).to_string();
        SecretError { name: self.name.clone(), verb, cause }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}
