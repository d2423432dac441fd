//! Figures, and how they are shown.

use std::fmt::Write;

use serde_json::{Value, json};

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// Whatever it is.
    Any,
}

/// One thing that was measured, or why it was not.
#[derive(Debug)]
pub(crate) struct Figure {
    what: &'static str,
    unit: &'static str,
    target: Target,
    result: Option<f64>,
    note: String,
}

impl Figure {
    /// Something that was measured; `note` says how, in a line.
    pub(crate) fn new(
        what: &'static str,
        unit: &'static str,
        target: Target,
        result: f64,
        note: impl Into<String>,
    ) -> Self {
        Self { what, unit, target, result: Some(result), note: note.into() }
    }

    /// Something that could not be measured here; `why` says why.
    pub(crate) fn skipped(
        what: &'static str,
        unit: &'static str,
        target: Target,
        why: impl Into<String>,
    ) -> Self {
        Self { what, unit, target, result: None, note: why.into() }
    }

    fn verdict(&self) -> &'static str {
        match (self.target, self.result) {
            (_, None) => "skipped",
            (Target::Any, Some(_)) => "",
            (Target::AtMost(most), Some(result)) if result <= most => "ok",
            (Target::AtLeast(least), Some(result)) if result >= least => "ok",
            (Target::AtMost(_) | Target::AtLeast(_), Some(_)) => "missed",
        }
    }

    fn shown(&self, value: f64) -> String {
        // As many digits as mean something.
        let digits = match value.abs() {
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            _ => 2,
        };
        format!("{value:.digits$} {}", self.unit).trim_end().to_owned()
    }

    fn wanted(&self) -> String {
        match self.target {
            Target::AtMost(most) => format!("<= {}", self.shown(most)),
            Target::AtLeast(least) => format!(">= {}", self.shown(least)),
            Target::Any => String::new(),
        }
    }

    fn json(&self) -> Value {
        let target = match self.target {
            Target::AtMost(most) => json!({ "atMost": most }),
            Target::AtLeast(least) => json!({ "atLeast": least }),
            Target::Any => Value::Null,
        };
        json!({
            "figure": self.what,
            "unit": self.unit,
            "target": target,
            "result": self.result,
            "verdict": self.verdict(),
            "note": self.note,
        })
    }
}

/// All figures of one run.
#[derive(Debug)]
pub(crate) struct Report {
    /// In the order in which they were measured.
    pub(crate) figures: Vec<Figure>,
    before: String,
    after: String,
}

impl Report {
    /// An empty one, which notes how loaded the machine is before anything is measured.
    pub(crate) fn begin() -> Self {
        Self { figures: Vec::new(), before: load(), after: String::new() }
    }

    /// Notes how loaded the machine is now.
    pub(crate) fn end(&mut self) {
        self.after = load();
    }

    /// Prints the table.
    pub(crate) fn show(&self) {
        let rows: Vec<[String; 4]> = self
            .figures
            .iter()
            .map(|figure| {
                let result = figure.result.map(|result| figure.shown(result));
                let result = result.unwrap_or_else(|| "-".to_owned());
                [figure.what.to_owned(), figure.wanted(), result, figure.verdict().to_owned()]
            })
            .collect();
        let head = ["figure", "target", "result", ""].map(str::to_owned);
        let width = |column: usize| {
            rows.iter().chain([&head]).map(|row| row[column].len()).max().unwrap_or_default()
        };
        let widths = [width(0), width(1), width(2)];
        let mut out = String::new();
        let notes = [""].into_iter().chain(self.figures.iter().map(|figure| figure.note.as_str()));
        for (row, note) in [&head].into_iter().chain(&rows).zip(notes) {
            let [what, target, result, verdict] = row;
            let _ = writeln!(
                out,
                "{what:a$}  {target:>b$}  {result:>c$}  {verdict:7}  {note}",
                a = widths[0],
                b = widths[1],
                c = widths[2],
            );
        }
        let _ = write!(out, "load average before {}, after {}", self.before, self.after);
        print(&out);
    }

    /// The same for machines.
    pub(crate) fn json(&self) -> String {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let document = json!({
            "cores": cores,
            "loadAverage": { "before": self.before, "after": self.after },
            "figures": figures,
        });
        format!("{document:#}\n")
    }
}

/// The load averages of 1, 5 and 15 minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The value below which `share` of all lie; 0 of none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place among some thousand values"
    )]
    let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(place - 1).copied().unwrap_or_default()
}

/// The one in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

#[expect(clippy::print_stdout, reason = "this is a command, and this its answer")]
fn print(text: &str) {
    println!("{text}");
}

/// Says how far it is.
#[expect(clippy::print_stderr, reason = "this is a command")]
pub(crate) fn note(line: &str) {
    eprintln!("bench: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let found = [0.0, 0.5, 0.99, 1.0].map(|share| quantile(&values, share).to_string());
        assert_eq!(found, ["1", "50", "99", "100"]);
        assert_eq!(quantile(&[], 0.5).to_string(), "0");
    }

    #[test]
    fn a_verdict_compares_with_the_target() {
        let verdict = |target, result| Figure::new("", "", target, result, "").verdict();
        assert_eq!(verdict(Target::AtMost(2.0), 2.0), "ok");
        assert_eq!(verdict(Target::AtMost(2.0), 2.1), "missed");
        assert_eq!(verdict(Target::AtLeast(2.0), 1.9), "missed");
        assert_eq!(Figure::skipped("", "", Target::Any, "no").verdict(), "skipped");
    }
}
