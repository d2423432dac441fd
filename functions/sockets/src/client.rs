//! The client's connection: what opens and ends it, and what it says.
//!
//! Where each verb has its own function, each calls [`frame`]: what is done is read from the text, so a
//! gateway that routes by it cannot be wrong about it.
//!
//! What holds here: every answer goes out through [`app::ports::Push`], behind what was sent before, so
//! a verb has nothing to return. An error means that the platform did not do it; the connection was or
//! should be ended, and the client comes back with its cursors.

use app::{App, Error};
use wire::stream::{Asked, MAX_ASKED};

/// Opens a connection for whoever presents a ticket.
pub async fn connect(app: &App, connection: &str, ticket: Option<&str>) -> Result<(), Error> {
    app.stream().connect(connection, ticket).await
}

/// The connection is over, whoever ended it.
pub async fn disconnect(app: &App, connection: &str) -> Result<(), Error> {
    app.stream().disconnect(connection).await
}

/// Handles one text frame of a client, whatever it says.
pub async fn frame(app: &App, connection: &str, text: &str) -> Result<(), Error> {
    if text.len() > MAX_ASKED {
        return app.stream().misunderstood(connection, "the frame is too long").await;
    }
    match serde_json::from_str(text) {
        Ok(Asked::Subscribe { topic, after, live }) => {
            let live = live.unwrap_or(true);
            app.stream().subscribe(connection, topic, after, live).await
        }
        Ok(Asked::Unsubscribe { topic }) => app.stream().unsubscribe(connection, topic).await,
        Ok(Asked::Ping {}) => app.stream().pong(connection).await,
        Err(error) => app.stream().misunderstood(connection, &error.to_string()).await,
    }
}
