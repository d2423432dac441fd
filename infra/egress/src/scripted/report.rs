//! The report and the summary: what was found, in Markdown.

use super::findings::{Findings, Hit, language};

/// The report.
pub(super) fn report(seen: &Findings) -> String {
    let sections = [
        about(seen),
        contents(seen),
        history(seen),
        entry_points(seen),
        central(seen),
        missing(seen),
    ];
    let mut text = format!("# {}: a first look\n\n", seen.name());
    for section in sections.into_iter().filter(|section| !section.is_empty()) {
        text.push_str(&section);
        text.push('\n');
    }
    text.push_str(
        "---\n\nWritten by Reeve's scripted demo model, a program and no language model. All of the \
         above is from the results of the tools it called.\n",
    );
    text
}

/// What the report comes to, in three sentences at most.
pub(super) fn summary(seen: &Findings) -> String {
    let says = seen.about.as_ref().and_then(|about| about.paragraph.as_deref());
    let what = match says.map(|says| says.split_inclusive(". ").next().unwrap_or(says).trim()) {
        Some(says) => format!("{} says of itself: \"{says}\"", seen.name()),
        None => format!("{} does not say what it is.", seen.name()),
    };
    let size = match &seen.files {
        Some(files) => format!("It has {} files, {}", files.count, files.mostly()),
        None => format!("It has {} entries at its top", seen.top.len()),
    };
    let start = match seen.entry_points.first() {
        Some(Hit { file, .. }) => format!("one starts reading at `{file}`"),
        None => "no entry point was found".to_owned(),
    };
    let lately = match seen.commits.first() {
        Some(last) => format!("The last change is \"{}\".", last.subject),
        None => "Its history could not be seen.".to_owned(),
    };
    format!("{what} {size}; {start}. {lately}")
}

fn about(seen: &Findings) -> String {
    let Some(about) = &seen.about else { return String::new() };
    let mut text = "## What it says about itself\n\n".to_owned();
    let title = about.title.as_deref().map(|title| format!(" (\"{title}\")")).unwrap_or_default();
    match &about.paragraph {
        Some(paragraph) => {
            line(&mut text, &format!("> {paragraph}"));
            line(&mut text, &format!("\nThat is how `{}`{title} begins.", about.file));
        }
        None => line(&mut text, &format!("`{}`{title} begins with no paragraph.", about.file)),
    }
    if !about.sections.is_empty() {
        line(&mut text, &format!("Its sections: {}.", about.sections.join("; ")));
    }
    text
}

fn contents(seen: &Findings) -> String {
    let mut text = "## What is in it\n\n".to_owned();
    if let Some(files) = &seen.files {
        let lines = files.lines.map(|lines| format!(" with {lines} lines")).unwrap_or_default();
        line(&mut text, &format!("{} files{lines}, {}.\n", files.count, files.mostly()));
        if !files.kinds.is_empty() {
            line(&mut text, "| Files ending in | Written in | Number |\n|---|---|---:|");
            for (end, count) in &files.kinds {
                line(
                    &mut text,
                    &format!("| `.{end}` | {} | {count} |", language(end).unwrap_or("?")),
                );
            }
            text.push('\n');
        }
    }
    let (directories, plain): (Vec<&String>, Vec<&String>) =
        seen.top.iter().partition(|entry| entry.ends_with('/'));
    for (what, entries) in [("Directories", directories), ("Files", plain)] {
        if !entries.is_empty() {
            let entries: Vec<String> = entries.iter().map(|entry| format!("`{entry}`")).collect();
            line(&mut text, &format!("{what} at the top: {}.", entries.join(", ")));
        }
    }
    text
}

fn history(seen: &Findings) -> String {
    if seen.commits.is_empty() {
        return String::new();
    }
    let mut text = "## What happened lately\n\n".to_owned();
    for commit in &seen.commits {
        line(&mut text, &format!("- `{}` {}", commit.id, commit.subject));
    }
    text
}

fn entry_points(seen: &Findings) -> String {
    const MOST: usize = 10;
    if seen.entry_points.is_empty() {
        return String::new();
    }
    let mut text = "## Where it starts\n\n".to_owned();
    for Hit { file, line: number, text: code } in seen.entry_points.iter().take(MOST) {
        line(&mut text, &format!("- `{file}:{number}`: `{}`", code.replace('`', "'")));
    }
    if let Some(more @ 1..) = seen.entry_points.len().checked_sub(MOST) {
        line(&mut text, &format!("- and {more} more"));
    }
    text
}

fn central(seen: &Findings) -> String {
    let mut text = String::new();
    for code in &seen.central {
        if text.is_empty() {
            text.push_str("## Where to read on\n\n");
        }
        let says = code.says.as_deref().map(|says| format!(" \"{says}\"")).unwrap_or_default();
        line(&mut text, &format!("- `{}`, {} lines.{says}", code.file, code.lines));
        if !code.items.is_empty() {
            let items: Vec<String> = code.items.iter().map(|item| format!("`{item}`")).collect();
            line(&mut text, &format!("  In it: {}.", items.join(", ")));
        }
    }
    text
}

fn missing(seen: &Findings) -> String {
    if seen.missing.is_empty() {
        return String::new();
    }
    let mut text = "## What could not be seen\n\n".to_owned();
    for missing in &seen.missing {
        line(&mut text, &format!("- {}: {}.", missing.what, missing.reason));
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
