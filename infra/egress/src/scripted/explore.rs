//! The script, written as if each tool answered at once. It is run again from its beginning for
//! every message; the first call without a result in the conversation ends it there and is asked
//! for.

use serde_json::Value;

use super::arguments::{Role, arguments};
use super::conversation::{Conversation, Outcome};
use super::findings::{self, Code, Files, Findings, Missing};
use super::{Call, Reply, report};

/// Where the report is written: in the workspace.
const REPORT: &str = "report.md";

/// How many central files are read.
const CENTRAL: usize = 2;

const WHAT_I_AM: &str = "I am Reeve's scripted demo model: a program, not a language model.";

/// The last text of the turn, or what is said and asked for before it.
pub(super) fn explore(conversation: &Conversation) -> Result<String, Reply> {
    let talk = Talk { conversation };
    let Some(root) = findings::repository(&conversation.prompt()) else {
        return Ok(format!(
            "{WHAT_I_AM} I cannot answer this. What I can do is explore a repository with the \
             tools I am offered and write a report about it: name its path in a prompt, as in \
             \"Explore /repositories/checkout\". For answers, set up a provider: start Reeve with \
             `ANTHROPIC_API_KEY` or `OPENAI_API_KEY` set."
        ));
    };
    let mut seen = Findings::new(&root);
    if let Err(reason) = look_around(&talk, &mut seen)? {
        return Ok(format!(
            "{WHAT_I_AM} I could not see what is in `{root}`, so there is no report. {reason}."
        ));
    }
    files(&talk, &mut seen)?;
    read_about(&talk, &mut seen)?;
    history(&talk, &mut seen)?;
    entry_points(&talk, &mut seen)?;
    central_files(&talk, &mut seen)?;
    let report = report::report(&seen);
    let say = format!("That is enough to say something. I am writing it down in {REPORT}. ");
    let written =
        talk.call("report", &say, "write_file", &[(Role::Path, REPORT), (Role::Content, &report)])?;
    let summary = report::summary(&seen);
    Ok(match written {
        Ok(_) => format!("{summary} The report is in `{REPORT}`. {WHAT_I_AM}"),
        Err(reason) => {
            format!(
                "I could not write `{REPORT}`: {reason}. Here it is.\n\n{report}\n\n{WHAT_I_AM}"
            )
        }
    })
}

/// What else a tool is called by agents that are not ours.
fn names(name: &'static str) -> &'static [&'static str] {
    match name {
        "list_files" => &["list_files", "list"],
        "read_file" => &["read_file", "read"],
        "search" => &["search", "grep"],
        "shell" => &["shell", "bash"],
        "write_file" => &["write_file", "write"],
        _ => &[],
    }
}

/// A conversation as the script sees it: calls that have results or are asked for now.
struct Talk<'a> {
    conversation: &'a Conversation,
}

impl Talk<'_> {
    /// What the call that is `step` gave, or why it gave nothing. It is asked for, with the words
    /// `say`, if it has not been made.
    fn call(
        &self,
        step: &str,
        say: &str,
        name: &'static str,
        values: &[(Role, &str)],
    ) -> Result<Result<String, String>, Reply> {
        let offered = names(name).iter().find_map(|name| self.conversation.tool(name));
        let Some(tool) = offered else {
            return Ok(Err(format!("There is no tool `{name}`")));
        };
        let Some(Outcome { text, failed }) = self.conversation.outcome(step) else {
            let input: Value = arguments(tool, values);
            let (id, name) = (self.conversation.call_id(step), tool.name.clone());
            let call = Call { id, name, input };
            return Err(Reply { text: say.to_owned(), call: Some(call) });
        };
        Ok(if failed { Err(findings::reason(&text)) } else { Ok(text) })
    }

    fn shell(
        &self,
        step: &str,
        say: &str,
        root: &str,
        command: &str,
    ) -> Result<Result<String, String>, Reply> {
        let command = format!("cd {} && {command}", quoted(root));
        self.call(step, say, "shell", &[(Role::Command, &command)])
    }

    fn read(
        &self,
        step: &str,
        say: &str,
        root: &str,
        file: &str,
    ) -> Result<Result<String, String>, Reply> {
        let path = format!("{}/{file}", root.trim_end_matches('/'));
        self.call(step, say, "read_file", &[(Role::Path, &path)])
    }
}

fn look_around(talk: &Talk<'_>, seen: &mut Findings) -> Result<Result<(), String>, Reply> {
    let say = format!("I start with what is at the top of {}. ", seen.root);
    let listed = talk.call("top", &say, "list_files", &[(Role::Path, &seen.root)])?;
    let listed = match listed {
        Ok(text) => Ok(text),
        Err(first) => {
            let say = format!("That did not work ({first}). I try it with the shell. ");
            talk.shell("top-shell", &say, &seen.root, "ls -1Ap")?.map_err(|_| first)
        }
    };
    let top = listed.map(|text| findings::entries(&text, &seen.root));
    Ok(match top {
        Ok(top) if top.is_empty() => Err("There is nothing in it".to_owned()),
        top => top.map(|top| seen.top = top),
    })
}

