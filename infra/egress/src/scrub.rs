//! Cuts a credential out of what is passed on, also where it is split between two pieces. Only a
//! piece's end that may be the credential's beginning waits for the next one.

use bytes::Bytes;

const REDACTED: &[u8] = b"[redacted]";

/// What is shorter is no secret, and could be a word of an answer.
const SHORTEST: usize = 8;

/// A stream's bytes on their way through.
#[derive(Default)]
pub(crate) struct Scrub {
    secret: Bytes,
    held: Vec<u8>,
}

impl Scrub {
    pub(crate) fn new(secret: &str) -> Self {
        let secret = if secret.len() < SHORTEST { "" } else { secret };
        Self { secret: Bytes::copy_from_slice(secret.as_bytes()), held: Vec::new() }
    }

    /// What of `piece`, and of what was held, may go on.
    pub(crate) fn pass(&mut self, piece: Bytes) -> Bytes {
        if self.secret.is_empty() {
            return piece;
        }
        if self.held.is_empty() && self.find(&piece).is_none() && self.open_end(&piece) == 0 {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        let mut clean = Vec::with_capacity(self.held.len());
        let mut rest = self.held.as_slice();
        while let Some(at) = self.find(rest) {
            clean.extend_from_slice(&rest[..at]);
            clean.extend_from_slice(REDACTED);
            rest = &rest[at + self.secret.len()..];
        }
        let (goes, waits) = rest.split_at(rest.len() - self.open_end(rest));
        clean.extend_from_slice(goes);
        self.held = waits.to_vec();
        clean.into()
    }

    /// What was held when nothing follows.
    pub(crate) fn end(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }

    /// Whether the secret is in `bytes`.
    pub(crate) fn hits(&self, bytes: &[u8]) -> bool {
        !self.secret.is_empty() && self.find(bytes).is_some()
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        bytes.windows(self.secret.len()).position(|window| window == self.secret)
    }

    /// How long the longest end of `bytes` is that the secret begins with, without being whole.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let longest = bytes.len().min(self.secret.len() - 1);
        (1..=longest).rev().find(|n| bytes.ends_with(&self.secret[..*n])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(secret: &str, pieces: &[&str]) -> Vec<String> {
        let mut scrub = Scrub::new(secret);
        let mut out: Vec<Bytes> = pieces
            .iter()
            .map(|piece| scrub.pass(Bytes::copy_from_slice(piece.as_bytes())))
            .collect();
        out.push(scrub.end());
        out.into_iter().map(|piece| String::from_utf8(piece.into()).unwrap()).collect()
    }

    #[test]
    fn a_whole_secret_is_cut_out() {
        let out = through("sk-secret-1", &["a sk-secret-1 b sk-secret-1", "c"]);
        assert_eq!(out, ["a [redacted] b [redacted]", "c", ""]);
    }

    #[test]
    fn a_split_secret_is_cut_out() {
        let text = "x=sk-sk-secret-1;sk-secret-";
        for at in 0..text.len() {
            for then in at..text.len() {
                let pieces = [&text[..at], &text[at..then], &text[then..]];
                assert_eq!(through("sk-secret-1", &pieces).concat(), "x=sk-[redacted];sk-secret-");
            }
        }
    }

    #[test]
    fn only_an_open_end_waits() {
        assert_eq!(through("sk-secret-1", &["hello s", "o"]), ["hello ", "so", ""]);
    }

    #[test]
    fn a_word_is_no_secret() {
        assert_eq!(through("ollama", &["ollama"]).concat(), "ollama");
    }
}
