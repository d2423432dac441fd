//! Read a file.

use std::ops::Range;

use domain::AgentId;
use domain::Timestamp;
use domain::workspace::WorkspacePath;

use super::Files;
use crate::ports::{Kind, Opened, Pieces};
use crate::{Caller, Error};

/// A file that is open.
#[derive(Debug)]
pub struct Readable {
    /// How many bytes it has.
    pub size: u64,
    /// When it was changed last.
    pub modified: Timestamp,
    /// Another number, once it has been changed.
    pub stamp: u64,
    /// Whether the number is certain to change with the file: right after a change it is not.
    pub settled: bool,
    opened: Opened,
}

impl Readable {
    /// The bytes of a range.
    pub fn content(self, range: Range<u64>) -> Pieces {
        (self.opened.content)(range)
    }
}

impl Files<'_> {
    /// Opens a file. Links are not followed, neither at the end of a path nor on its way. Wakes
    /// nothing. One read.
    pub async fn read(
        &self,
        caller: &Caller,
        agent: AgentId,
        path: &WorkspacePath,
    ) -> Result<Readable, Error> {
        let opened = self.now(caller, agent).await?.open(path).await?;
        let opened = opened.ok_or(Error::NotFound("file"))?;
        let Kind::File { size, modified, .. } = opened.found.kind else {
            return Err(Error::NotAFile(path.to_string()));
        };
        let (stamp, settled) = (opened.found.stamp, opened.found.settled);
        Ok(Readable { size, modified, stamp, settled, opened })
    }
}
