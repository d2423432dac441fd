//! What becomes of a run, told in order.

use domain::RunId;
use domain::event::{self, Draft};
use domain::output::{Contract, Output};
use domain::run::{End, Run, RunEvent, RunState};
use domain::session::{Admission, SessionState};
use store::document::Loaded;
use wire::shim::{Ended, Outcome, Report, What, failure};

use super::ShimCaller;
use super::asked::{ask, elicit, take_answer, take_reply};
use crate::commit::retry_conflict;
use crate::turn::{Turn, load_run};
use crate::{App, Error};

/// What to answer to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Events before this number are durable.
    Next(u64),
    /// The session does not listen to this start any more: forget what is not acknowledged.
    Stale,
}

impl App {
    /// Writes down what a shim reports of a session. Two reads, one after the other, and one commit, of
    /// the events alone where they move nothing; where a run moves it is read besides, and where one
    /// ends, the container and the next run.
    pub async fn shim_reported(&self, shim: ShimCaller, report: &Report) -> Result<Receipt, Error> {
        retry_conflict(self, || self.try_report(shim, report)).await
    }

    async fn try_report(&self, shim: ShimCaller, report: &Report) -> Result<Receipt, Error> {
        let mut turn = match Turn::continuing(self, shim.scope, report.session).await {
            Err(Error::NotFound(_)) => return Ok(Receipt::Stale),
            turn => turn?,
        };
        let count = report.events.len();
        let skip = match turn.session.admit(shim.container, shim.generation, report.first, count) {
            Admission::Take { skip } => skip,
            Admission::Known | Admission::Gap => {
                return Ok(Receipt::Next(turn.session.reports.map_or(0, |reports| reports.next)));
            }
            Admission::Stale => return Ok(Receipt::Stale),
        };
        // A closed session reads as before.
        if turn.session.state == SessionState::Completed {
            return Ok(Receipt::Stale);
        }
        // Of a run whose turn comes within this report, nobody can know anything yet.
        let active = turn.session.active;
        let next = report.first + count as u64;
        if let Some(reports) = &mut turn.session.reports {
            reports.next = next;
        }
        let mut flight = Flight { active, run: None };
        for event in &report.events[skip..] {
            match (&event.what, event.run) {
                (What::Update { kind, data }, run) => {
                    // What belongs to a run that is not in flight any more comes too late.
                    if run.is_none() || run == turn.session.active {
                        turn.session.offers.hear(kind, data.get());
                        if kind == event::SETTING_REFUSED {
                            turn.session.setup.settings.give_up(data.get());
                        }
                        turn.draft(Draft { kind: kind.clone(), run, data: data.clone() });
                    }
                }
                (What::Forked { session, acp_session }, _) => {
                    turn.forked(self, *session, Ok(acp_session)).await?;
                }
                (What::ForkLost { session, why }, _) => {
                    turn.forked(self, *session, Err(why)).await?;
                }
                (What::Started { acp_session, can_fork }, Some(id)) => {
                    turn.session.begun(acp_session);
                    turn.session.offers.fork = *can_fork;
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(if run.value.state == RunState::Dispatching {
                            turn.step(run, RunEvent::Start, None)?
                        } else {
                            run
                        });
                    }
                }
                (What::Asked(request), Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(ask(&mut turn, run, request)?);
                    }
                }
                (What::Elicited(request), Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(elicit(&mut turn, run, request)?);
                    }
                }
                (What::Replied { request, action }, Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(take_reply(&mut turn, run, request, action)?);
                    }
                }
                (What::Answered { request, outcome }, Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        flight.run = Some(take_answer(&mut turn, run, request, outcome)?);
                    }
                }
                (What::Ended(ended), Some(id)) => {
                    if let Some(run) = flight.take(self, &turn, id).await? {
                        let (event, end) = ending(ended, &run.value.output, turn.session.state);
                        turn.finish(self, run, event, end, Some(ended)).await?;
                        turn.offers_login(&ended.auth_methods);
                        turn.is_well();
                    }
                }
                (
                    What::Started { .. }
                    | What::Asked(_)
                    | What::Elicited(_)
                    | What::Answered { .. }
                    | What::Replied { .. }
                    | What::Ended(_),
                    None,
                ) => {}
            }
        }
        if let Some(run) = flight.run {
            let expect = run.expect();
            turn.keep(run.value, expect);
        }
        self.commit_own("session.report", turn.into_writes(self).await?).await?;
        Ok(Receipt::Next(next))
    }
}

/// The run in flight, read once per report and only when the report moves it. Once it has ended,
/// nothing more is taken of it.
struct Flight {
    active: Option<RunId>,
    run: Option<Loaded<Run>>,
}

impl Flight {
    async fn take(
        &mut self,
        app: &App,
        turn: &Turn,
        id: RunId,
    ) -> Result<Option<Loaded<Run>>, Error> {
        if self.active != Some(id) || turn.session.active != Some(id) {
            return Ok(None);
        }
        match self.run.take() {
            Some(run) => Ok(Some(run)),
            None => load_run(app, turn.scope, id).await.map(Some),
        }
    }
}

/// How a run is taken to have ended. That an answer fits its schema is not believed but seen.
fn ending(ended: &Ended, output: &Output, session: SessionState) -> (RunEvent, End) {
    let end = End {
        stop_reason: ended.stop_reason.clone(),
        code: ended.code.clone(),
        detail: ended.detail.as_ref().map(|detail| detail.chars().take(2000).collect()),
        structured: None,
    };
    if ended.outcome == Outcome::Completed
        && let Some(schema) = output.schema()
    {
        let judged = Contract::new(schema).map_err(|why| why.to_string()).and_then(|contract| {
            let answer = ended.structured.as_ref().ok_or("there is no answer")?;
            contract.judge(answer).map(|()| answer.clone())
        });
        return match judged {
            Ok(structured) => (RunEvent::Complete, End { structured: Some(structured), ..end }),
            Err(why) => (RunEvent::Fail, End::failure(failure::OUTPUT_INVALID, why)),
        };
    }
    match (ended.outcome, session) {
        (Outcome::Completed, _) => (RunEvent::Complete, end),
        (Outcome::Cancelled, _) => (RunEvent::Cancel, end),
        // It was to be stopped, and it stopped: how it let go does not matter.
        (Outcome::Failed, SessionState::Cancelling) => (RunEvent::Cancel, end),
        (Outcome::Failed, _) => (RunEvent::Fail, end),
    }
}
