//! What lies in packs, and whose it is.

use serde::{Deserialize, Serialize};

use crate::AgentId;

/// What lies in a pack: a blob in which bytes of many files lie one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pack {
    /// Files that an agent works on.
    Workspace,
    /// Files of its home: its sessions, its settings.
    Home,
    /// A manifest on its way here. No manifest names it.
    Sheet,
}

impl Pack {
    /// What every such pack begins with: no two agents share one, and none is two things.
    pub fn header(self, agent: AgentId) -> Vec<u8> {
        let kind: &[u8] = match self {
            Self::Workspace => b"reeve pack 1\n",
            Self::Home => b"reeve home 1\n",
            Self::Sheet => b"reeve sheet 1\n",
        };
        [kind, &agent.ulid().to_bytes()].concat()
    }

    /// Whether a blob that begins with these bytes is one of `agent`: a pack of files, or a
    /// manifest.
    pub fn is_of(agent: AgentId, beginning: &[u8]) -> bool {
        let packs = [Self::Workspace, Self::Home].map(|tree| tree.header(agent));
        packs.iter().any(|header| beginning.starts_with(header))
            || beginning.starts_with(format!("{{\"agent\":\"{agent}\",").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ulid;
    use crate::workspace::Manifest;

    #[test]
    fn a_blob_says_whose_it_is() {
        let [one, other] = [1, 2].map(|n| AgentId::new(Ulid::from_parts(1, n)));
        let manifest = serde_json::to_vec(&Manifest::empty(one)).unwrap();
        for blob in [Pack::Workspace.header(one), Pack::Home.header(one), manifest] {
            assert!(Pack::is_of(one, &blob) && !Pack::is_of(other, &blob));
            assert!(!Pack::is_of(one, &blob[1..]) && !Pack::is_of(one, &blob[..12]));
        }
    }
}
