//! The audit log: read only; commands write it.

use store::audit::Entry;
use store::{document, keys};
use wire::Page;
use wire::audit::AuditView;

use crate::agents::{Paging, page};
use crate::{App, Caller, Error};

impl App {
    /// A page of the realm's audit log. One read.
    pub async fn audit(&self, caller: &Caller, paging: Paging) -> Result<Page<AuditView>, Error> {
        let query = paging.query(keys::audits(caller.scope))?;
        let listed = document::list::<Entry>(self.table(), query).await?;
        let view = |entry: Entry| AuditView {
            id: entry.id,
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
            time: entry.time,
        };
        Ok(page(listed.items.into_iter().map(view), listed.next.as_ref()))
    }
}
