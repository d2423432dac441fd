//! What every lifecycle has in common, and the picture that is drawn from it.

use std::fmt::{Debug, Write};

use strum::VariantArray;

/// A finite lifecycle: total over `(State, Event)`, free of I/O, clocks and randomness.
pub trait Machine {
    /// Where an aggregate can be.
    type State: VariantArray + Copy + Debug + PartialEq + Into<&'static str> + 'static;
    /// What can happen to it.
    type Event: VariantArray + Copy + Debug + PartialEq + Into<&'static str> + 'static;

    /// Where every aggregate begins.
    const START: Self::State;

    /// The state that follows, or `None` where the event is refused.
    fn next(state: Self::State, event: Self::Event) -> Option<Self::State>;

    /// Whether nothing can follow.
    fn is_terminal(state: Self::State) -> bool {
        allowed::<Self>(state).next().is_none()
    }

    /// [`Machine::next`], with a refusal that says what would have been accepted.
    fn step(state: Self::State, event: Self::Event) -> Result<Self::State, Refused> {
        Self::next(state, event).ok_or_else(|| Refused {
            state: state.into(),
            event: event.into(),
            allowed: allowed::<Self>(state).map(Into::into).collect(),
        })
    }
}

/// The events that `state` accepts, in declaration order.
pub fn allowed<M: Machine + ?Sized>(state: M::State) -> impl Iterator<Item = M::Event> {
    M::Event::VARIANTS.iter().copied().filter(move |&event| M::next(state, event).is_some())
}

/// A lifecycle refused an event. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {state} one does not accept `{event}`; allowed next: {}", list(.allowed))]
pub struct Refused {
    /// Where the aggregate was.
    pub state: &'static str,
    /// What was asked of it.
    pub event: &'static str,
    /// What it would have accepted.
    pub allowed: Vec<&'static str>,
}

fn list(allowed: &[&str]) -> String {
    if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") }
}

/// Renders a lifecycle as the Mermaid diagram that ARCHITECTURE.md embeds.
pub fn mermaid<M: Machine>() -> String {
    let mut out = String::from("stateDiagram-v2\n");
    let _ = writeln!(out, "  [*] --> {}", M::START.into());
    for &from in M::State::VARIANTS {
        for &event in M::Event::VARIANTS {
            if let Some(to) = M::next(from, event) {
                let (from, to, event): (&str, &str, &str) = (from.into(), to.into(), event.into());
                let _ = writeln!(out, "  {from} --> {to} : {event}");
            }
        }
    }
    out
}

/// Asserts what is true of every lifecycle: each state is reached from the start, and each state
/// can reach a terminal one.
#[cfg(test)]
pub(crate) fn assert_sound<M: Machine>() {
    let closure = |start: M::State| {
        let mut seen = vec![start];
        let mut at = 0;
        while at < seen.len() {
            for &event in M::Event::VARIANTS {
                if let Some(to) = M::next(seen[at], event)
                    && !seen.contains(&to)
                {
                    seen.push(to);
                }
            }
            at += 1;
        }
        seen
    };
    let reached = closure(M::START);
    for state in M::State::VARIANTS {
        assert!(reached.contains(state), "{state:?} is never reached");
        assert!(
            closure(*state).into_iter().any(M::is_terminal),
            "{state:?} cannot reach a terminal state"
        );
    }
}
