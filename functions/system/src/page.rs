//! The OpenAPI document as one HTML page: no script, nothing loaded.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

const STYLE: &str = "
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:13px/1.5 ui-monospace,monospace}
h2{margin-top:2.5rem;border-bottom:1px solid #8884}
details{border:1px solid #8884;border-radius:6px;margin:.5rem 0;padding:.5rem .75rem}
summary{cursor:pointer}
summary b{display:inline-block;width:4.5rem;text-transform:uppercase;font-size:12px}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{text-align:left;vertical-align:top;padding:.25rem .5rem;border-top:1px solid #8884}
td:first-child{white-space:nowrap}
@media(max-width:40rem){td:first-child{white-space:normal;word-break:break-word}}
";

/// Renders `document`.
pub(crate) fn render(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let mut out = String::from("<!doctype html><html lang=en><meta charset=utf-8>");
    out.push_str("<meta name=viewport content=\"width=device-width\">");
    let title = text(&document["info"]["title"]);
    let _ = write!(out, "<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>");
    let _ = write!(out, "<p>{}</p>", text(&document["info"]["description"]));
    out.push_str("<p>The document itself: <a href=openapi.json>openapi.json</a></p>");
    let mut areas = BTreeMap::<&str, Vec<_>>::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (verb, operation) in item.as_object().into_iter().flatten() {
            let area = operation["tags"][0].as_str().unwrap_or_default();
            areas.entry(area).or_default().push((path, verb, operation));
        }
    }
    for (area, operations) in areas {
        let _ = write!(out, "<h2>{}</h2>", escape(area));
        for (path, verb, operation) in operations {
            operation_details(&mut out, path, verb, operation);
        }
    }
    out.push_str("<h2>Schemas</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let name = escape(name);
        let _ = write!(
            out,
            "<details id=\"{name}\"><summary><code>{name}</code> {}</summary>",
            text(&schema["description"])
        );
        if let Some(properties) = schema["properties"].as_object() {
            out.push_str("<table>");
            for (field, schema) in properties {
                row(&mut out, &escape(field), &kind(schema), &text(&schema["description"]));
            }
            out.push_str("</table>");
        } else {
            let shown = serde_json::to_string_pretty(schema).unwrap_or_default();
            let _ = write!(out, "<pre>{}</pre>", escape(&shown));
        }
        out.push_str("</details>");
    }
    out
}

fn operation_details(out: &mut String, path: &str, verb: &str, operation: &Value) {
    let (path, verb) = (escape(path), escape(verb));
    let _ = write!(
        out,
        "<details><summary><b>{verb}</b> <code>{path}</code> {}</summary><p>Access: <code>{}</code></p><table>",
        text(&operation["summary"]),
        text(&operation["x-access"]),
    );
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name =
            format!("{} <small>({})</small>", text(&parameter["name"]), text(&parameter["in"]));
        row(out, &name, &kind(&parameter["schema"]), &text(&parameter["description"]));
    }
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        for media in content.values() {
            row(
                out,
                "body",
                &kind(&media["schema"]),
                &text(&operation["requestBody"]["description"]),
            );
        }
    }
    for (status, reply) in operation["responses"].as_object().into_iter().flatten() {
        let kinds: Vec<_> = reply["content"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(form, media)| {
                format!("{} <small>{}</small>", kind(&media["schema"]), escape(form))
            })
            .collect();
        row(out, &escape(status), &kinds.join("<br>"), &text(&reply["description"]));
    }
    out.push_str("</table></details>");
}

fn row(out: &mut String, name: &str, kind: &str, description: &str) {
    let _ = write!(out, "<tr><td>{name}</td><td>{kind}</td><td>{description}</td></tr>");
}

/// What a schema is, in a word or a link.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = escape(reference.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" | ");
    }
    if schema["type"] == "array" {
        return format!("[{}]", kind(&schema["items"]));
    }
    match schema["type"].as_array() {
        Some(types) => types.iter().map(text).collect::<Vec<_>>().join(" | "),
        None => text(&schema["type"]),
    }
}

/// Text of the document, with what stands between backticks as code.
fn text(value: &Value) -> String {
    let parts = value.as_str().unwrap_or_default().split('`');
    parts.enumerate().fold(String::new(), |mut out, (at, part)| {
        let part = escape(part);
        let _ =
            if at % 2 == 1 { write!(out, "<code>{part}</code>") } else { write!(out, "{part}") };
        out
    })
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_of_the_document_becomes_markup() {
        let document = r#"{"info":{"title":"<b>&\"","description":""},"paths":{}}"#;
        assert!(super::render(document).contains("<h1>&lt;b&gt;&amp;&quot;</h1>"));
    }
}
