//! Take some of a workspace along, as a tar archive.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use domain::AgentId;
use domain::workspace::{MAX_TRANSFER, WorkspacePath};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use wire::files::ExportManifest;

use super::archive::{everything, gone, produce, weight};
use super::source::Source;
use super::{Files, tar, view};
use crate::ports::{Found, Kind, Pieces};
use crate::{Caller, Error};

/// The most patterns of one export.
const MAX_PATTERNS: usize = 100;

/// The most files that a manifest names.
const NAMED: usize = 1000;

/// What is to be exported.
#[derive(Clone, Debug, Default)]
pub struct Export {
    /// Globs: `*` and `?` stay within a name, `**` does not. What matches a directory matches all that is
    /// in it.
    pub paths: Vec<String>,
    /// Whether only to say what it would be.
    pub dry_run: bool,
}

/// What an export is.
pub enum Exported {
    /// What it would be.
    Manifest(ExportManifest),
    /// An uncompressed tar archive, made while it is read.
    Tar(Pieces),
}

impl std::fmt::Debug for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manifest(manifest) => manifest.fmt(f),
            Self::Tar(_) => f.write_str("Tar"),
        }
    }
}

impl Files<'_> {
    /// What matches any of the globs, each of which must match something. Links that lead out of the
    /// workspace are left out. Wakes nothing. One read.
    pub async fn export(
        &self,
        caller: &Caller,
        agent: AgentId,
        export: &Export,
    ) -> Result<Exported, Error> {
        let globs = globs(&export.paths)?;
        let source = self.now(caller, agent).await?;
        let found = matching(everything(&source).await?, &globs, &export.paths)?;
        let bytes = weight(&found);
        if bytes > MAX_TRANSFER {
            return Err(Error::TransferTooLarge);
        }
        if !export.dry_run {
            return Ok(Exported::Tar(produce(move |out| write(source, found, out))));
        }
        let files: Vec<_> = found.into_iter().filter(|f| f.kind != Kind::Directory).collect();
        Ok(Exported::Manifest(ExportManifest {
            total_files: files.len() as u64,
            total_bytes: bytes,
            files: files.into_iter().take(NAMED).map(view).collect(),
        }))
    }
}

fn globs(paths: &[String]) -> Result<GlobSet, Error> {
    let refused = |detail: String| Error::Invalid { field: "paths", detail };
    if paths.is_empty() || paths.len() > MAX_PATTERNS {
        return Err(refused(format!("must name 1 to {MAX_PATTERNS} paths")));
    }
    let mut set = GlobSetBuilder::new();
    for path in paths {
        let glob = GlobBuilder::new(path.trim_end_matches('/')).literal_separator(true).build();
        set.add(glob.map_err(|error| refused(error.to_string()))?);
    }
    set.build().map_err(|error| refused(error.to_string()))
}

fn matching(found: Vec<Found>, globs: &GlobSet, paths: &[String]) -> Result<Vec<Found>, Error> {
    let mut unmatched: BTreeSet<usize> = (0..paths.len()).collect();
    let mut whole = BTreeSet::<WorkspacePath>::new();
    let mut kept = Vec::new();
    for found in found {
        let by = globs.matches(found.path.as_str());
        let inside = found.path.parent().is_some_and(|parent| whole.contains(&parent));
        for index in &by {
            unmatched.remove(index);
        }
        if !inside && by.is_empty() {
            continue;
        }
        match &found.kind {
            Kind::Directory => {
                whole.insert(found.path.clone());
            }
            Kind::Link(target) if !tar::stays_inside(&found.path, target) => continue,
            Kind::File { .. } | Kind::Link(_) => {}
        }
        kept.push(found);
    }
    let unmatched: Vec<_> = unmatched.into_iter().map(|index| paths[index].clone()).collect();
    if unmatched.is_empty() { Ok(kept) } else { Err(Error::Unmatched(unmatched)) }
}

async fn write(source: Source, found: Vec<Found>, mut out: mpsc::Sender<Bytes>) -> io::Result<()> {
    for Found { path, kind, .. } in found {
        if matches!(kind, Kind::Directory | Kind::Link(_)) {
            out.send(tar::header(&path, &kind).into()).await.map_err(gone)?;
            continue;
        }
        // It may be gone by now, or something else.
        let Ok(Some(opened)) = source.open(&path).await else { continue };
        let Kind::File { size, .. } = opened.found.kind else { continue };
        out.send(tar::header(&path, &opened.found.kind).into()).await.map_err(gone)?;
        let mut content = (opened.content)(0..size);
        let mut left = size;
        while let Some(piece) = content.next().await {
            let piece = piece?;
            left = left.saturating_sub(piece.len() as u64);
            out.send(piece).await.map_err(gone)?;
        }
        // What was cut off meanwhile has been promised.
        while left > 0 {
            let some = left.min(64 * 1024);
            left -= some;
            out.send(vec![0; usize::try_from(some).unwrap_or_default()].into())
                .await
                .map_err(gone)?;
        }
        out.send(vec![0; tar::padding(size)].into()).await.map_err(gone)?;
    }
    out.send(Bytes::from_static(&tar::END)).await.map_err(gone)
}
