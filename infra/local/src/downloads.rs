//! Where agents of the catalog are downloaded from, and with what they are installed.

use std::collections::BTreeMap;

use app::registry::Sources;
use host::fetch::Reach;

use crate::cli::Up;

/// What installers are told of this machine: where programs are, and whom it trusts. An operator's own
/// settings of these tools are not among it.
const VARIABLES: [&str; 6] = [
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
];

/// What may be reached: the internet, and what the operator named.
pub(crate) fn reach(
    options: &Up,
    sources: &Sources,
    variable: impl Fn(&str) -> Option<String>,
) -> Reach {
    let named = [&options.registry, &options.npm_registry, &options.python_index];
    let vouched = named.into_iter().flatten().chain(&options.vouch);
    let reach = vouched.fold(Reach::default(), |reach, url| reach.vouch(url));
    match variable("REEVE_REGISTRY_KEY") {
        Some(key) => reach.with_key(&sources.registry, &key),
        None => reach,
    }
}

/// The environment that installers are started with.
pub(crate) fn installers(variable: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let there = |name: &str| Some((name.to_owned(), variable(name)?));
    VARIABLES.into_iter().filter_map(there).collect()
}
