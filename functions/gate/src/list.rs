//! How a list is asked for.

use app::agents::Paging;
use schemars::JsonSchema;
use serde::Deserialize;
use wire::{Order, Problem, ProblemKind};

/// The query parameters of a plain list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listing {
    /// The most items of the page; 50 where it is left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub cursor: Option<String>,
    /// Which end comes first; newest first where it is left out.
    #[serde(default)]
    pub order: Option<Order>,
}

impl Listing {
    /// The page that is asked for, if it is one.
    pub fn paging(self) -> Result<Paging, Problem> {
        let limit = self.limit.map_or(50, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if !(1..=Paging::MAX).contains(&limit) {
            let detail = format!("must be 1 to {}", Paging::MAX);
            return Err(Problem::new(ProblemKind::InvalidParameter, format!("limit {detail}"))
                .at("limit", detail));
        }
        Ok(Paging { limit, cursor: self.cursor, order: self.order.unwrap_or_default() })
    }
}
