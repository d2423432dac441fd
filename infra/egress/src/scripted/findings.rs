//! What the tools' results say, read out of text whose exact form is the tools' business.

/// Everything seen of a repository.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) root: String,
    /// What is at the top; directories end in a slash.
    pub(super) top: Vec<String>,
    pub(super) about: Option<About>,
    /// The last first.
    pub(super) commits: Vec<Commit>,
    pub(super) files: Option<Files>,
    /// The likeliest first.
    pub(super) entry_points: Vec<Hit>,
    pub(super) central: Vec<Code>,
    pub(super) missing: Vec<Missing>,
}

impl Findings {
    pub(super) fn new(root: &str) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// What to call it.
    pub(super) fn name(&self) -> &str {
        let last = self.root.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if matches!(last, "" | "." | "..") { "The workspace" } else { last }
    }
}

/// What could not be seen, and why.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) what: String,
    pub(super) reason: String,
}

/// The path of the repository that a prompt is about. Without one it may speak of the workspace.
pub(super) fn repository(prompt: &str) -> Option<String> {
    let marks: &[char] = &['"', '\'', '`', '(', ')', '[', ']', '<', '>', ',', ';', ':', '!', '?'];
    let path = prompt
        .split(|c: char| c.is_whitespace() || marks.contains(&c))
        .map(|word| word.trim_end_matches(['.', '/']))
        .find(|word| word.len() > 1 && (word.starts_with('/') || word.starts_with("./")));
    let speaks_of_one = || {
        let prompt = prompt.to_lowercase();
        ["repository", "codebase", "code base"].iter().any(|word| prompt.contains(word))
    };
    path.map(str::to_owned).or_else(|| speaks_of_one().then(|| ".".to_owned()))
}

/// The names at the top of a listing of `root`, whether it goes deeper or not. What is not below
/// `root` is no name, where the listing has whole paths: it may be cut in the middle.
pub(super) fn entries(listing: &str, root: &str) -> Vec<String> {
    let inside = |line: &&str| line.starts_with(root) && line.len() > root.len() + 1;
    let lines: Vec<&str> = listing.lines().map(str::trim).collect();
    let whole_paths = lines.iter().any(inside);
    let mut entries: Vec<String> = Vec::new();
    for line in lines {
        let is_name = if whole_paths {
            inside(&line)
        } else {
            !line.is_empty() && !line.starts_with('[') && !line.ends_with([':', '.'])
        };
        if !is_name {
            continue;
        }
        let name = within(line, root);
        let entry = match name.split_once('/') {
            Some((directory, _)) => format!("{directory}/"),
            None => name.to_owned(),
        };
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    entries
}

/// The file that says what a repository is: its README, else its first file of text.
pub(super) fn readme(top: &[String]) -> Option<String> {
    let is = |suffixes: &[&str], name: &str| suffixes.iter().any(|end| name.ends_with(end));
    let readme = top.iter().filter(|name| name.to_lowercase().starts_with("readme"));
    let texts = top.iter().filter(|name| is(&[".md", ".txt", ".rst", ".adoc"], name));
    readme.chain(texts).find(|name| !name.ends_with('/')).cloned()
}

/// The file that says how a repository is built.
pub(super) fn manifest(top: &[String]) -> Option<String> {
    const KNOWN: [&str; 12] = [
        "Cargo.toml",
        "package.json",
        "pyproject.toml",
        "go.mod",
        "pom.xml",
        "build.gradle.kts",
        "build.gradle",
        "setup.py",
        "CMakeLists.txt",
        "Gemfile",
        "mix.exs",
        "Makefile",
    ];
    KNOWN.iter().find(|name| top.iter().any(|entry| entry == *name)).map(|name| (*name).to_owned())
}

/// What a repository says about itself.
#[derive(Debug)]
pub(super) struct About {
    pub(super) file: String,
    pub(super) title: Option<String>,
    pub(super) paragraph: Option<String>,
    pub(super) sections: Vec<String>,
}

/// The title, the first paragraph and the sections of `text`.
pub(super) fn about(file: &str, text: &str) -> About {
    let heading = |line: &str| {
        let rest = line.trim_start_matches('#');
        (line.starts_with('#') && rest.starts_with(' ')).then(|| one_line(rest))
    };
    let mut headings = text.lines().filter_map(heading);
    let title = headings.next();
    let paragraph = text.split("\n\n").map(str::trim).find_map(|block| {
        let lines = block.lines().map(str::trim).filter(|line| heading(line).is_none());
        let prose = one_line(&lines.collect::<Vec<_>>().join(" "));
        // What begins otherwise is a badge, a list, a quotation, a table or code.
        prose.starts_with(|c: char| c.is_alphanumeric() || "*_`".contains(c)).then_some(prose)
    });
    About { file: file.to_owned(), title, paragraph, sections: headings.take(12).collect() }
}

/// One commit.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) id: String,
    pub(super) subject: String,
}

