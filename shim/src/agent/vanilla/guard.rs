//! Notices a model that goes round in circles.

use super::transcript::Call;

/// How often the same call may be made in a row.
const SAME: u32 = 5;
/// How many calls may fail in a row.
const FAILURES: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Guard {
    last: Option<Call>,
    same: u32,
    failures: u32,
}

impl Guard {
    /// Takes a call in; an error says why it was the last one.
    pub(super) fn judge(&mut self, call: &Call, failed: bool) -> Result<(), String> {
        let again = self
            .last
            .as_ref()
            .is_some_and(|last| last.name == call.name && last.input == call.input);
        self.same = if again { self.same + 1 } else { 1 };
        self.failures = if failed { self.failures + 1 } else { 0 };
        self.last = Some(call.clone());
        if self.same >= SAME {
            Err(format!("the model called {} {SAME} times in a row with one input", call.name))
        } else if self.failures >= FAILURES {
            Err(format!("{FAILURES} tool calls in a row failed"))
        } else {
            Ok(())
        }
    }
}
