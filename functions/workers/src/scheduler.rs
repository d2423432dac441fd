//! The scheduler: the one worker.
//!
//! A tick takes no input. It is invoked when the due index changes and when something falls due, and
//! does the same either way: a nudge is only a nudge.

use app::errands::Standing;
use app::ports::Clock;
use app::{App, Error};
use domain::Timestamp;
use domain::due::Due;
use futures::future::{BoxFuture, FutureExt, join_all};
use tracing::Instrument;

/// Claims what is due and hands each errand to `start`, to be carried out side by side.
///
/// Answers with the moment to look again, where one is known. One read for each shard, or two where all that
/// is found is held; one commit for every hundred errands, one for each where another scheduler takes some of
/// them at the same moment.
pub async fn tick(
    app: &App,
    mut start: impl FnMut(BoxFuture<'static, ()>),
) -> Result<Option<Timestamp>, Error> {
    let tick = app.errands().tick().await?;
    let mut failed = None;
    for held in app.errands().claim_all(&tick.due).await {
        match held {
            Ok(None) => {}
            Ok(Some(held)) => start(carry_out(app.clone(), held).boxed()),
            // Those that are claimed are carried out all the same: nobody else will for a lease.
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(tick.next), Err)
}

async fn carry_out(app: App, held: Standing) {
    let Due { realm, errand, .. } = &held.value;
    let span = tracing::info_span!("errand", %realm, %errand);
    let done = async {
        if let Err(error) = app.errands().carry_out(&held).await {
            tracing::warn!(%error, "an errand waits for its lease");
        }
    };
    done.instrument(span).await;
}

/// Ticks until nothing is due any more, or until `until` has come; returns when all that it has begun
/// is done.
///
/// For a process that may live for some time and then not: what is left is taken by the
/// next. Answers with how many errands it carried out.
pub async fn drain(app: &App, clock: &dyn Clock, until: Timestamp) -> Result<usize, Error> {
    let mut carried_out = 0;
    while clock.now() < until {
        let mut begun = Vec::new();
        let ticked = tick(app, |errand| begun.push(errand)).await;
        let count = begun.len();
        join_all(begun).await;
        carried_out += count;
        ticked?;
        if count == 0 {
            break;
        }
    }
    Ok(carried_out)
}
