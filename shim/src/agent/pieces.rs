//! An answer that comes in pieces of bytes: told as text, up to a limit.

use wire::shim::failure;

use super::client::Turn;
use crate::acp::message::Fault;

/// The most bytes of one answer.
pub(super) const LONGEST: usize = 16 * 1024 * 1024;

/// The text of an answer, on its way to the client.
#[derive(Debug)]
pub(super) struct Text<'a> {
    turn: &'a Turn,
    said: usize,
    /// The beginning of a character whose end has not come.
    begun: Vec<u8>,
}

impl<'a> Text<'a> {
    pub(super) const fn new(turn: &'a Turn) -> Self {
        Self { turn, said: 0, begun: Vec::new() }
    }

    /// The turn it is the answer of.
    pub(super) const fn turn(&self) -> &'a Turn {
        self.turn
    }

    /// Tells what is text of `bytes`, and marks what is not. A character may come in two pieces.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.begun.extend_from_slice(bytes);
        let held = unfinished(&self.begun);
        let whole = self.begun.len() - held;
        let text = String::from_utf8_lossy(&self.begun[..whole]).into_owned();
        self.begun.drain(..whole);
        self.text(&text).await
    }

    /// Tells `text`.
    pub(super) async fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.said += text.len();
        if self.said > LONGEST {
            return Err(too_long());
        }
        if !text.is_empty() {
            self.turn.say(text).await;
        }
        Ok(())
    }

    /// Nothing more comes.
    pub(super) async fn end(&mut self) -> Result<(), Fault> {
        let rest = String::from_utf8_lossy(&std::mem::take(&mut self.begun)).into_owned();
        self.text(&rest).await
    }
}

/// The failure of an answer that is longer than one may be.
pub(super) fn too_long() -> Fault {
    Fault::stable(failure::OUTPUT_LIMIT, format!("the answer has more than {LONGEST} bytes"))
}

/// How many bytes at the end may be the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes.iter().rev().take(3).position(|byte| *byte & 0b1100_0000 != 0b1000_0000);
    let Some(place) = last.map(|back| bytes.len() - 1 - back) else { return 0 };
    let length = match bytes[place] {
        0b1100_0000..=0b1101_1111 => 2,
        0b1110_0000..=0b1110_1111 => 3,
        0b1111_0000..=0b1111_0111 => 4,
        _ => 1,
    };
    let there = bytes.len() - place;
    if there < length { there } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::unfinished;

    #[test]
    fn a_character_is_whole_or_waits() {
        for text in ["", "a", "ä", "aä", "€", "x€", "\u{1F600}", "ab\u{1F600}"] {
            assert_eq!(unfinished(text.as_bytes()), 0, "{text}");
            let Some(last) = text.chars().next_back().filter(|c| !c.is_ascii()) else { continue };
            for cut in 1..last.len_utf8() {
                let begun = &text.as_bytes()[..text.len() - cut];
                assert_eq!(unfinished(begun), last.len_utf8() - cut, "{text} without {cut}");
            }
        }
        for noise in [&[0x80][..], &[0xff], &[0xff, 0x80], &[0x80; 8]] {
            assert_eq!(unfinished(noise), 0, "{noise:?}");
        }
    }
}
