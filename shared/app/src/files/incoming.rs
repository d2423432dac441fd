//! Bytes that a caller has sent: all of them are here before anything is done with them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;

use crate::ports::Pieces;

/// How many bytes are read at once.
const PIECE: u64 = 256 * 1024;

/// Bytes that a caller has sent, in memory or in a file that nobody else has. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// In memory.
    Memory(Bytes),
    /// In a file of this many bytes.
    Spooled(Arc<File>, u64),
}

impl Incoming {
    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spooled(_, size) => *size,
        }
    }

    /// Some of them.
    pub(super) fn pieces(&self, range: Range<u64>) -> Pieces {
        let end = range.end.min(self.size());
        let starts = (range.start..end).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX));
        let this = self.clone();
        // Written a moment ago: what is read lies in memory either way.
        stream::iter(starts.map(move |start| this.part(start, end.min(start + PIECE)))).boxed()
    }

    fn part(&self, start: u64, end: u64) -> io::Result<Bytes> {
        let at = |place: u64| usize::try_from(place).map_err(io::Error::other);
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(at(start)?..at(end)?)),
            Self::Spooled(file, _) => {
                let mut part = vec![0; at(end - start)?];
                file.read_exact_at(&mut part, start)?;
                Ok(part.into())
            }
        }
    }

    /// All of them, for who reads here and there.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { of: self, at: 0 }
    }
}

/// Reads what was sent, from any place.
pub(super) struct Reader<'a> {
    of: &'a Incoming,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let end = self.of.size().min(self.at.saturating_add(wanted));
        if end <= self.at {
            return Ok(0);
        }
        let part = self.of.part(self.at, end)?;
        buffer[..part.len()].copy_from_slice(&part);
        self.at = end;
        Ok(part.len())
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.of.size().checked_add_signed(by),
        };
        self.at = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
