//! Server-sent events: the data of each, whatever pieces the bytes come in.

/// The longest event.
const LONGEST: usize = 8 * 1024 * 1024;

#[derive(Debug, Default)]
pub(in crate::agent) struct Events {
    line: Vec<u8>,
    data: String,
}

impl Events {
    /// Takes bytes in and gives the data of the events they complete; none where one is too long.
    pub(in crate::agent) fn feed(&mut self, bytes: &[u8]) -> Option<Vec<String>> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() + self.data.len() > LONGEST {
                return None;
            }
            if self.line.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
                self.line.clear();
                if line.is_empty() {
                    if !self.data.is_empty() {
                        complete.push(std::mem::take(&mut self.data));
                    }
                } else if let Some(data) = line.strip_prefix("data:") {
                    if !self.data.is_empty() {
                        self.data.push('\n');
                    }
                    self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
                }
            }
        }
        Some(complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_matter() {
        let text = "event: a\r\ndata: {\"x\":\r\ndata: \"ä\"}\r\n\r\n: comment\n\ndata:[DONE]\n\n";
        let whole = Events::default().feed(text.as_bytes()).unwrap();
        assert_eq!(whole, ["{\"x\":\n\"ä\"}", "[DONE]"]);
        let mut events = Events::default();
        let bytewise: Vec<_> =
            text.bytes().flat_map(|byte| events.feed(&[byte]).unwrap()).collect();
        assert_eq!(bytewise, whole);
    }
}
