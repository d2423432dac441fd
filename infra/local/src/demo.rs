//! `reeve up --demo`: an agent reads a repository and writes a report about it, through the use
//! cases that everybody else uses, told on the terminal as it happens.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use app::events::Told;
use app::{App, Caller, Error};
use domain::agent::Driver;
use domain::event::RUN_STATE;
use domain::output::Output;
use domain::text::Prompt;
use domain::{RunId, SessionId};
use futures::StreamExt;
use serde_json::{Value, json};
use wire::session::NewPrompt;

/// The name under which the demo's repository is offered.
const CHECKOUT: &str = "checkout";

/// Offers the checkout that this process was started in, unless another was named so.
pub(crate) fn offer_checkout(repositories: &mut BTreeMap<String, PathBuf>) {
    let Ok(here) = std::env::current_dir() else { return };
    let top = here.ancestors().find(|directory| directory.join(".git").exists());
    repositories.entry(CHECKOUT.to_owned()).or_insert_with(|| top.unwrap_or(&here).to_owned());
}

/// Says which models agents find.
pub(crate) fn models(egress: &egress::Config) -> String {
    let providers: Vec<_> = egress
        .providers
        .iter()
        .map(|provider| format!("{} at {}", provider.api.owner(), provider.base_url))
        .collect();
    if !providers.is_empty() {
        return providers.join(", ");
    }
    if egress.scripted {
        "a small scripted one inside Reeve, because neither ANTHROPIC_API_KEY nor OPENAI_API_KEY is set"
    } else {
        "none: set ANTHROPIC_API_KEY or OPENAI_API_KEY"
    }
    .to_owned()
}

/// Runs the demo and says how it ended. The system stays up.
pub(crate) async fn run(
    app: App,
    url: String,
    api_key: String,
    data: PathBuf,
    models: String,
    quiet: bool,
) {
    let mut screen = Screen { quiet };
    if let Err(error) = show(&app, &url, &api_key, &data, &models, &mut screen).await {
        screen.line(&format!("\nThe demo could not run: {error}"));
    }
}

async fn show(
    app: &App,
    url: &str,
    api_key: &str,
    data: &Path,
    models: &str,
    screen: &mut Screen,
) -> Result<(), Error> {
    let caller = app.authenticate(Some(api_key)).await?;
    let (agent, session, run) = ask(app, &caller).await?;
    screen.line(&format!("The model: {models}."));
    screen.line(&format!("Watch it at {url}/#key={api_key}&session={session}\n"));
    let mut told = app.events().follow(&caller, session, 0).await?;
    while let Some(told) = told.next().await {
        let ended = match told? {
            Told::Live(live) => {
                let data: Value = serde_json::from_str(live.data.get()).unwrap_or_default();
                screen.piece(data["text"].as_str().unwrap_or_default());
                false
            }
            Told::Event(event) => {
                let data: Value = serde_json::from_str(event.data.get()).unwrap_or_default();
                screen.event(&event.kind, &data);
                let state = data["state"].as_str().unwrap_or_default();
                event.kind == RUN_STATE
                    && event.run_id == Some(run)
                    && matches!(state, "completed" | "failed" | "cancelled")
            }
        };
        if ended {
            break;
        }
    }
    let report = data.join("agents").join(agent).join("workspace/report.md");
    if report.exists() {
        screen.line(&format!("\nThe report: {}", report.display()));
    }
    screen.line("Reeve stays up. Prompt the agent in the console, or stop with Ctrl-C.");
    Ok(())
}

async fn ask(app: &App, caller: &Caller) -> Result<(String, SessionId, RunId), Error> {
    let new = json!({
        "name": "Demo",
        "driver": Driver::Vanilla,
        "repositories": [CHECKOUT],
        "labels": { "demo": "true" },
    });
    let new = serde_json::from_value(new).map_err(|_| Error::Bug("the demo's agent"))?;
    let agent = app.agents().create(caller, new).await?;
    let new = json!({ "agentId": agent.id, "title": "A report about this repository" });
    let new = serde_json::from_value(new).map_err(|_| Error::Bug("the demo's session"))?;
    let session = app.sessions().create(caller, new).await?;
    let prompt = format!(
        "There is a git repository at /repositories/{CHECKOUT}, read-only. Explore it with your tools: \
         what is it for, how is it built, where does one start reading, what happened lately? Then \
         write a report of about a page, in Markdown, to report.md in your workspace, and end with a \
         summary in three sentences.",
    );
    let prompt = Prompt::new(prompt).map_err(|_| Error::Bug("the demo's prompt"))?;
    let run = app
        .sessions()
        .prompt(
            caller,
            session.id,
            NewPrompt { prompt, run_id: None, output: Output::Text, effort: None },
        )
        .await?;
    Ok((agent.id.to_string(), session.id, run.id))
}

/// The terminal. With `--json` nothing but the one line goes to standard output, so the demo is
/// told on standard error.
struct Screen {
    quiet: bool,
}

impl Screen {
    fn put(&mut self, text: &str) {
        // A terminal that is gone is no reason to stop.
        drop(if self.quiet {
            io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        });
    }

    fn line(&mut self, text: &str) {
        self.put(&format!("{text}\n"));
    }

    fn piece(&mut self, text: &str) {
        self.put(&visible(text));
    }

    fn event(&mut self, kind: &str, data: &Value) {
        match kind {
            "tool_call" => {
                let title = visible(data["title"].as_str().unwrap_or_default());
                self.put(&format!("\n  > {title}\n"));
            }
            RUN_STATE => {
                let state = data["state"].as_str().unwrap_or_default();
                let detail = data["detail"].as_str().map(visible).unwrap_or_default();
                self.put(&format!("\n[{state}] {detail}\n"));
            }
            _ => {}
        }
    }
}

/// An agent's words may not steer the terminal.
fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
