//! A body in fewer bytes.
//!
//! What holds here: a packed body is one byte that names a list of words, and then what deflate makes of the
//! body with those words as its dictionary. Our documents are short, and half of one is the names
//! of its fields and the shapes of its events: the words say them from the first byte on.
//!
//! What was written with a list is read with it for ever. A better one gets the next number.

use std::io::{Read, Write};

use flate2::bufread::ZlibDecoder;
use flate2::write::ZlibEncoder;
use flate2::{Compress, Compression, Decompress};
use store::MAX_BODY;

/// The list that is written with, and its number: words of people and programs, and then how our documents
/// look. What is nearer to the end takes fewer bits.
const WORDS: (u8, &[u8]) = (1, include_bytes!("words.txt"));

/// Bytes that are no packed body of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("a packed body has words that are not known")]
    Words,
    #[error("a packed body does not unpack")]
    Deflated(#[source] std::io::Error),
    #[error("a packed body is longer than a body may be")]
    TooLong,
}

/// The body, packed. None where deflate does not take it, and it is written as it is.
pub(super) fn pack(body: &str) -> Option<Vec<u8>> {
    let (number, words) = WORDS;
    let mut deflate = Compress::new(Compression::default(), false);
    deflate.set_dictionary(words).ok()?;
    let mut packed = ZlibEncoder::new_with_compress(vec![number], deflate);
    packed.write_all(body.as_bytes()).ok()?;
    packed.finish().ok()
}

/// The body that was packed.
pub(super) fn unpack(packed: &[u8]) -> Result<String, Unreadable> {
    let (number, words) = WORDS;
    let deflated = match packed.split_first() {
        Some((first, deflated)) if *first == number => deflated,
        _ => return Err(Unreadable::Words),
    };
    let mut inflate = Decompress::new(false);
    inflate.set_dictionary(words).map_err(|error| Unreadable::Deflated(error.into()))?;
    let (mut body, more) = (String::new(), MAX_BODY as u64 + 1);
    let mut inflated = ZlibDecoder::new_with_decompress(deflated, inflate).take(more);
    inflated.read_to_string(&mut body).map_err(Unreadable::Deflated)?;
    if body.len() > MAX_BODY { Err(Unreadable::TooLong) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_nothing_else_is() {
        let text = "é\u{0}🔑 any text, over and over. ";
        let long = text.repeat(MAX_BODY / text.len());
        let bodies = ["", "x", "{\"v\":1,\"doc\":{}}", &long];
        for body in bodies {
            assert_eq!(unpack(&pack(body).unwrap()).unwrap(), body);
        }
        let whole = pack("a body of some length, to be cut somewhere").unwrap();
        assert!(matches!(unpack(&[]), Err(Unreadable::Words)));
        assert!(matches!(unpack(&[&[9], &whole[1..]].concat()), Err(Unreadable::Words)));
        assert!(matches!(unpack(&whole[..whole.len() - 3]), Err(Unreadable::Deflated(_))));
        let more = pack(&"x".repeat(MAX_BODY + 1)).unwrap();
        assert!(matches!(unpack(&more), Err(Unreadable::TooLong)));
    }

    /// A batch of a run's events, which is what is written most often, takes less than half.
    #[test]
    fn a_document_of_ours_takes_less_than_half() {
        let event = |kind: &str, text: &str| {
            format!(
                "{{\"seq\":7,\"type\":\"{kind}\",\"runId\":\"run_01JD3Z6V0QK5S8M2W4X7Y9ABCD\",\
                \"time\":\"2025-11-21T09:00:00.000Z\",\"data\":{{\"messageId\":\"m1\",\
                \"content\":{{\"type\":\"text\",\"text\":\"{text}\"}}}}}}"
            )
        };
        let said = "The scheduler claims an errand, carries it out and puts it back in line.";
        let body = format!(
            "{{\"v\":1,\"doc\":{{\"agent\":\"agt_01JD3Z6V0QK5S8M2W4X7Y9ABCD\",\"last\":8,\"events\":[{},{}]}}}}",
            event("agent_thought_chunk", "It reads the state as it is by then."),
            event("agent_message_chunk", said),
        );
        let packed = pack(&body).unwrap();
        assert!(2 * packed.len() < body.len(), "{} of {}", packed.len(), body.len());
    }
}
