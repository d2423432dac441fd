//! What a process of ours on AWS is told by its environment, and the one configuration that every
//! SDK client of it shares.
//!
//! What holds here: everything is read once, at the start; a variable that is missing is an error
//! only for the port that needs it, and names itself. Nothing is asked of the network, of a profile
//! or of a metadata service before the first request: a function has its region and its role's
//! credentials in its environment, for as long as it lives. Where `AWS_ENDPOINT_URL` is set, every
//! client speaks to that address.
//!
//! Deliberately absent: `aws-config`, whose chain of places where credentials may be costs a function
//! start-up time and this tree another SDK.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_smithy_http_client::tls;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;

/// How long a connection may take, and one attempt of a call until its answer has begun.
const CONNECT: Duration = Duration::from_secs(2);
const ATTEMPT: Duration = Duration::from_secs(10);

/// The environment does not say what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// A variable is not set, or empty.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// A variable is set to something else than what it may be.
    #[error("the environment variable {variable} is not {expected}")]
    Malformed {
        /// Which.
        variable: &'static str,
        /// What it may be.
        expected: &'static str,
    },
}

/// What containers run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Machines of AWS.
    Fargate,
    /// Machines of the cluster.
    Ec2,
}

/// The environment of a process of ours.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<&'static str, String>);

/// Every variable that is read.
const VARIABLES: [&str; 22] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "REEVE_API_URL",
    "REEVE_BOOTSTRAP_SECRET",
    "REEVE_BUCKET",
    "REEVE_CAPACITY",
    "REEVE_CLUSTER",
    "REEVE_CONNECTIONS",
    "REEVE_EGRESS",
    "REEVE_ERRANDS_QUEUE",
    "REEVE_EVENTS_URL",
    "REEVE_SECURITY_GROUPS",
    "REEVE_SIGNING_SECRET",
    "REEVE_STREAM_URL",
    "REEVE_SUBNETS",
    "REEVE_TABLE",
    "REEVE_TASK_FAMILY",
    "REEVE_VAULT_KEY",
    "REEVE_VAULT_PREFIX",
];

impl Environment {
    /// Reads every variable that any port needs; `value` says what a variable is set to. An empty
    /// value counts as none.
    pub fn from_vars(value: impl Fn(&str) -> Option<String>) -> Self {
        let set = VARIABLES.into_iter().filter_map(|name| Some((name, value(name)?)));
        Self(set.filter(|(_, value)| !value.is_empty()).collect())
    }

    fn optional(&self, variable: &'static str) -> Option<&str> {
        debug_assert!(VARIABLES.contains(&variable), "{variable} is not read");
        self.0.get(variable).map(String::as_str)
    }

    fn need(&self, variable: &'static str) -> Result<&str, EnvironmentError> {
        self.optional(variable).ok_or(EnvironmentError::Missing(variable))
    }

    fn list(&self, variable: &'static str) -> Result<Vec<String>, EnvironmentError> {
        let parts = self.need(variable)?.split(',').map(str::trim);
        let parts: Vec<_> = parts.filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if parts.is_empty() {
            return Err(EnvironmentError::Malformed {
                variable,
                expected: "a list separated by commas",
            });
        }
        Ok(parts)
    }

    /// `AWS_ENDPOINT_URL`: where every client speaks to, in place of the services' own addresses.
    pub fn endpoint(&self) -> Option<&str> {
        self.optional("AWS_ENDPOINT_URL")
    }

    /// `AWS_REGION`.
    pub fn region(&self) -> Result<&str, EnvironmentError> {
        self.need("AWS_REGION")
    }

    /// `REEVE_TABLE`: the name of the table.
    pub fn table(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_TABLE")
    }

    /// `REEVE_CLUSTER`: the name or ARN of the ECS cluster.
    pub fn cluster(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_CLUSTER")
    }

    /// `REEVE_SUBNETS`: where containers are.
    pub fn subnets(&self) -> Result<Vec<String>, EnvironmentError> {
        self.list("REEVE_SUBNETS")
    }

    /// `REEVE_SECURITY_GROUPS`: what containers may reach.
    pub fn security_groups(&self) -> Result<Vec<String>, EnvironmentError> {
        self.list("REEVE_SECURITY_GROUPS")
    }

    /// `REEVE_TASK_FAMILY`: how the families of task definitions begin, one family for each size.
    pub fn task_family(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_TASK_FAMILY")
    }

    /// `REEVE_CAPACITY`: `FARGATE` or `EC2`.
    pub fn capacity(&self) -> Result<Capacity, EnvironmentError> {
        let variable = "REEVE_CAPACITY";
        match self.need(variable)? {
            "FARGATE" => Ok(Capacity::Fargate),
            "EC2" => Ok(Capacity::Ec2),
            _ => Err(EnvironmentError::Malformed { variable, expected: "FARGATE or EC2" }),
        }
    }

    /// `REEVE_EGRESS`: the host and port that containers dial.
    pub fn egress(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_EGRESS")
    }

