//! The scheduler: the one worker.
//!
//! A tick takes no input. It is invoked when the due index changes and when something falls due, and
//! does the same either way: a nudge is only a nudge.

use app::{App, Error};
use domain::Timestamp;
use futures::future::{BoxFuture, FutureExt, join_all};

/// Claims what is due and hands each errand to `start`, to be carried out side by side. Answers with
/// the moment to look again, where one is known. One read for each shard, one commit for each errand.
pub async fn tick(
    app: &App,
    mut start: impl FnMut(BoxFuture<'static, ()>),
) -> Result<Option<Timestamp>, Error> {
    let tick = app.errands().tick().await?;
    let claims = join_all(tick.due.iter().map(async |due| app.errands().claim(due).await)).await;
    for held in claims {
        let Some(held) = held? else { continue };
        let app = app.clone();
        start(
            async move {
                if let Err(error) = app.errands().carry_out(&held).await {
                    tracing::warn!(errand = %held.errand, %error, "an errand waits for its lease");
                }
            }
            .boxed(),
        );
    }
    Ok(tick.next)
}
