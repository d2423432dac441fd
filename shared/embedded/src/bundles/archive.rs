//! Unpacks what somebody outside packed.
//!
//! What holds here: every path is below the root by its text; links are made last, so that nothing is
//! ever written through one; what is unpacked is counted while it is written, whatever its headers
//! say. One wrong entry refuses the whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use app::ports::MakeError;
use domain::bundle::inside;
use tar::EntryType;

use super::tree::stays_inside;
use super::{Limits, passing};

/// How it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Zip,
    TarGz,
    TarBz2,
}

impl Form {
    /// What the path of a URL says; none for a program by itself.
    pub(super) fn of(url: &str) -> Option<Self> {
        let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let ends = |names: &[&str]| names.iter().any(|name| path.ends_with(name));
        if ends(&[".zip"]) {
            Some(Self::Zip)
        } else if ends(&[".tar.gz", ".tgz"]) {
            Some(Self::TarGz)
        } else if ends(&[".tar.bz2", ".tbz2", ".tbz"]) {
            Some(Self::TarBz2)
        } else {
            None
        }
    }
}

/// Unpacks the archive at `path` into `root`, an empty directory.
pub(super) fn unpack(
    form: Form,
    path: &Path,
    root: &Path,
    limits: &Limits,
) -> Result<(), MakeError> {
    let file = BufReader::new(File::open(path).map_err(passing)?);
    let mut unpacked = Unpacked { root, limits, bytes: 0, entries: 0, links: Vec::new() };
    match form {
        Form::Zip => unpacked.zip(file)?,
        Form::TarGz => unpacked.tar(flate2::read::MultiGzDecoder::new(file))?,
        Form::TarBz2 => unpacked.tar(bzip2::read::MultiBzDecoder::new(file))?,
    }
    unpacked.link()
}

struct Unpacked<'a> {
    root: &'a Path,
    limits: &'a Limits,
    bytes: u64,
    entries: usize,
    links: Vec<(String, String)>,
}

fn bad(detail: impl Into<String>) -> MakeError {
    MakeError::failed("bad_archive", detail)
}

fn unreadable(error: impl std::fmt::Display) -> MakeError {
    bad(format!("it does not read as an archive: {error}"))
}

impl Unpacked<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is refused")]
    fn tar(&mut self, packed: impl Read) -> Result<(), MakeError> {
        // No more is read than may be unpacked, headers and padding included.
        let most =
            self.limits.bytes + 1024 * u64::try_from(self.limits.entries).unwrap_or(u64::MAX);
        let mut archive = tar::Archive::new(packed.take(most));
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let kind = entry.header().entry_type();
            if matches!(kind, EntryType::XGlobalHeader) {
                continue;
            }
            let name = String::from_utf8(entry.path_bytes().into_owned());
            let name = name.map_err(|_| bad("a path is not UTF-8"))?;
            let Some(path) = self.path(&name, kind == EntryType::Directory)? else { continue };
            let target = |entry: &tar::Entry<'_, _>| {
                let target =
                    entry.link_name_bytes().map(|name| String::from_utf8(name.into_owned()));
                target.and_then(Result::ok).ok_or_else(|| bad(format!("{name} links to nothing")))
            };
            match kind {
                EntryType::Directory => {
                    fs::create_dir_all(self.root.join(&path)).map_err(passing)?;
                }
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    let mode = entry.header().mode().unwrap_or(0o644);
                    self.file(&path, mode, &mut entry)?;
                }
                EntryType::Symlink => {
                    let target = target(&entry)?;
                    self.links.push((path, target));
                }
                EntryType::Link => {
                    let target = target(&entry)?;
                    let from = inside(&target).ok_or_else(|| bad(format!("{name} links out")))?;
                    let from = self.root.join(from);
                    let whole = fs::symlink_metadata(&from).is_ok_and(|found| found.is_file());
                    if !whole {
                        return Err(bad(format!("{name} links to what is not there")));
                    }
                    let mode = std::os::unix::fs::MetadataExt::mode(
                        &fs::metadata(&from).map_err(passing)?,
                    );
                    self.file(&path, mode, &mut File::open(from).map_err(passing)?)?;
                }
                _ => return Err(bad(format!("{name} is neither file, directory nor link"))),
            }
        }
        Ok(())
    }

    fn zip(&mut self, packed: impl Read + io::Seek) -> Result<(), MakeError> {
        const LINK: u32 = 0o120_000;
        let mut archive = zip::ZipArchive::new(packed).map_err(unreadable)?;
        if archive.len() > self.limits.entries {
            return Err(MakeError::failed("too_large", format!("{} entries", archive.len())));
        }
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(unreadable)?;
            let name = entry.name().map_err(unreadable)?.into_owned();
            let Some(path) = self.path(&name, entry.is_dir())? else { continue };
            let mode = entry.unix_mode().unwrap_or(0o644);
            if entry.is_dir() {
                fs::create_dir_all(self.root.join(&path)).map_err(passing)?;
            } else if mode & 0o170_000 == LINK {
                let mut target = String::new();
                entry.by_ref().take(4096).read_to_string(&mut target).map_err(unreadable)?;
                self.links.push((path, target));
            } else {
                self.file(&path, mode, &mut entry)?;
            }
        }
        Ok(())
    }

    /// Where an entry goes, relative to the root; none for the root itself.
    fn path(&mut self, name: &str, directory: bool) -> Result<Option<String>, MakeError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let detail = format!("it has more than {} entries", self.limits.entries);
            return Err(MakeError::failed("too_large", detail));
        }
        match inside(name) {
            Some(path) if path.len() <= 1024 => Ok(Some(path)),
            None if directory
                && matches!(name.trim_end_matches('/'), "" | ".")
                && !name.starts_with('/') =>
            {
                Ok(None)
            }
            _ => Err(bad(format!("the path {name:.200} leads out or is too long"))),
        }
    }

    fn file(&mut self, path: &str, mode: u32, from: &mut dyn Read) -> Result<(), MakeError> {
        let place = self.root.join(path);
        place
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .map_err(|_| bad(format!("{path} is below a file")))?;
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&place);
        let mut file = file.map_err(|_| bad(format!("{path} is there twice")))?;
        let room = self.limits.bytes - self.bytes;
        let written = io::copy(&mut from.take(room + 1), &mut file).map_err(unreadable)?;
        if written > room {
            let detail = format!("it unpacks to more than {} bytes", self.limits.bytes);
            return Err(MakeError::failed("too_large", detail));
        }
        self.bytes += written;
        Ok(())
    }

    fn link(self) -> Result<(), MakeError> {
        for (path, target) in self.links {
            if !stays_inside(&path, &target) {
                return Err(bad(format!("the link {path} leads out, to {target:.200}")));
            }
            let place = self.root.join(&path);
            // Made one after the other: a parent may be a link that was just made, and then it leads
            // through what was checked to somewhere that was not.
            let real = place.parent().filter(|parent| *parent != self.root);
            if let Some(parent) = real {
                fs::create_dir_all(parent).map_err(passing)?;
                let real = parent.canonicalize().map_err(passing)?;
                if real
                    != self
                        .root
                        .canonicalize()
                        .map_err(passing)?
                        .join(parent.strip_prefix(self.root).map_err(passing)?)
                {
                    return Err(bad(format!("the link {path} is below another link")));
                }
            }
            symlink(target, place).map_err(|_| bad(format!("{path} is there twice")))?;
        }
        Ok(())
    }
}