    /// `REEVE_SIGNING_SECRET`: the secret that holds the key which signs the tokens of shims.
    pub fn signing_secret(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_SIGNING_SECRET")
    }

    /// `REEVE_VAULT_PREFIX`: how the names of the vault's secrets begin.
    pub fn vault_prefix(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_VAULT_PREFIX")
    }

    /// `REEVE_VAULT_KEY`: the KMS key of the vault's secrets.
    pub fn vault_key(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_VAULT_KEY")
    }

    /// `REEVE_BUCKET`: the bucket of blobs.
    pub fn bucket(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_BUCKET")
    }

    /// `REEVE_ERRANDS_QUEUE`: the URL of the queue that nudges the scheduler.
    pub fn errands_queue(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_ERRANDS_QUEUE")
    }

    /// `REEVE_CONNECTIONS`: the management endpoint of the WebSocket API. It is given as the address
    /// that sockets dial, which is the only one that the API tells of itself: `wss` there is `https`
    /// here.
    pub fn connections(&self) -> Result<String, EnvironmentError> {
        let address = self.need("REEVE_CONNECTIONS")?;
        let rest = address.strip_prefix("ws");
        Ok(rest.map_or_else(|| address.to_owned(), |rest| format!("http{rest}")))
    }

    /// `REEVE_API_URL`: where the HTTP API answers, without a path.
    pub fn api_url(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_API_URL")
    }

    /// `REEVE_STREAM_URL`: the `wss://` address that clients dial.
    pub fn stream_url(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_STREAM_URL")
    }

    /// `REEVE_EVENTS_URL`: the function URL of the SSE route.
    pub fn events_url(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_EVENTS_URL")
    }

    /// `REEVE_BOOTSTRAP_SECRET`: where the first key of the first realm is put.
    pub fn bootstrap_secret(&self) -> Result<&str, EnvironmentError> {
        self.need("REEVE_BOOTSTRAP_SECRET")
    }
}

/// Says what is set, never to what: credentials are among it.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What every SDK client of a process shares: connections, credentials, region, endpoint.
///
/// Cheap to clone. A port builds its own client of it, so a process has the clients of the ports it builds and
/// no other.
#[derive(Clone, Debug)]
pub struct Sdk(SdkConfig);

impl Sdk {
    /// The configuration that `environment` asks for. Needs `AWS_REGION`, `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`, which Lambda sets. Reads nothing else and waits for nothing.
    pub fn new(environment: &Environment) -> Result<Self, EnvironmentError> {
        let credentials = Credentials::new(
            environment.need("AWS_ACCESS_KEY_ID")?,
            environment.need("AWS_SECRET_ACCESS_KEY")?,
            environment.optional("AWS_SESSION_TOKEN").map(str::to_owned),
            None,
            "environment",
        );
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT);
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(environment.region()?.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http)
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::standard());
        config.set_endpoint_url(environment.endpoint().map(str::to_owned));
        Ok(Self(config.build()))
    }

    /// What a client is built of: `aws_sdk_…::Client::new(sdk.config())`.
    pub(crate) const fn config(&self) -> &SdkConfig {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(vars: &[(&str, &str)]) -> Environment {
        Environment::from_vars(|name| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_missing_is_missed_by_who_needs_it() {
        let little = environment(&[("REEVE_TABLE", "t"), ("REEVE_BUCKET", "")]);
        assert_eq!(little.table(), Ok("t"));
        assert_eq!(little.endpoint(), None);
        assert_eq!(little.bucket(), Err(EnvironmentError::Missing("REEVE_BUCKET")));
        let error = Sdk::new(&little).unwrap_err();
        assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
    }

    #[test]
    fn lists_and_choices_are_read() {
        let set = environment(&[
            ("REEVE_SUBNETS", "subnet-1, subnet-2"),
            ("REEVE_SECURITY_GROUPS", ","),
            ("REEVE_CAPACITY", "fargate"),
        ]);
        assert_eq!(set.subnets().unwrap(), ["subnet-1", "subnet-2"]);
        assert!(set.security_groups().is_err());
        assert!(set.capacity().is_err());
        assert_eq!(environment(&[("REEVE_CAPACITY", "EC2")]).capacity(), Ok(Capacity::Ec2));
    }

    #[test]
    fn the_management_endpoint_is_where_sockets_dial() {
        let at = |address| environment(&[("REEVE_CONNECTIONS", address)]).connections().unwrap();
        assert_eq!(at("wss://a.example/v1"), "https://a.example/v1");
        assert_eq!(at("ws://127.0.0.1:1/a/v1"), "http://127.0.0.1:1/a/v1");
        assert_eq!(at("https://a.example/v1"), "https://a.example/v1");
    }

    #[test]
    fn no_credential_is_shown() {
        let set = environment(&[("AWS_SECRET_ACCESS_KEY", "hush"), ("AWS_REGION", "r")]);
        let shown = format!("{set:?}");
        assert!(shown.contains("AWS_REGION") && !shown.contains("hush"), "{shown}");
    }
}
