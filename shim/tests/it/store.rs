//! What a control plane keeps of one agent's directories: it believes all it is told.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::workspace::{Extent, Manifest};
use domain::{Digest, SnapshotId, id::Ulid};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wire::shim::keep::{Answer, Kept, Refusal, Wanted};

#[derive(Default)]
pub(crate) struct Store {
    blobs: BTreeMap<Digest, Vec<u8>>,
    kept: Kept,
    snapshots: u128,
    /// Whether nothing is to be had.
    pub(crate) refusing: bool,
}

impl Store {
    pub(crate) fn answer(&mut self, wanted: &Wanted) -> Answer {
        if self.refusing {
            return Answer::Refused(Refusal::Stale);
        }
        match wanted {
            Wanted::Latest => Answer::Kept(self.kept.clone()),
            Wanted::Read(extent) => Answer::Bytes(BASE64_STANDARD.encode(self.bytes_of(extent))),
            Wanted::Put(pack) => Answer::Put(self.put(BASE64_STANDARD.decode(pack).unwrap())),
            Wanted::Keep(sent) => {
                assert_eq!(sent.after, self.kept.snapshot, "what it began with");
                for (sheet, place) in [(&sent.workspace, 0), (&sent.home, 1)] {
                    let Some(sheet) = sheet else { continue };
                    let json: Vec<u8> =
                        sheet.iter().flat_map(|extent| self.bytes_of(extent).to_vec()).collect();
                    let length = json.len() as u64;
                    let blob = Some(Extent { blob: self.put(json), offset: 0, length });
                    *[&mut self.kept.workspace, &mut self.kept.home][place] = blob;
                }
                self.snapshots += 1;
                self.kept.snapshot = Some(SnapshotId::new(Ulid::from_parts(1, self.snapshots)));
                Answer::Kept(self.kept.clone())
            }
            Wanted::Look(_) => panic!("nothing stays"),
        }
    }

    fn put(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::new(Sha256::digest(&bytes).into());
        self.blobs.insert(digest, bytes);
        digest
    }

    fn bytes_of(&self, Extent { blob, offset, length }: &Extent) -> &[u8] {
        let (from, length) = (usize::try_from(*offset).unwrap(), usize::try_from(*length).unwrap());
        &self.blobs[blob][from..from + length]
    }

    /// How much was ever kept.
    pub(crate) fn bytes(&self) -> usize {
        self.blobs.values().map(Vec::len).sum()
    }

    /// The longest pack.
    pub(crate) fn longest(&self) -> usize {
        let packs = self.blobs.values().filter(|blob| blob.starts_with(b"reeve "));
        packs.map(Vec::len).max().unwrap_or_default()
    }

    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        self.blobs.values().any(|blob| blob.windows(bytes.len()).any(|window| window == bytes))
    }

    /// The manifest of the workspace.
    pub(crate) fn manifest(&self) -> Value {
        serde_json::from_slice(self.bytes_of(&self.kept.workspace.unwrap())).unwrap()
    }

    /// How long the manifests are, of the workspace and of the home.
    pub(crate) fn manifest_bytes(&self) -> usize {
        let both = [self.kept.workspace, self.kept.home];
        both.iter().flatten().map(|extent| self.bytes_of(extent).len()).sum()
    }

    /// What is in the workspace, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        let manifest: Manifest = serde_json::from_value(self.manifest()).unwrap();
        manifest.entries.keys().map(ToString::to_string).collect()
    }
}