/// The commits in what `git log --oneline` wrote.
pub(super) fn commits(log: &str) -> Vec<Commit> {
    let commit = |line: &str| {
        let (id, subject) = line.trim().split_once(' ')?;
        let is_id = (7..=40).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then(|| Commit { id: id.to_owned(), subject: one_line(subject) })
    };
    log.lines().filter_map(commit).collect()
}

/// How many files there are, and of what kinds.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) count: u64,
    pub(super) lines: Option<u64>,
    /// By the ends of their names, the most first.
    pub(super) kinds: Vec<(String, u64)>,
    /// What is at the top; directories end in a slash.
    pub(super) top: Vec<String>,
}

impl Files {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut count, mut lines, mut kinds, mut top) = (None, None, Vec::new(), Vec::new());
        for line in text.lines() {
            if let Some(entry) = line.strip_prefix("top ") {
                top.push(entry.to_owned());
                continue;
            }
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["files", n] => count = n.parse().ok(),
                ["lines", n] => lines = n.parse().ok(),
                ["ext", n, end] => kinds.extend(n.parse().ok().map(|n| ((*end).to_owned(), n))),
                _ => {}
            }
        }
        Some(Self { count: count?, lines, kinds, top })
    }

    /// What most of them are.
    pub(super) fn mostly(&self) -> String {
        match self.kinds.first() {
            Some((end, n)) => match language(end) {
                Some(language) => format!("{n} of them in {language}"),
                None => format!("{n} of them ending in `.{end}`"),
            },
            None => "of no kind that their names tell".to_owned(),
        }
    }
}

/// What files whose names end in `end` are written in, where that is known.
pub(super) fn language(end: &str) -> Option<&'static str> {
    Some(match end.to_lowercase().as_str() {
        "rs" => "Rust",
        "py" => "Python",
        "js" | "mjs" | "cjs" | "jsx" => "JavaScript",
        "ts" | "tsx" => "TypeScript",
        "go" => "Go",
        "java" => "Java",
        "kt" | "kts" => "Kotlin",
        "c" | "h" => "C",
        "cc" | "cpp" | "cxx" | "hpp" => "C++",
        "cs" => "C#",
        "rb" => "Ruby",
        "php" => "PHP",
        "swift" => "Swift",
        "sh" | "bash" => "Shell",
        "md" => "Markdown",
        "toml" => "TOML",
        "json" => "JSON",
        "yml" | "yaml" => "YAML",
        "html" => "HTML",
        "css" => "CSS",
        "sql" => "SQL",
        _ => return None,
    })
}

/// A line that a search found.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) text: String,
}

/// The hits in what a search wrote as `file:line:text`, entry points of the thing itself before
/// those of its tests and examples, and the ones near the top before the deep ones.
pub(super) fn hits(found: &str, root: &str) -> Vec<Hit> {
    let hit = |row: &str| {
        let (file, rest) = row.trim().split_once(':')?;
        let (line, text) = rest.split_once(':')?;
        let file = within(file, root).to_owned();
        Some(Hit { file, line: line.trim().parse().ok()?, text: one_line(text) })
    };
    let mut hits: Vec<Hit> = found.lines().filter_map(hit).collect();
    let aside = |file: &str| {
        let parts =
            ["test", "example", "bench", "vendor", "fixture", "docs/", "target/", "node_modules"];
        parts.iter().any(|part| file.contains(part))
    };
    let is_main =
        |file: &str| file.rsplit('/').next().is_some_and(|name| name.starts_with("main."));
    let rank = |hit: &Hit| {
        let file = hit.file.as_str();
        (aside(file), !is_main(file), file.matches('/').count(), file.to_owned(), hit.line)
    };
    hits.sort_by_cached_key(rank);
    hits
}

/// What is in one file.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) file: String,
    pub(super) lines: usize,
    /// The first sentence of the comment it begins with.
    pub(super) says: Option<String>,
    /// What it defines, or its sections.
    pub(super) items: Vec<String>,
}

impl Code {
    pub(super) fn parse(file: &str, text: &str) -> Self {
        const MOST: usize = 12;
        let mut items: Vec<String> = Vec::new();
        for item in text.lines().filter_map(item) {
            if items.len() < MOST && !items.contains(&item) {
                items.push(item);
            }
        }
        Self { file: file.to_owned(), lines: text.lines().count(), says: comment(text), items }
    }
}

fn comment(text: &str) -> Option<String> {
    const MARKS: [&str; 8] = ["//!", "///", "//", "/**", "/*", "*", "#", "\"\"\""];
    let lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty() || line.starts_with("#!") || line.starts_with("#["));
    let lines = lines.map_while(|line| {
        let mark = MARKS.iter().find(|mark| line.starts_with(**mark))?;
        Some(line[mark.len()..].trim().trim_end_matches("\"\"\"").trim_end_matches("*/").trim())
    });
    let words = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let sentence = words.split_inclusive(". ").next().unwrap_or_default();
    (!sentence.is_empty()).then(|| one_line(sentence))
}

