//! Tar archives: planned before anything is written, and written piece by piece.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use domain::Timestamp;
use domain::workspace::{MAX_ENTRIES, MAX_FILE, WorkspacePath};
use tar::{Archive, EntryType, Header};

use super::Incoming;
use crate::Error;
use crate::ports::Kind;

/// The most bytes that what comes before an entry may have: a long name, attributes.
const MAX_EXTENSION: u64 = 64 * 1024;

/// What every part of an archive is padded to.
const BLOCK: u64 = 512;

/// What an archive would put somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Planned {
    /// A file, whose bytes are here in the archive.
    File {
        offset: u64,
        size: u64,
        executable: bool,
    },
    Directory,
    Link(String),
}

/// What an archive would put where, in order of paths, a later entry in place of an earlier one. Reads
/// its headers. Refuses an archive as a whole, before anything of it is anywhere: paths that are none,
/// entries that are neither file, directory nor link, links that lead out, entries below what is no
/// directory, sizes that are not there, and more than a workspace may have.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is refused")]
pub(super) fn plan(archive: &Incoming) -> Result<BTreeMap<WorkspacePath, Planned>, Error> {
    check_frame(archive)?;
    let mut reader = Archive::new(archive.reader());
    let mut plan = BTreeMap::new();
    for entry in reader.entries_with_seek().map_err(|error| broken(&error))? {
        let entry = entry.map_err(|error| broken(&error))?;
        let text = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| refused("a path", "is not UTF-8"))?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let trimmed = text.trim_start_matches("./").trim_end_matches('/');
        if kind.is_dir() && matches!(trimmed, "" | ".") {
            // The root itself.
            continue;
        }
        let path = WorkspacePath::new(trimmed).map_err(|why| refused(&text, &why.to_string()))?;
        let planned = match kind {
            EntryType::Regular | EntryType::Continuous => {
                let (offset, size) = (entry.raw_file_position(), entry.size());
                let end = offset.checked_add(size).filter(|end| *end <= archive.size());
                if end.is_none() || size > MAX_FILE {
                    return Err(refused(&text, "has more bytes than there are, or than may be"));
                }
                let mode = entry.header().mode().map_err(|error| broken(&error))?;
                Planned::File { offset, size, executable: mode & 0o100 != 0 }
            }
            EntryType::Directory => Planned::Directory,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = String::from_utf8(target).ok();
                match target.filter(|target| stays_inside(&path, target)) {
                    Some(target) => Planned::Link(target),
                    None => return Err(refused(&text, "is a link that leads out")),
                }
            }
            _ => return Err(refused(&text, "is neither a file, a directory nor a symbolic link")),
        };
        plan.insert(path, planned);
        if plan.len() > MAX_ENTRIES {
            return Err(Error::InvalidArchive(format!("it has more than {MAX_ENTRIES} entries")));
        }
    }
    for path in plan.keys() {
        let mut above = path.parent();
        while let Some(parent) = above {
            if plan.get(&parent).is_some_and(|planned| *planned != Planned::Directory) {
                return Err(refused(path.as_str(), "lies in what is no directory"));
            }
            above = parent.parent();
        }
    }
    Ok(plan)
}

/// Refuses what would have to be read as a whole before its entry: it may be as long as the archive. And
/// what has no end behind its last entry: others may have been cut off.
fn check_frame(archive: &Incoming) -> Result<(), Error> {
    if archive.size() == 0 {
        // Nothing was sent, and nothing is to be put anywhere.
        return Ok(());
    }
    let mut reader = Archive::new(archive.reader());
    let mut end = 0;
    for entry in reader.entries_with_seek().map_err(|error| broken(&error))?.raw(true) {
        let entry = entry.map_err(|error| broken(&error))?;
        let kind = entry.header().entry_type();
        let extends = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if extends && entry.size() > MAX_EXTENSION {
            return Err(Error::InvalidArchive("a name or an attribute is too long".to_owned()));
        }
        let blocks = entry.size().div_ceil(BLOCK);
        end = entry.raw_file_position().saturating_add(blocks.saturating_mul(BLOCK));
    }
    let mut last = [1; END.len() / 2];
    let mut reader = archive.reader();
    let read = reader.seek(SeekFrom::Start(end)).and_then(|_| reader.read_exact(&mut last));
    if read.is_err() || last.iter().any(|byte| *byte != 0) {
        let detail = "it has no end behind its last entry: it was cut off";
        return Err(Error::InvalidArchive(detail.to_owned()));
    }
    Ok(())
}