fn files(talk: &Talk<'_>, seen: &mut Findings) -> Result<(), Reply> {
    const COUNT: &str = "{ export LC_ALL=C; \
        f=$(git -c safe.directory='*' ls-files 2>/dev/null); \
        [ -n \"$f\" ] || f=$(find . -type f -not -path '*/.git/*' -not -path '*/node_modules/*' \
        -not -path '*/target/*' | sed 's|^\\./||'); \
        printf '%s\\n' \"$f\" | grep -c . | sed 's/^/files /'; \
        printf '%s\\n' \"$f\" | sed 's|/.*|/|' | sort -u | head -n 100 | sed 's/^/top /'; \
        printf '%s\\n' \"$f\" | tr '\\n' '\\0' | xargs -0 cat 2>/dev/null | wc -l | sed 's/^ */lines /'; \
        printf '%s\\n' \"$f\" | sed -n 's|.*[^/]\\.\\([A-Za-z0-9_]*\\)$|\\1|p' | sort | uniq -c \
        | sort -k1,1nr -k2 | head -n 10 | sed 's/^ */ext /'; }";
    let say = format!("There is {} among others. I count the files. ", seen.top[0]);
    match talk.shell("files", &say, &seen.root, COUNT)? {
        Ok(text) => match Files::parse(&text) {
            Some(files) => {
                if !files.top.is_empty() {
                    seen.top.clone_from(&files.top);
                }
                seen.files = Some(files);
            }
            None => seen.missing("the number of files", &findings::reason(&text)),
        },
        Err(reason) => seen.missing("the number of files", &reason),
    }
    Ok(())
}

fn read_about(talk: &Talk<'_>, seen: &mut Findings) -> Result<(), Reply> {
    let Some(name) = findings::readme(&seen.top) else {
        seen.missing("a README", "There is none at the top");
        return Ok(());
    };
    let say = match &seen.files {
        Some(files) => format!("{} files, {}. ", files.count, files.mostly()),
        None => "I could not count them. ".to_owned(),
    };
    let say = format!("{say}{name} may say what this is. ");
    match talk.read("readme", &say, &seen.root, &name)? {
        Ok(text) => seen.about = Some(findings::about(&name, &text)),
        Err(reason) => seen.missing(&format!("`{name}`"), &reason),
    }
    Ok(())
}

fn history(talk: &Talk<'_>, seen: &mut Findings) -> Result<(), Reply> {
    const LOG: &str = "git -c safe.directory='*' log --oneline --no-decorate -n 20";
    let say = match seen.about.as_ref().and_then(|about| about.paragraph.as_deref()) {
        Some(paragraph) => format!("It says: \"{paragraph}\" Now what happened lately. "),
        None => "It does not say much about itself. Now what happened lately. ".to_owned(),
    };
    match talk.shell("history", &say, &seen.root, LOG)? {
        Ok(text) => {
            seen.commits = findings::commits(&text);
            if seen.commits.is_empty() {
                seen.missing("the history", &findings::reason(&text));
            }
        }
        Err(reason) => seen.missing("the history", &reason),
    }
    Ok(())
}

fn entry_points(talk: &Talk<'_>, seen: &mut Findings) -> Result<(), Reply> {
    const MAIN: &str = r#"^\s*[a-z ]*\b(fn|func|def|int|void) main\(|^\s*"main":|^if __name__ =="#;
    let say = match seen.commits.as_slice() {
        [] => "I see no history here. Where does it start? ".to_owned(),
        [last, ..] => format!("The last change is \"{}\". Where does it start? ", last.subject),
    };
    let values = [(Role::Pattern, MAIN), (Role::Path, seen.root.as_str())];
    match talk.call("entry-points", &say, "search", &values)? {
        Ok(text) => seen.entry_points = findings::hits(&text, &seen.root),
        Err(reason) => seen.missing("entry points", &reason),
    }
    Ok(())
}

fn central_files(talk: &Talk<'_>, seen: &mut Findings) -> Result<(), Reply> {
    let mut say = match seen.entry_points.as_slice() {
        [] => "Nothing in it looks like an entry point. ".to_owned(),
        [only] => format!("One place looks like an entry point: {}. ", only.file),
        [first, rest @ ..] => {
            format!("{} and {} more look like entry points. ", first.file, rest.len())
        }
    };
    let manifest = findings::manifest(&seen.top);
    let entry = seen.entry_points.first().map(|hit| hit.file.clone());
    let central: Vec<String> = manifest.into_iter().chain(entry).take(CENTRAL).collect();
    for (n, file) in central.into_iter().enumerate() {
        say = format!("{say}I read {file}. ");
        match talk.read(&format!("central-{n}"), &say, &seen.root, &file)? {
            Ok(text) => {
                let code = Code::parse(&file, &text);
                say = format!("{} lines. ", code.lines);
                seen.central.push(code);
            }
            Err(reason) => {
                say = format!("That did not work: {reason}. ");
                seen.missing(&format!("`{file}`"), &reason);
            }
        }
    }
    Ok(())
}

impl Findings {
    fn missing(&mut self, what: &str, reason: &str) {
        self.missing.push(Missing { what: what.to_owned(), reason: reason.to_owned() });
    }
}

/// `text` as one word of a shell command.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
