//! The questions of a run that wait for an answer of the control plane.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

/// Questions of one kind, whose answers are `T`.
#[derive(Debug)]
pub(super) struct Questions<T> {
    prefix: &'static str,
    most: usize,
    open: BTreeMap<String, oneshot::Sender<T>>,
    asked: u64,
}

impl<T> Questions<T> {
    /// None yet. Their ids begin with `prefix`; `most` may wait at once.
    pub(super) fn new(prefix: &'static str, most: usize) -> Self {
        Self { prefix, most, open: BTreeMap::new(), asked: 0 }
    }

    /// Opens one, unless as many as may wait do. Its answer comes through the receiver; none comes
    /// where the run ends or is cancelled first.
    pub(super) fn open(&mut self) -> Option<(String, oneshot::Receiver<T>)> {
        if self.open.len() >= self.most {
            return None;
        }
        self.asked += 1;
        let id = format!("{}_{}", self.prefix, self.asked);
        let (give, given) = oneshot::channel();
        self.open.insert(id.clone(), give);
        Some((id, given))
    }

    /// Gives an answer. One to a question that is not open changes nothing: it is repeated.
    pub(super) fn give(&mut self, question: &str, answer: T) {
        if let Some(give) = self.open.remove(question) {
            // Who asked may be gone.
            drop(give.send(answer));
        }
    }

    /// Leaves every open one without an answer.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_is_answered_once_or_not_at_all() {
        let mut questions = Questions::new("ask", 2);
        let (first, given) = questions.open().unwrap();
        let (second, dropped) = questions.open().unwrap();
        assert_ne!(first, second);
        assert!(questions.open().is_none(), "as many as may wait do");
        questions.give(&first, "yes");
        questions.give(&first, "no");
        assert_eq!(given.await, Ok("yes"));
        questions.close();
        assert!(dropped.await.is_err());
    }
}