fn broken(error: &io::Error) -> Error {
    Error::InvalidArchive(format!("it is not an uncompressed tar archive: {error}"))
}

fn refused(path: &str, why: &str) -> Error {
    let path: String = path.chars().filter(|c| !c.is_control()).take(200).collect();
    Error::InvalidArchive(format!("{path} {why}"))
}

/// Whether a link at `path` that says `target` leads to a place in the workspace, as far as one sees
/// without following others.
pub(super) fn stays_inside(path: &WorkspacePath, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return false;
    }
    let mut depth = path.names().count() - 1;
    target.split('/').all(|name| match name {
        "" | "." => true,
        ".." => match depth.checked_sub(1) {
            Some(less) => {
                depth = less;
                true
            }
            None => false,
        },
        _ => {
            depth += 1;
            true
        }
    })
}

/// What stands before something in an archive.
pub(super) fn header(path: &WorkspacePath, kind: &Kind) -> Vec<u8> {
    let (entry, size, mode, modified, target) = match kind {
        Kind::File { size, executable, modified } => {
            (EntryType::Regular, *size, if *executable { 0o755 } else { 0o644 }, *modified, "")
        }
        Kind::Directory => (EntryType::Directory, 0, 0o755, Timestamp::default(), ""),
        Kind::Link(target) => (EntryType::Symlink, 0, 0o777, Timestamp::default(), target.as_str()),
    };
    let mut out = Vec::with_capacity(512);
    let mut header = Header::new_gnu();
    header.set_entry_type(entry);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(modified.as_millis() / 1000);
    let old = header.as_old_mut();
    fill(&mut out, &mut old.name, EntryType::GNULongName, path.as_str());
    fill(&mut out, &mut old.linkname, EntryType::GNULongLink, target);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out
}

/// Writes a text into its field, or before the header where the field is too short.
fn fill(out: &mut Vec<u8>, field: &mut [u8], kind: EntryType, text: &str) {
    let fits = text.len().min(field.len());
    field[..fits].copy_from_slice(&text.as_bytes()[..fits]);
    if fits < text.len() {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..13].copy_from_slice(b"././@LongLink");
        header.set_entry_type(kind);
        header.set_size(text.len() as u64 + 1);
        header.set_mode(0o644);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(text.as_bytes());
        out.resize(out.len() + 1 + padding(text.len() as u64 + 1), 0);
    }
}

/// How many zeros follow so many bytes.
pub(super) fn padding(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or_default()
}

