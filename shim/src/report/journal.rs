//! The journal of one session: a file of lines, one per event that is not acknowledged yet.
//!
//! What holds here: memory holds the lengths of the events of one report and nothing else, however
//! many wait. A file that has been acknowledged to its end is removed; one whose acknowledged part
//! is large is rewritten without it.
//!
//! Deliberately absent: `fsync`. The journal survives a lost connection, not a lost machine, whose
//! successor is another generation.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use domain::SessionId;
use wire::shim::{MAX_FRAME, MAX_REPORT_EVENTS};

/// What may lie acknowledged at the beginning of a file.
const STALE: u64 = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Open while something waits.
    file: Option<File>,
    /// The number of the first event that waits, and where it begins.
    first: u64,
    begin: u64,
    /// The number of the next event to be written, and where it will begin.
    next: u64,
    end: u64,
    /// The lengths of the events of the last report, line breaks included.
    reported: Vec<u32>,
}

impl Journal {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, first: 0, begin: 0, next: 0, end: 0, reported: Vec::new() }
    }

    pub(super) fn waiting_bytes(&self) -> u64 {
        self.end - self.begin
    }

    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&self.path)?,
            ),
        };
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        file.write_all_at(&bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// Whether more waits than the last report held.
    pub(super) fn has_more(&self) -> bool {
        self.first + (self.reported.len() as u64) < self.next
    }

    /// The frame that carries what waits, as much of it as fits.
    pub(super) fn report(&mut self, session: SessionId) -> Option<String> {
        let file = self.file.as_ref().filter(|_| self.first < self.next)?;
        let head =
            format!(r#"{{"report":{{"session":"{session}","first":{},"events":["#, self.first);
        let tail = "]}}";
        let room = MAX_FRAME - head.len() - tail.len();
        let length = usize::try_from(self.end - self.begin).unwrap_or(usize::MAX).min(room);
        let mut window = vec![0; length];
        file.read_exact_at(&mut window, self.begin).ok()?;
        let mut frame = head.into_bytes();
        self.reported.clear();
        // A line break becomes a comma: what waits costs no more bytes in a frame than on disk.
        for line in window.split_inclusive(|byte| *byte == b'\n').take(MAX_REPORT_EVENTS) {
            let Some(event) = line.strip_suffix(b"\n") else {
                break;
            };
            if !self.reported.is_empty() {
                frame.push(b',');
            }
            frame.extend_from_slice(event);
            self.reported.push(u32::try_from(line.len()).unwrap_or(u32::MAX));
        }
        frame.extend_from_slice(tail.as_bytes());
        String::from_utf8(frame).ok().filter(|_| !self.reported.is_empty())
    }

    /// Forgets what is before `next` and says whether that was news. An acknowledgement of what was
    /// never sent is none.
    pub(super) fn acknowledge(&mut self, next: u64) -> bool {
        let Some(count) =
            next.checked_sub(self.first).and_then(|count| usize::try_from(count).ok())
        else {
            return false;
        };
        if count == 0 || count > self.reported.len() {
            return false;
        }
        let bytes: u64 = self.reported.drain(..count).map(u64::from).sum();
        self.first = next;
        self.begin += bytes;
        if self.begin == self.end {
            self.file = None;
            (self.begin, self.end) = (0, 0);
            drop(std::fs::remove_file(&self.path));
        } else if self.begin > STALE {
            // What cannot be made smaller stays as it is: it is only disk.
            drop(self.shrink());
        }
        true
    }

    fn shrink(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut from = self.begin;
        let mut piece = vec![0; 64 * 1024];
        while from < self.end {
            let length = piece.len().min(usize::try_from(self.end - from).unwrap_or(usize::MAX));
            file.read_exact_at(&mut piece[..length], from)?;
            // The stale part is longer than what waits, so nothing that waits is overwritten
            // before it has been moved.
            file.write_all_at(&piece[..length], from - self.begin)?;
            from += length as u64;
        }
        self.end -= self.begin;
        self.begin = 0;
        file.set_len(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::id::Ulid;

    fn session() -> SessionId {
        SessionId::new(Ulid::from_parts(1, 1))
    }

    fn events(frame: &str) -> (u64, Vec<String>) {
        let value: serde_json::Value = serde_json::from_str(frame).unwrap();
        let report = &value["report"];
        let events = report["events"].as_array().unwrap().iter().map(ToString::to_string).collect();
        (report["first"].as_u64().unwrap(), events)
    }

    #[test]
    fn what_is_not_acknowledged_is_reported_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j");
        let mut journal = Journal::new(path.clone());
        for n in 0..5 {
            journal.append(n.to_string().as_bytes()).unwrap();
        }
        let first = journal.report(session()).unwrap();
        assert_eq!(events(&first).1, ["0", "1", "2", "3", "4"]);
        assert_eq!(journal.report(session()).unwrap(), first);
        assert!(journal.acknowledge(3));
        assert!(!journal.acknowledge(2));
        assert!(!journal.acknowledge(99));
        assert_eq!(events(&journal.report(session()).unwrap()), (3, vec!["3".into(), "4".into()]));
        journal.acknowledge(5);
        assert!(journal.report(session()).is_none());
        assert!(!path.exists(), "an empty journal leaves no file");
        journal.append(b"5").unwrap();
        assert_eq!(events(&journal.report(session()).unwrap()), (5, vec!["5".into()]));
    }

    #[test]
    fn a_long_journal_stays_in_order_and_its_file_small() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j");
        let mut journal = Journal::new(path.clone());
        let (mut written, mut read) = (0_u64, 0_u64);
        for _ in 0..400 {
            for _ in 0..300 {
                let line = format!("[{written},\"{}\"]", "x".repeat(100));
                journal.append(line.as_bytes()).unwrap();
                written += 1;
            }
            let frame = journal.report(session()).unwrap();
            assert!(frame.len() <= MAX_FRAME);
            let (first, events) = events(&frame);
            assert_eq!(first, read);
            for event in &events {
                assert!(event.starts_with(&format!("[{read},")));
                read += 1;
            }
            journal.acknowledge(read);
        }
        while journal.waiting_bytes() > 0 {
            let (first, events) = events(&journal.report(session()).unwrap());
            assert_eq!(first, read);
            read += events.len() as u64;
            journal.acknowledge(read);
        }
        assert_eq!(read, written);
    }
}
