//! The sessions that nobody listened to a moment ago.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::{RealmId, SessionId, Timestamp};

/// Until when a session counts as one that nobody listens to. Holds no more than those of which
/// something was said in that time.
#[derive(Debug, Default)]
pub(crate) struct Unheard(Mutex<BTreeMap<(RealmId, SessionId), Timestamp>>);

impl Unheard {
    /// Whether nobody has to be looked for.
    pub(crate) fn covers(&self, session: (RealmId, SessionId), now: Timestamp) -> bool {
        let unheard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unheard.get(&session).is_some_and(|until| *until > now)
    }

    /// Nobody was found, and nobody is looked for as long as this.
    pub(crate) fn note(&self, session: (RealmId, SessionId), now: Timestamp, time: Duration) {
        let mut unheard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unheard.retain(|_, until| *until > now);
        if !time.is_zero() {
            unheard.insert(session, now.after(time));
        }
    }
}