/// What a line that is not indented defines.
fn item(line: &str) -> Option<String> {
    const MODIFIERS: [&str; 10] = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "async",
        "const",
        "unsafe",
        "export",
        "default",
        "public",
        "static",
    ];
    const KINDS: [&str; 12] = [
        "fn",
        "struct",
        "enum",
        "trait",
        "mod",
        "def",
        "class",
        "func",
        "function",
        "interface",
        "type",
        "module",
    ];
    if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let is_table = section.starts_with(|c: char| c.is_alphabetic());
        return is_table.then(|| format!("[{section}]"));
    }
    if line.starts_with(char::is_whitespace) {
        return None;
    }
    let mut words = line.split_whitespace().skip_while(|word| MODIFIERS.contains(word));
    let kind = words.next().filter(|word| KINDS.contains(word))?;
    let name: String =
        words.next()?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then(|| format!("{kind} {name}"))
}

/// The line of a failed tool's words that says why.
pub(super) fn reason(text: &str) -> String {
    let line = |wanted: fn(&str) -> bool| text.lines().map(str::trim).find(|line| wanted(line));
    let telling = line(|line| {
        let line = line.to_lowercase();
        ["fatal", "error", "not found", "no such", "denied"].iter().any(|word| line.contains(word))
    });
    let first = || line(|line| !line.is_empty() && !line.starts_with('['));
    let any = || line(|line| !line.is_empty());
    telling.or_else(first).or_else(any).map_or_else(
        || "It gave nothing".to_owned(),
        |line| one_line(line).trim_end_matches('.').to_owned(),
    )
}

fn within<'a>(path: &'a str, root: &str) -> &'a str {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.trim_start_matches("./").trim_start_matches('/')
}

/// `text` on one line, and not too long a one.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= LONGEST {
        return line;
    }
    format!("{}…", &line[..line.floor_char_boundary(LONGEST)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_by_its_path() {
        let named = |prompt: &str| repository(prompt).unwrap_or_default();
        assert_eq!(named("Explore /repositories/checkout, read-only."), "/repositories/checkout");
        assert_eq!(named("What is in `/srv/a b`?"), "/srv/a");
        assert_eq!(named("Look at (/srv/x/)."), "/srv/x");
        assert_eq!(named("What does this repository do?"), ".");
        assert_eq!(named("Write a poem, and/or a song."), "");
    }

    #[test]
    fn listings_of_several_forms_read_the_same() {
        for listing in [
            "README.md\nsrc/\n",
            "/r/x/README.md\n/r/x/src/main.rs\n/r/x/src/lib.rs\n",
            "/r/x/README.md\n/r/x/src/ma\n[120 bytes left out]\nx/sum.rs\n/r/x/src/lib.rs\n",
            "./README.md\n./src/\n[there are more]\n",
            "README.md\nsrc/main.rs\n",
        ] {
            assert_eq!(entries(listing, "/r/x"), ["README.md", "src/"], "{listing}");
        }
        assert!(entries("There are no files.", "/r/x").is_empty());
    }

    #[test]
    fn a_readme_is_read_past_its_badges() {
        let text = "# Tool\n[![ci](x)](y)\n\n> quoted\n\nTool does\none thing.\n\n## Use\n\nrun\n";
        let about = about("README.md", text);
        assert_eq!(about.title.as_deref(), Some("Tool"));
        assert_eq!(about.paragraph.as_deref(), Some("Tool does one thing."));
        assert_eq!(about.sections, ["Use"]);
    }

    #[test]
    fn a_reason_is_the_line_that_tells() {
        let text = "exit code: 128\nfatal: not a git repository.\n";
        assert_eq!(reason(text), "fatal: not a git repository");
        assert_eq!(reason("[stderr]\nsh: 1: broken\n[exit status: 2]"), "sh: 1: broken");
        assert_eq!(reason("\n[exit status: 1]"), "[exit status: 1]");
        assert_eq!(reason(" \n"), "It gave nothing");
    }

    #[test]
    fn the_main_entry_point_comes_first() {
        let found = "/r/tests/it/main.rs:1:fn main() {\n/r/shim/src/cli.rs:3:fn main() {\n\
                     /r/shim/src/main.rs:9:fn main() {\nno hit\n";
        let files: Vec<String> = hits(found, "/r").into_iter().map(|hit| hit.file).collect();
        assert_eq!(files, ["shim/src/main.rs", "shim/src/cli.rs", "tests/it/main.rs"]);
    }

    #[test]
    fn code_says_what_it_is() {
        let code =
            Code::parse("a.rs", "//! The tool. More.\n\npub(crate) async fn run() {}\nuse x;\n");
        assert_eq!(code.says.as_deref(), Some("The tool."));
        assert_eq!(code.items, ["fn run"]);
    }
}