/// What an archive ends with.
pub(super) const END: [u8; 1024] = [0; 1024];

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WorkspacePath {
        WorkspacePath::new(text).unwrap()
    }

    fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Incoming {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        Incoming::Memory(builder.into_inner().unwrap().into())
    }

    /// An entry whose name nobody checks.
    fn entry(name: &[u8], kind: EntryType, link: &[u8], content: &[u8]) -> Incoming {
        archive(|builder| {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            let old = header.as_old_mut();
            old.name[..name.len()].copy_from_slice(name);
            old.linkname[..link.len()].copy_from_slice(link);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        })
    }

    #[test]
    fn what_was_cut_off_is_refused_wherever_that_was() {
        let Incoming::Memory(whole) = archive(|builder| {
            for (name, content) in [("a", "one"), ("b", "two")] {
                let mut header = Header::new_ustar();
                header.set_size(3);
                header.set_mode(0o644);
                builder.append_data(&mut header, name, content.as_bytes()).unwrap();
            }
        }) else {
            panic!("in memory")
        };
        let plan_of = |length| plan(&Incoming::Memory(whole.slice(..length)));
        assert_eq!(plan_of(whole.len()).unwrap().len(), 2);
        let entries = whole.len() - END.len();
        for length in (50..entries + END.len() / 2).step_by(50).chain([512, 700, 1024, entries]) {
            assert!(matches!(plan_of(length), Err(Error::InvalidArchive(_))), "{length}");
        }
    }

    #[test]
    fn what_leads_out_or_is_odd_is_refused_as_a_whole() {
        for name in
            [b"../a".as_slice(), b"/etc/passwd", b"a/../../b", b"a//b", b"a\xff", b"..", b"a/./b"]
        {
            let odd = entry(name, EntryType::Regular, b"", b"x");
            assert!(matches!(plan(&odd), Err(Error::InvalidArchive(_))), "{name:?}");
        }
        for kind in [
            EntryType::Link,
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
            EntryType::GNUSparse,
            EntryType::new(b'?'),
        ] {
            let odd = entry(b"a", kind, b"b", b"");
            assert!(matches!(plan(&odd), Err(Error::InvalidArchive(_))), "{kind:?}");
        }
        for target in [b"/etc/passwd".as_slice(), b"../x", b"b/../../x", b""] {
            let odd = entry(b"a", EntryType::Symlink, target, b"");
            assert!(matches!(plan(&odd), Err(Error::InvalidArchive(_))), "{target:?}");
        }
        let Incoming::Memory(good) = entry(b"a", EntryType::Regular, b"", &[1; 5000]) else {
            panic!("in memory")
        };
        let cut = Incoming::Memory(good.slice(..1000));
        assert!(matches!(plan(&cut), Err(Error::InvalidArchive(_))));
        let words = Incoming::Memory(b"hello".as_slice().into());
        assert!(matches!(plan(&words), Err(Error::InvalidArchive(_))));
        let long = entry(b"././@LongLink", EntryType::GNULongName, b"", &vec![b'a'; 70_000]);
        assert!(matches!(plan(&long), Err(Error::InvalidArchive(_))));
    }

    #[test]
    fn nothing_lies_below_a_link() {
        let sly = archive(|builder| {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, "a", "b").unwrap();
            let mut header = Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o644);
            builder.append_data(&mut header, "a/c", b"x".as_slice()).unwrap();
        });
        assert!(matches!(plan(&sly), Err(Error::InvalidArchive(_))));
    }

    #[test]
    fn what_is_written_is_planned_as_it_was() {
        let long = "d/".repeat(120) + "f";
        let file = Kind::File { size: 3, executable: true, modified: Timestamp::default() };
        let mut bytes = Vec::new();
        for (at, kind, content) in [
            ("d", Kind::Directory, b"".as_slice()),
            ("l", Kind::Link("d/".repeat(80) + "x"), b""),
            (&long, file, b"abc"),
        ] {
            bytes.extend(header(&path(at), &kind));
            bytes.extend(content);
            bytes.resize(bytes.len() + padding(content.len() as u64), 0);
        }
        bytes.extend(END);
        let incoming = Incoming::Memory(bytes.clone().into());
        let plan = plan(&incoming).unwrap();
        let Planned::File { offset, size: 3, executable: true } = plan[&path(&long)] else {
            panic!("{plan:?}")
        };
        let offset = usize::try_from(offset).unwrap();
        assert_eq!(&bytes[offset..offset + 3], b"abc");
        assert_eq!(plan[&path("l")], Planned::Link("d/".repeat(80) + "x"));
        assert_eq!(plan[&path("d")], Planned::Directory);
    }
}
