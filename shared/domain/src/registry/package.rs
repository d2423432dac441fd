//! The name of a package of npm or `PyPI` with the version that is wanted.

/// What follows a package's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly this version.
    Exactly(String),
    /// Whatever is newest when it is resolved: not pinned.
    Newest,
}

/// Why a text names no package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPackage {
    /// The name is none that the index allows.
    #[error("is not the name of a package")]
    Name,
    /// A range, a tag, a URL or a path.
    #[error("must name one exact version, as in name@1.2.3")]
    Version,
}

/// Splits `@scope/name@1.2.3`, as `npx` takes it. Ranges, URLs, paths and aliases are refused.
pub fn npm(text: &str) -> Result<(String, Wanted), NotAPackage> {
    let split = text.char_indices().skip(1).find(|(_, c)| *c == '@').map(|(at, _)| at);
    let (name, version) = split.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.chars().all(|c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
            })
    };
    let fits = match name.strip_prefix('@') {
        Some(scoped) => {
            scoped.split_once('/').is_some_and(|(scope, name)| part(scope) && part(name))
        }
        None => part(name),
    };
    if !fits || name.len() > 214 {
        return Err(NotAPackage::Name);
    }
    Ok((name.to_owned(), wanted(version)?))
}

/// Splits `name==1.2.3` or `name@1.2.3`, as `uvx` takes it. Ranges, extras and URLs are refused.
pub fn pypi(text: &str) -> Result<(String, Wanted), NotAPackage> {
    let split = text.split_once("==").or_else(|| text.split_once('@'));
    let (name, version) = split.map_or((text, None), |(name, version)| (name, Some(version)));
    let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !fits || name.len() > 128 {
        return Err(NotAPackage::Name);
    }
    // One spelling of a name (PEP 503), so that one package is one thing.
    let mut spelled = String::with_capacity(name.len());
    for c in name.to_ascii_lowercase().replace(['.', '_'], "-").chars() {
        if c != '-' || !spelled.ends_with('-') {
            spelled.push(c);
        }
    }
    Ok((spelled, wanted(version)?))
}

fn wanted(version: Option<&str>) -> Result<Wanted, NotAPackage> {
    match version {
        None | Some("latest") => Ok(Wanted::Newest),
        Some(version) if is_exact(version) => Ok(Wanted::Exactly(version.to_owned())),
        Some(_) => Err(NotAPackage::Version),
    }
}

/// Whether it is a version and no range: begins with a number, has a dot, and holds no operator.
pub fn is_exact(version: &str) -> bool {
    version.len() <= 64
        && version.starts_with(|c: char| c.is_ascii_digit())
        && version.contains('.')
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'))
        && !version.split('.').any(|part| part.is_empty() || part == "x" || part == "X")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_pinned_or_says_that_it_is_not() {
        let exact = |version: &str| Wanted::Exactly(version.to_owned());
        assert_eq!(npm("opencode-ai@1.18.33"), Ok(("opencode-ai".into(), exact("1.18.33"))));
        assert_eq!(npm("@a/b@1.0.0-rc.1"), Ok(("@a/b".into(), exact("1.0.0-rc.1"))));
        assert_eq!(npm("@a/b"), Ok(("@a/b".into(), Wanted::Newest)));
        assert_eq!(npm("a@latest"), Ok(("a".into(), Wanted::Newest)));
        for range in
            ["a@^1.0.0", "a@1.x", "a@>=1.0.0", "a@1", "a@next", "a@npm:b@1.0.0", "a@http://x/y"]
        {
            assert_eq!(npm(range), Err(NotAPackage::Version), "{range}");
        }
        for bad in [
            "",
            "@",
            "@a",
            "../x",
            "a b",
            "A",
            "-rf",
            "--registry=x",
            "git+ssh://x",
            "/etc",
            "@a/../b",
        ] {
            assert_eq!(npm(bad), Err(NotAPackage::Name), "{bad}");
        }
        assert_eq!(pypi("Kimi_CLI==1.52.0"), Ok(("kimi-cli".into(), exact("1.52.0"))));
        assert_eq!(pypi("fast-agent-mcp@0.2.36"), Ok(("fast-agent-mcp".into(), exact("0.2.36"))));
        assert_eq!(pypi("a==1.*"), Err(NotAPackage::Version));
        for bad in ["", "-e .", "a[extra]==1.0.0", "a; x", "--index-url=x"] {
            assert_eq!(pypi(bad), Err(NotAPackage::Name), "{bad}");
        }
    }
}
