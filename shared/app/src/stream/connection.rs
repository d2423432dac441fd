//! Tickets, and the connections they open.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::due::Errand;
use domain::id::Ulid;
use domain::key::ApiKey;
use domain::realm::{Realm, RealmState};
use domain::{KeyId, RealmId, SubscriptionId, TicketId};
use store::connection::{Connection, Who};
use store::document::{self, Loaded};
use store::subscription::Subscription;
use store::ticket::Ticket;
use store::{Expect, Scope, keys};
use subtle::ConstantTimeEq;
use wire::stream::TicketView;

use super::{BEYOND, LIFE, Stream};
use crate::caller::digest;
use crate::commit::retry_conflict;
use crate::shim::ShimCaller;
use crate::{Caller, Error};

/// How long a ticket works.
const TICKET: std::time::Duration = std::time::Duration::from_mins(1);

/// The most subscriptions that one commit removes.
const SOME: usize = 50;

/// Who is on the other side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client of the API.
    Client,
    /// The shim in a container.
    Shim(ShimCaller),
}

impl Stream<'_> {
    /// A ticket that opens one stream for whoever presents it within a minute. One commit.
    pub async fn ticket(&self, caller: &Caller) -> Result<TicketView, Error> {
        let app = self.0;
        let now = app.now();
        let secret = URL_SAFE_NO_PAD.encode(app.ports.ids.secret());
        let ticket = Ticket {
            id: TicketId::new(app.ulid(now)),
            secret_sha256: digest(&secret),
            realm: caller.realm(),
            key: caller.key(),
            expires_at: now.after(TICKET),
        };
        let view = TicketView {
            ticket: format!("{}_{secret}", ticket.id),
            url: app.settings.stream_url.clone(),
            expires_at: ticket.expires_at,
        };
        let writes = vec![document::put_until(&ticket, ticket.expires_at, Expect::Absent)];
        app.commit(caller, "stream.ticket", ticket.id, writes, &view).await?;
        Ok(view)
    }

    /// Opens a connection for whoever presents a ticket, which is used up. Two reads, one commit.
    pub async fn connect(&self, connection: &str, ticket: Option<&str>) -> Result<(), Error> {
        let app = self.0;
        let refused =
            || Error::Unauthenticated("the ticket is missing, malformed, used up or expired");
        let (id, secret) = ticket.and_then(spelled).ok_or_else(refused)?;
        let ticket = document::get::<Ticket>(app.table(), &keys::ticket(id)).await?;
        let ticket = ticket.ok_or_else(refused)?;
        let now = app.now();
        let genuine = digest(secret).as_bytes().ct_eq(ticket.value.secret_sha256.as_bytes());
        if !bool::from(genuine) || ticket.value.expires_at <= now {
            return Err(refused());
        }
        let Ticket { realm, key, .. } = ticket.value;
        let scope = scope(realm);
        let read = [keys::api_key(key), keys::realm(scope)];
        let read = app.table().batch_get(&read).await?;
        let [Some(known), Some(tenant)] = &read[..] else { return Err(refused()) };
        let known = document::read::<ApiKey>(known)?;
        if !known.value.is_live(now) {
            return Err(refused());
        }
        if document::read::<Realm>(tenant)?.value.state == RealmState::Suspended {
            return Err(Error::RealmSuspended);
        }
        let until = now.after(LIFE + BEYOND);
        let mut writes = vec![
            document::delete(&ticket),
            open(connection, Who::Client { realm, key }, until),
            // Whoever stops the key from now on finds this connection.
            document::check(&known),
        ];
        if let Some(expires) = known.value.expires_at
            && expires < until
        {
            let errand = app.due(realm, Errand::Disconnect { key }, expires);
            writes.push(store::due::put(&errand));
        }
        match app.commit_own("stream.connect", writes).await {
            // Somebody else has used it, or the key has just changed.
            Err(Error::Conflict) => Err(refused()),
            done => done,
        }
    }

    /// Notes that a connection is a shim's, for platforms that forget who opened it. One commit.
    pub async fn connect_shim(&self, connection: &str, shim: ShimCaller) -> Result<(), Error> {
        let who = Who::Shim {
            realm: shim.scope().realm(),
            container: shim.container(),
            generation: shim.generation(),
        };
        let until = self.0.now().after(LIFE + BEYOND);
        self.0.commit_own("stream.connect_shim", vec![open(connection, who, until)]).await
    }

    /// Who is on the other side of a connection; none where it is not known or over. One read.
    pub async fn peer(&self, connection: &str) -> Result<Option<Peer>, Error> {
        Ok(self.connection(connection).await?.map(|known| match known.value.who {
            Who::Client { .. } => Peer::Client,
            Who::Shim { realm, container, generation } => {
                Peer::Shim(ShimCaller::known(scope(realm), container, generation))
            }
        }))
    }

    /// Forgets a connection and what it follows. Costs what it follows. Idempotent.
    pub async fn disconnect(&self, connection: &str) -> Result<(), Error> {
        // First the connection: who would still add to it gets a conflict.
        let gone = retry_conflict(self.0, || async {
            let Some(known) = self.connection(connection).await? else { return Ok(None) };
            let writes = vec![document::delete(&known)];
            self.0.commit_own("stream.disconnect", writes).await?;
            Ok(Some(known.value))
        });
        let Some(Connection { who: Who::Client { realm, .. }, topics, .. }) = gone.await? else {
            return Ok(());
        };
        let scope = scope(realm);
        let topics: Vec<_> =
            topics.into_iter().map(|(topic, id)| keys::subscription(scope, topic, id)).collect();
        for some in topics.chunks(SOME) {
            retry_conflict(self.0, || async {
                let mut writes = Vec::new();
                for item in self.0.table().batch_get(some).await?.iter().flatten() {
                    writes.push(document::delete(&document::read::<Subscription>(item)?));
                }
                if writes.is_empty() {
                    return Ok(());
                }
                self.0.commit_own("stream.unsubscribe_all", writes).await
            })
            .await?;
        }
        Ok(())
    }

    /// Ends a connection, which is as if it had been lost: the client comes back with its cursors.
    pub(super) async fn cut(&self, connection: &str) -> Result<(), Error> {
        self.0.ports.push.close(connection).await;
        self.disconnect(connection).await
    }

    /// Ends the clients' connections of a realm, those of one key where it is given. Costs what is
    /// open.
    pub(crate) async fn cut_all(&self, scope: Scope, key: Option<KeyId>) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = store::connection::of_realm(self.0.table(), scope, key, after).await?;
            for connection in page.0 {
                self.cut(&connection.value.id).await?;
            }
            match page.1 {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    pub(super) async fn connection(
        &self,
        connection: &str,
    ) -> Result<Option<Loaded<Connection>>, Error> {
        Ok(document::get(self.0.table(), &keys::connection(connection)).await?)
    }

    pub(super) fn subscription_id(self) -> SubscriptionId {
        SubscriptionId::new(self.0.ulid(self.0.now()))
    }
}

/// The right to a realm that a stored row names: a ticket, a connection, or a change of the table.
#[expect(clippy::disallowed_methods, reason = "a stored row names its realm")]
pub(super) const fn scope(realm: RealmId) -> Scope {
    Scope::grant(realm)
}

fn open(connection: &str, who: Who, until: domain::Timestamp) -> store::Write {
    let topics = std::collections::BTreeMap::new();
    let connection = Connection { id: connection.to_owned(), who, until, topics };
    document::put_until(&connection, until, Expect::Absent)
}

/// The halves of `wt_<ulid>_<secret>`.
fn spelled(ticket: &str) -> Option<(TicketId, &str)> {
    let (ulid, secret) = ticket.strip_prefix(TicketId::PREFIX)?.split_once('_')?;
    let id = TicketId::new(Ulid::from_string(ulid).ok()?);
    // Decoding is lenient; only what was written is a ticket.
    (id.ulid().to_string() == ulid && (16..=128).contains(&secret.len())).then_some((id, secret))
}
