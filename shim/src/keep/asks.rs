//! Questions to the control plane, and who waits for their answers.
//!
//! What holds here: a question is asked until it is answered, again on every connection and after
//! [`PATIENCE`], or until nobody waits for it any more. At most [`AT_ONCE`] are open.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use domain::AgentId;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;
use wire::shim::Up;
use wire::shim::keep::{Answer, Ask, Told, Wanted};

/// How long a question may stay unanswered before it is asked again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many questions may be open.
const AT_ONCE: usize = 4;

/// The questions that are open.
#[derive(Debug)]
pub(crate) struct Asks {
    number: Cell<u64>,
    open: RefCell<BTreeMap<u64, Open>>,
    places: Semaphore,
    /// Something can be asked.
    wake: Notify,
}

#[derive(Debug)]
struct Open {
    frame: String,
    asked: Option<Instant>,
    answer: oneshot::Sender<Answer>,
}

impl Default for Asks {
    fn default() -> Self {
        Self {
            number: Cell::default(),
            open: RefCell::default(),
            places: Semaphore::new(AT_ONCE),
            wake: Notify::new(),
        }
    }
}

impl Asks {
    /// Asks, and waits for the answer for as long as the caller does. None where there will be none.
    pub(super) async fn ask(&self, agent: AgentId, what: Wanted) -> Option<Answer> {
        let _place = self.places.acquire().await.ok()?;
        let number = self.number.get();
        self.number.set(number + 1);
        let frame = serde_json::to_string(&Up::Ask(Ask { number, agent, what })).ok()?;
        let (answer, answered) = oneshot::channel();
        self.open.borrow_mut().insert(number, Open { frame, asked: None, answer });
        self.wake.notify_one();
        answered.await.ok()
    }

    /// The next frame to send, once there is one.
    pub(crate) async fn next(&self) -> String {
        loop {
            if let Some(frame) = self.ready(Instant::now()) {
                return frame;
            }
            self.wake.notified().await;
        }
    }

    fn ready(&self, now: Instant) -> Option<String> {
        let mut open = self.open.borrow_mut();
        open.retain(|_, one| !one.answer.is_closed());
        let due = |one: &&mut Open| one.asked.is_none_or(|asked| now >= asked + PATIENCE);
        let one = open.values_mut().find(due)?;
        one.asked = Some(now);
        Some(one.frame.clone())
    }

    /// There is another connection: what was asked on the one before is asked again.
    pub(crate) fn connected(&self) {
        self.open.borrow_mut().values_mut().for_each(|one| one.asked = None);
        self.wake.notify_one();
    }

    /// Looks again whether a question has been open for too long.
    pub(crate) fn look_again(&self) {
        self.wake.notify_one();
    }

    /// Takes an answer in. One that nobody waits for is forgotten.
    pub(crate) fn told(&self, told: Told) {
        if let Some(one) = self.open.borrow_mut().remove(&told.number) {
            drop(one.answer.send(told.answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::id::Ulid;

    use super::*;

    #[tokio::test]
    async fn a_question_is_asked_until_it_is_answered_or_nobody_waits() {
        let asks = Asks::default();
        let agent = AgentId::new(Ulid::from_parts(1, 1));
        {
            let mut asking = std::pin::pin!(asks.ask(agent, Wanted::Latest));
            assert!(futures::poll!(&mut asking).is_pending());
            let begun = Instant::now();
            let frame = asks.ready(begun).unwrap();
            assert_eq!(asks.ready(begun), None, "once");
            assert_eq!(asks.ready(begun + PATIENCE).as_ref(), Some(&frame), "and once more");
            asks.connected();
            assert_eq!(asks.ready(begun).as_ref(), Some(&frame), "and on another connection");
            let other = Told { number: 7, answer: Answer::Bytes(String::new()) };
            asks.told(other);
            assert!(futures::poll!(&mut asking).is_pending());
            asks.told(Told { number: 0, answer: Answer::Bytes("a".to_owned()) });
            assert_eq!(asking.await, Some(Answer::Bytes("a".to_owned())));
        }
        {
            let mut asking = std::pin::pin!(asks.ask(agent, Wanted::Latest));
            assert!(futures::poll!(&mut asking).is_pending());
        }
        assert_eq!(asks.ready(Instant::now()), None, "nobody waits");
    }
}
