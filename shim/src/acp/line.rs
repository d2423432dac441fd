//! Lines of bounded length from an asynchronous reader.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The longest line an agent may write.
pub(crate) const MAX_LINE: usize = 8 * 1024 * 1024;

/// What is kept of the memory of a long line.
const KEEP: usize = 64 * 1024;

/// Why there is no further line.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The writer closed the stream or it broke.
    Closed,
    /// A line was longer than allowed.
    TooLong,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Reads lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new() }
    }

    /// The next line without its end. What stands before the end of the stream is a line too.
    pub(crate) async fn next(&mut self) -> Result<&[u8], Stop> {
        self.line.clear();
        self.line.shrink_to(KEEP);
        loop {
            let piece = self.reader.fill_buf().await?;
            if piece.is_empty() {
                return if self.line.is_empty() { Err(Stop::Closed) } else { Ok(&self.line) };
            }
            let (taken, whole) = match piece.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end, true),
                None => (piece.len(), false),
            };
            if self.line.len() + taken > MAX_LINE {
                return Err(Stop::TooLong);
            }
            self.line.extend_from_slice(&piece[..taken]);
            self.reader.consume(taken + usize::from(whole));
            if whole {
                return Ok(&self.line);
            }
        }
    }
}
