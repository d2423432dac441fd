//! List what is in a workspace.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::AgentId;
use domain::workspace::WorkspacePath;
use wire::Page;
use wire::files::FileView;

use super::{Files, view};
use crate::ports::{Part, Walk};
use crate::{Caller, Error};

/// Which page of a workspace.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Only paths that begin so.
    pub prefix: String,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many items, 1 to [`Listing::MAX`].
    pub limit: usize,
}

impl Listing {
    /// The most items of a page.
    pub const MAX: usize = 1000;
}

impl Files<'_> {
    /// A page of what is in the workspace, name by name: a directory comes right before what is in it.
    /// Wakes nothing. One read.
    pub async fn list(
        &self,
        caller: &Caller,
        agent: AgentId,
        listing: Listing,
    ) -> Result<Page<FileView>, Error> {
        let after = listing.cursor.as_deref().map(behind).transpose()?;
        let part = Part { prefix: listing.prefix, after, limit: listing.limit };
        let Walk { found, more, .. } = self.now(caller, agent).await?.walk(part).await?;
        let last = found.last().filter(|_| more).map(|last| cursor(&last.path));
        Ok(Page { items: found.into_iter().map(view).collect(), next_cursor: last })
    }
}

fn cursor(path: &WorkspacePath) -> String {
    URL_SAFE_NO_PAD.encode(format!("1:{path}"))
}

fn behind(cursor: &str) -> Result<WorkspacePath, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Error::Cursor)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Cursor)?;
    let path = text.strip_prefix("1:").ok_or(Error::Cursor)?;
    WorkspacePath::new(path).map_err(|_| Error::Cursor)
}
