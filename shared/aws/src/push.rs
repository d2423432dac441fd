//! Frames to the connections of a managed WebSocket API, through its management endpoint.
//!
//! What holds here: a connection is gone when the API says so (410), or when it cannot be told what
//! it must be told: then it is ended, and whoever is behind it comes again and reads the table. What
//! is throttled or fails is tried again with jitter, inside a short deadline.
//!
//! Its role needs `execute-api:ManageConnections` on the API's `POST` and `DELETE` of `@connections/*`.
//!
//! Two frames delivered to one connection by two calls at once may arrive in either order.

use std::time::Duration;

use app::ports::{Gone, Push};
use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::operation::delete_connection::DeleteConnectionError;
use aws_sdk_apigatewaymanagement::operation::post_to_connection::PostToConnectionError;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use crate::fault::said;
use crate::{Environment, EnvironmentError, Sdk};

/// The most bytes a frame may have: the API takes no more in one message.
pub const MAX_FRAME: usize = 128 * 1024;

/// How long all attempts of one call may take together, and how many there are.
const DEADLINE: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The Push port on the API Gateway.
#[derive(Clone, Debug)]
pub struct Connections {
    client: Client,
}

impl Connections {
    /// The connections of the API that `environment` names.
    pub fn new(sdk: &Sdk, environment: &Environment) -> Result<Self, EnvironmentError> {
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(FIRST_BACKOFF)
            .with_max_backoff(MAX_BACKOFF);
        let timeouts = TimeoutConfig::builder().operation_timeout(DEADLINE).build();
        let config = aws_sdk_apigatewaymanagement::config::Builder::from(sdk.config())
            .endpoint_url(environment.connections()?)
            .retry_config(retries)
            .timeout_config(timeouts)
            .build();
        Ok(Self { client: Client::from_conf(config) })
    }
}

#[async_trait::async_trait]
impl Push for Connections {
    async fn deliver(&self, connection: &str, frame: String) -> Result<(), Gone> {
        if frame.len() > MAX_FRAME {
            // Whoever made it has a bug. To leave it out in silence would be a gap that nobody sees.
            tracing::error!(connection, bytes = frame.len(), "a frame is too long to be delivered");
            self.close(connection).await;
            return Err(Gone);
        }
        let post = self.client.post_to_connection().connection_id(connection);
        let Err(error) = post.data(Blob::new(frame)).send().await else { return Ok(()) };
        if error.as_service_error().is_some_and(PostToConnectionError::is_gone_exception) {
            return Err(Gone);
        }
        tracing::warn!(connection, error = said(&error), "a frame was not delivered");
        self.close(connection).await;
        Err(Gone)
    }

    async fn close(&self, connection: &str) {
        let Err(error) = self.client.delete_connection().connection_id(connection).send().await
        else {
            return;
        };
        if error.as_service_error().is_some_and(DeleteConnectionError::is_gone_exception) {
            return;
        }
        // The API ends it after ten idle minutes or two hours, if nothing else does.
        tracing::warn!(connection, error = said(&error), "a connection was not ended");
    }
}
