//! Streams of events that are followed somewhere else.
//!
//! What holds here: whoever may follow a stream is sent to another address with a ticket. It works
//! once, within a minute, and for nothing but reading sessions. It is signed with what is kept of the
//! key that asked for it, so it costs no write to make, goes with its key, and says nothing that is
//! secret but its signature.

use domain::id::Ulid;
use domain::key::{ApiKey, Scope as KeyScope};
use domain::{KeyId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use store::{document, idempotency, keys};
use subtle::ConstantTimeEq;

use crate::{App, Caller, Error};

/// How long a ticket works.
const LIFE: std::time::Duration = std::time::Duration::from_mins(1);

/// What a ticket begins with.
const PREFIX: &str = "et_";

impl App {
    /// The address at which `caller` is to follow `path` behind `after`; none where that is here.
    pub fn elsewhere(&self, caller: &Caller, path: &str, after: u64) -> Option<String> {
        let there = self.settings.events_url.as_deref()?.trim_end_matches('/');
        let now = self.now();
        let (once, key) = (self.ulid(now), caller.key().ulid());
        let claim = format!("{PREFIX}{once}_{key}_{}", now.after(LIFE).as_millis());
        let ticket = format!("{claim}_{}", sign(&caller.kept_secret()?, &claim));
        Some(format!("{there}{path}?after={after}&ticket={ticket}"))
    }

    /// Whether `bearer` is meant as a ticket.
    pub fn is_ticket(bearer: &str) -> bool {
        bearer.starts_with(PREFIX)
    }

    /// Finds out who presents `ticket`, which is used up. Two reads, one commit.
    ///
    /// Fails alike for one that is malformed, not ours, used up and expired.
    pub async fn redeem(&self, ticket: &str) -> Result<Caller, Error> {
        let refused = || Error::Unauthenticated("the ticket is malformed, used up or expired");
        let (claim, signature) = ticket.rsplit_once('_').ok_or_else(refused)?;
        let mut parts = claim.strip_prefix(PREFIX).ok_or_else(refused)?.splitn(3, '_');
        let mut ulid = || parts.next().and_then(|part| Ulid::from_string(part).ok());
        let (once, key) = (ulid().ok_or_else(refused)?, ulid().ok_or_else(refused)?);
        let expires = parts.next().and_then(|part| part.parse().ok()).ok_or_else(refused)?;
        let expires = Timestamp::from_millis(expires);
        let key = keys::api_key(KeyId::new(key));
        let key = document::get::<ApiKey>(self.table(), &key).await?.ok_or_else(refused)?.value;
        let genuine = sign(&key.secret_sha256, claim).as_bytes().ct_eq(signature.as_bytes());
        if !bool::from(genuine) || expires <= self.now() {
            return Err(refused());
        }
        let used = idempotency::used_up(key.id, once, expires.after(LIFE));
        let mut caller = self.caller_with(key, None).await?;
        caller.scopes.retain(|scope| *scope == KeyScope::SessionsRead);
        match self.commit_own("ticket.redeem", vec![used]).await {
            Ok(()) => Ok(caller),
            Err(Error::Conflict) => Err(refused()),
            Err(error) => Err(error),
        }
    }
}

fn sign(secret_sha256: &str, claim: &str) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret_sha256.as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(b"reeve/events-ticket/1\0");
    mac.update(claim.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
