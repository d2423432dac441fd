//! The ports to what is outside the installation: documents of servers, and bundles made of downloads.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use domain::Digest;
use domain::bundle::{BundleFault, Content, Pinned};

/// What is asked of a server. Only GET: nothing outside is ever changed.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// An http(s) URL without user. `file:` is taken for paths that the operator named, and no other.
    pub url: String,
    /// What is had already: a server that still has the same says so and sends nothing.
    pub etag: Option<String>,
    /// The form that is wanted.
    pub accept: &'static str,
    /// The most bytes that are taken.
    pub limit: u64,
    /// The longest it may take, redirects included.
    pub timeout: Duration,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// What the `etag` of the request names is still what is there.
    Unchanged,
    /// The whole of it was written.
    Found {
        /// What names it.
        etag: Option<String>,
        /// How many bytes it had.
        bytes: u64,
    },
}

/// Why nothing was fetched. What was written until then is to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is not asked for: the URL, or where a name or a redirect leads, is not to be reached from
    /// here. The text is fit for a caller.
    #[error("{0}")]
    Forbidden(String),
    /// The server says that there is no such thing.
    #[error("the server has no such thing ({0})")]
    NotFound(u16),
    /// The server says something else than yes.
    #[error("the server answers {0}")]
    Status(u16),
    /// It has more bytes than are taken.
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
    /// It took too long.
    #[error("it took longer than {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// The server was not reached, or went away before the end.
    #[error("the server was not reached, or went away before the end: {0}")]
    Unavailable(String),
    /// It could not be written.
    #[error("it could not be kept")]
    Sink(#[source] std::io::Error),
}

impl FetchError {
    /// Whether asking again may bring something else.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Forbidden(_) | Self::NotFound(_) | Self::TooLarge(_) => false,
            Self::Status(status) => *status >= 500 || *status == 429,
            Self::TimedOut(_) | Self::Unavailable(_) | Self::Sink(_) => true,
        }
    }
}

/// Gets documents from servers outside.
///
/// Every address a name or a redirect leads to is checked before it is connected to, and that address
/// is the one that is connected to: loopback, private, link-local, metadata and the like are refused,
/// unless the operator vouches for the host. Plain http is for such hosts only. At most five redirects
/// are followed. A body that ends before its length is an error.
#[async_trait::async_trait]
pub trait Fetch: Send + Sync + fmt::Debug {
    /// Writes what is at the URL to `into`.
    async fn fetch(
        &self,
        request: &FetchRequest,
        into: &mut (dyn Write + Send),
    ) -> Result<Fetched, FetchError>;
}

/// Where nothing outside is asked for anything.
#[derive(Clone, Copy, Debug)]
pub struct NoFetch;

#[async_trait::async_trait]
impl Fetch for NoFetch {
    async fn fetch(
        &self,
        _: &FetchRequest,
        _: &mut (dyn Write + Send),
    ) -> Result<Fetched, FetchError> {
        Err(FetchError::Forbidden("nothing outside is asked for anything here".to_owned()))
    }
}

/// Why a bundle was not made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// It cannot be made: trying again brings the same.
    #[error("{}", .0.detail)]
    Failed(BundleFault),
    /// It did not work this time.
    #[error("{0}")]
    Passing(String),
}

impl MakeError {
    /// It cannot be made, for the reason of this code.
    pub fn failed(code: &str, detail: impl Into<String>) -> Self {
        Self::Failed(BundleFault { code: code.to_owned(), detail: detail.into() })
    }
}

/// What became of a bundle's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// They are all there, as they were when they were made.
    Whole,
    /// There are none.
    Gone,
    /// They were not what they were. They have been removed.
    Damaged,
}

/// Makes files of what is pinned, and keeps them by their digest.
///
/// What is kept is there whole or not at all, whatever is killed when. The same content is kept once,
/// the same download made once, however many ask at the same time. What is downloaded is compared with
/// what is pinned before anything of it is used; nothing of it is run.
#[async_trait::async_trait]
pub trait Bundles: Send + Sync + fmt::Debug {
    /// Makes the files, or finds those that are there.
    async fn make(&self, pinned: &Pinned) -> Result<Content, MakeError>;

    /// Looks whether the files are what their digest says. For whoever is about to use them.
    async fn check(&self, content: Digest) -> Result<Kept, MakeError>;
}

/// Where no bundle can be made: the operator builds what agents need into their image.
#[derive(Clone, Copy, Debug)]
pub struct NoBundles;

#[async_trait::async_trait]
impl Bundles for NoBundles {
    async fn make(&self, _: &Pinned) -> Result<Content, MakeError> {
        Err(MakeError::failed(
            "not_here",
            "containers of this installation start from an image: build what is pinned here into \
             it, and name its program as the agent's `command`",
        ))
    }

    async fn check(&self, _: Digest) -> Result<Kept, MakeError> {
        Ok(Kept::Gone)
    }
}
