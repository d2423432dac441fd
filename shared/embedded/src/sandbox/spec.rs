//! What is written down about one sandbox before it is started, and where its things lie.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use app::ports::Observed;
use domain::{AgentId, ContainerId, RealmId};
use serde::{Deserialize, Serialize};

use super::cgroup::Groups;

/// The uid and gid every process in a sandbox sees itself with.
pub(super) const INSIDE: u32 = 1000;

/// What runs in a sandbox, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The realm.
    pub realm: RealmId,
    /// The agent whose workspace and home are mounted.
    pub agent: AgentId,
    /// The container.
    pub container: ContainerId,
    /// Which start of it.
    pub generation: u32,
}

impl Place {
    /// The part of it that the port speaks of.
    pub fn observed(&self) -> Observed {
        Observed { realm: self.realm, container: self.container, generation: self.generation }
    }
}

/// The document a supervisor is started with: `sandbox.json`. It holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// Who it is for; none for a trial that only shows whether sandboxes work here.
    pub(super) place: Option<Place>,
    /// The data directory. Every relative path below is relative to it.
    pub(super) data: PathBuf,
    /// The sandbox's own directory.
    pub(super) dir: PathBuf,
    /// The program that becomes the first process.
    pub(super) shim: PathBuf,
    /// Names and host paths of the repositories to mount.
    pub(super) repositories: Vec<(String, PathBuf)>,
    /// Where bundles are seen, without the leading slash, and their host paths.
    #[serde(default)]
    pub(super) bundles: Vec<(String, PathBuf)>,
    /// The control groups it is in. Named before they are made.
    #[serde(default)]
    pub(super) groups: Groups,
}

/// The name of the socket that is the way out, in a sandbox's `run` directory.
pub(crate) const SOCKET: &str = "egress.sock";

/// Where things lie in the data directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) data: PathBuf,
}

impl Layout {
    pub(super) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    pub(crate) fn container(&self, id: ContainerId) -> PathBuf {
        self.containers().join(id.to_string())
    }

    /// Where the files of bundles are: see [`bundles`](crate::bundles).
    pub(crate) fn bundles(&self) -> PathBuf {
        crate::bundles::BundleStore::trees(&self.data.join("bundles"))
    }

    pub(crate) fn agent(&self, id: AgentId) -> PathBuf {
        self.data.join("agents").join(id.to_string())
    }
}

/// The document of the sandbox in `dir`.
pub(super) fn document(dir: &Path) -> PathBuf {
    dir.join("sandbox.json")
}

/// Reads the document at `path`.
pub(super) fn read(path: &Path) -> io::Result<Spec> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// The step of a start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Step {
    /// What the supervisor does for itself.
    Supervise,
    /// Making the namespaces or mapping the ids.
    Namespaces,
    /// Putting the root together.
    Mounts,
    /// Mounting what the operator configured as a repository.
    Repository,
    /// Giving up privileges, or starting the program.
    Program,
}

/// Why a sandbox was not started. Crosses from the supervisor as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: Option<i32>,
    pub(super) text: String,
}

impl Failure {
    /// Makes the failure of doing `what` in `step`, for `map_err`.
    pub(super) fn of<E: Into<io::Error>>(
        step: Step,
        what: impl fmt::Display,
    ) -> impl FnOnce(E) -> Self {
        move |error| {
            let error = error.into();
            Self { step, errno: error.raw_os_error(), text: format!("{what}: {error}") }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// What a supervisor says on its standard output, one line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Said {
    /// The lock is held and the namespaces are made: map my ids.
    Map,
    /// The program runs.
    Started,
    /// It will not.
    Failed(Failure),
}
