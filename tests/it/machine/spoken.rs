//! What shims say to the control plane, and what their agents give them to say.

use std::collections::btree_map::Entry;

use domain::ContainerId;
use domain::walls::Standing;
use sockets::shim::Answer;
use wire::shim::{Hello, Outcome, PROTOCOL, Up};

use super::outside::{Said, Shim};
use super::world::{World, pick};

/// What an agent does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Say,
    Ask,
    End(Outcome),
}

impl World {
    fn shim(&self, id: ContainerId) -> Option<Shim> {
        self.outside.lock().unwrap().live.get(&id).cloned()
    }

    pub(super) async fn connect(&self, id: ContainerId) {
        let Some(shim) = self.shim(id) else { return };
        let number = {
            let mut connections = self.connections.lock().unwrap();
            *connections += 1;
            *connections
        };
        self.outside.lock().unwrap().live.get_mut(&id).unwrap().connection =
            Some(format!("c{number}"));
        let (container, generation) = (id, shim.observed.generation);
        let hello = Hello {
            protocol: PROTOCOL,
            container,
            generation,
            version: "1".to_owned(),
            walls: Standing::NONE,
        };
        if !self.frame(id, &Up::Hello(hello)).await
            && let Some(shim) = self.outside.lock().unwrap().live.get_mut(&id)
        {
            shim.connection = None;
        }
    }

    /// The connection ends. Somebody may tell that it did.
    pub(super) async fn disconnect(&self, id: ContainerId, told: bool) {
        let Some(shim) = self.shim(id) else { return };
        self.outside.lock().unwrap().live.get_mut(&id).unwrap().connection = None;
        if let Some(connection) = shim.connection.filter(|_| told) {
            let caller = self.app.authenticate_shim(Some(&shim.token)).unwrap();
            // Who died while it was told finds out by the silence.
            drop(self.app.shim_disconnected(caller, &connection).await);
        }
    }

    /// Says something on the shim's connection. Whether it is still there.
    pub(super) async fn frame(&self, id: ContainerId, up: &Up) -> bool {
        let Some(shim) = self.shim(id) else { return false };
        let Some(connection) = &shim.connection else { return false };
        let caller = self.app.authenticate_shim(Some(&shim.token)).unwrap();
        let text = serde_json::to_string(up).unwrap();
        let up = sockets::shim::read(caller, &text).unwrap();
        match sockets::shim::handle(&self.app, caller, connection, up).await {
            Ok(Answer::Say(down) | Answer::Dismiss(down)) => {
                // Of a later start, nothing is heard here.
                let same = self.shim(id).is_some_and(|now| now.observed == shim.observed);
                if same && !self.fate.is_dead() {
                    self.outside.lock().unwrap().hear(id, down);
                }
                true
            }
            Ok(Answer::Quiet) => true,
            Err(_) => false,
        }
    }

    /// An agent says something, asks for something, or ends its turn.
    pub(super) fn work(&self, id: ContainerId, run: u8, work: Work) {
        let mut outside = self.outside.lock().unwrap();
        outside.marks += 1;
        let mark = outside.marks;
        let Some(shim) = outside.live.get_mut(&id) else { return };
        let flying: Vec<_> = shim.flying.iter().map(|(run, at)| (*run, *at)).collect();
        let Some((run, (session, cancelled))) = pick(&flying, run) else { return };
        match work {
            Work::Say => shim.say(session, Said::Update(run, mark)),
            Work::Ask => {
                if let Entry::Vacant(waits) = shim.asking.entry(run) {
                    waits.insert(mark);
                    shim.say(session, Said::Asked(run, mark));
                }
            }
            Work::End(outcome) => {
                let outcome = if cancelled { Outcome::Cancelled } else { outcome };
                shim.flying.remove(&run);
                shim.asking.remove(&run);
                shim.say(session, Said::Ended(run, outcome));
            }
        }
    }

    /// Reports of every session: what is next, or from further back, or from too far on.
    pub(super) async fn send(&self, id: ContainerId, back: i8, count: usize) {
        let Some(shim) = self.shim(id) else { return };
        for (session, journal) in &shim.journals {
            let from = journal.acked.saturating_add_signed(-i64::from(back));
            if let Some(report) = shim.report(*session, from, count) {
                self.frame(id, &Up::Report(report)).await;
            }
        }
    }

    /// What a shim had said before it was gone arrives.
    pub(super) async fn send_late(&self, which: u8, back: i8) {
        let Some(shim) = pick(&self.outside.lock().unwrap().dead, which) else { return };
        let caller = self.app.authenticate_shim(Some(&shim.token)).unwrap();
        for (session, journal) in &shim.journals {
            let from = journal.acked.saturating_add_signed(-i64::from(back));
            if let Some(report) = shim.report(*session, from, 9) {
                drop(self.app.shim_reported(caller, &report).await);
            }
        }
    }
}
