//! The spellings of a path that mean the same.
//!
//! `/api/…` and `/api/v1/…` are `/v1/…`; `/things/{id}:verb`, with the colon encoded or not, is
//! `/things/{id}/verb`. Routers take a whole segment for a variable, so the verb is split off here,
//! once, before any of them sees it.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// The one spelling that routes are mounted under.
pub fn canonical(uri: Uri) -> Uri {
    let path = uri.path();
    let rest = path
        .strip_prefix("/api/v1/")
        .or_else(|| path.strip_prefix("/api/"))
        .map(|rest| format!("/v1/{rest}"));
    let verb = split_verb(rest.as_deref().unwrap_or(path));
    let Some(path) = verb.or(rest) else { return uri };
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    // A path that was valid stays valid: only the colon became `/`.
    let Ok(rewritten) = PathAndQuery::try_from(path_and_query) else { return uri };
    parts.path_and_query = Some(rewritten);
    Uri::from_parts(parts).unwrap_or(uri)
}

fn split_verb(path: &str) -> Option<String> {
    let (head, tail) = path.rsplit_once('/')?;
    let colons = [":", "%3A", "%3a"];
    let (id, verb) = colons.iter().find_map(|colon| tail.split_once(colon))?;
    let is_verb = !verb.is_empty() && verb.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    (is_verb && !id.is_empty() && path.starts_with("/v1/")).then(|| format!("{head}/{id}/{verb}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_becomes_the_one() {
        let check = |from: &'static str, to: &str| {
            assert_eq!(canonical(Uri::from_static(from)).to_string(), to, "{from}");
        };
        check("/v1/agents?limit=2", "/v1/agents?limit=2");
        check("/api/agents?limit=2", "/v1/agents?limit=2");
        check("/api/v1/agents", "/v1/agents");
        check("/v1/sessions/ses_1:prompt", "/v1/sessions/ses_1/prompt");
        check("/api/sessions/ses_1:prompt?x=1", "/v1/sessions/ses_1/prompt?x=1");
        check("/v1/sessions/ses_1%3Aprompt", "/v1/sessions/ses_1/prompt");
        check("/v1/sessions/ses_1%3aprompt?x=%3A", "/v1/sessions/ses_1/prompt?x=%3A");
        check("/v1/sessions/ses_1:", "/v1/sessions/ses_1:");
        check("/v1/sessions/:prompt", "/v1/sessions/:prompt");
        check("/healthz:x", "/healthz:x");
        check("/apiary", "/apiary");
    }
}
