//! Reads Rust source far enough to know every path that it names.

/// A path as it stands in the source, made absolute: `crate::..`, or the name of a crate and what follows.
pub(super) struct Found {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
    /// Whether it stands in an inline module called `tests`.
    pub(super) is_in_tests: bool,
}

/// All paths in a source text, those of nested `use` groups one by one.
pub(super) fn paths_in(source: &str, module: &[String]) -> Vec<Found> {
    let tokens = tokens_of(source);
    let mut found = Vec::new();
    // Inline modules around the current token, each with the depth of braces at which it ends.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last().is_some_and(|(_, end)| *end == depth) {
                    inline.pop();
                }
            }
            "mod" if is_text(&tokens, at + 2, "{") => {
                inline.push((tokens[at + 1].text.clone(), depth));
                at += 1;
            }
            text if is_identifier(text) && !(at > 0 && matches!(tokens[at - 1].text.as_str(), "." | "::")) => {
                let mut here: Vec<String> = module.to_vec();
                here.extend(inline.iter().map(|(name, _)| name.clone()));
                let line = tokens[at].line;
                let is_in_tests = here.iter().any(|name| name == "tests");
                let mut paths = Vec::new();
                at = read_path(&tokens, at, &[], &mut paths);
                found.extend(paths.into_iter().map(|path| Found {
                    line,
                    segments: absolute(path, &here),
                    is_in_tests,
                }));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads a path that starts at `at`, with its group if it has one, and returns where it ends.
fn read_path(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        if is_text(tokens, at, "{") {
            at += 1;
            while at < tokens.len() && !is_text(tokens, at, "}") {
                let before = at;
                at = read_path(tokens, at, &path, paths);
                if is_text(tokens, at, "as") {
                    at += 2;
                }
                if is_text(tokens, at, ",") || at == before {
                    at += 1;
                }
            }
            return at + 1;
        }
        let Some(token) = tokens.get(at) else { break };
        if !is_identifier(&token.text) && token.text != "*" {
            break;
        }
        if token.text != "self" || path.is_empty() {
            path.push(token.text.clone());
        }
        at += 1;
        if !is_text(tokens, at, "::") {
            break;
        }
        at += 1;
    }
    if !path.is_empty() {
        paths.push(path);
    }
    at
}

/// Resolves `self` and `super`.
fn absolute(path: Vec<String>, here: &[String]) -> Vec<String> {
    if !matches!(path[0].as_str(), "self" | "super") {
        return path;
    }
    let mut base = here.to_vec();
    let mut segments = path.into_iter().peekable();
    segments.next_if(|segment| segment == "self");
    while segments.next_if(|segment| segment == "super").is_some() {
        base.pop();
    }
    ["crate".to_owned()].into_iter().chain(base).chain(segments).collect()
}

fn is_text(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

struct Token {
    line: usize,
    text: String,
}

/// Identifiers, `::` and single characters, without comments, strings, characters and lifetimes.
fn tokens_of(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = skipped_length(rest).unwrap_or(0);
        if length > 0 {
            line += rest[..length].matches('\n').count();
            rest = &rest[length..];
            continue;
        }
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            tokens.push(Token { line, text: rest[..length].to_owned() });
        }
        rest = &rest[length..];
    }
    tokens
}

/// The length of a comment, string, character or lifetime at the start of a text.
fn skipped_length(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment_length(text));
    }
    let unprefixed = text.strip_prefix('b').unwrap_or(text);
    let prefix = text.len() - unprefixed.len();
    if let Some(after) = unprefixed.strip_prefix('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = hashes + 1;
            let body = after[start..].find(&end).map_or(after.len(), |at| start + at + end.len());
            return Some(prefix + 1 + body);
        }
    }
    if unprefixed.starts_with('"') {
        return Some(prefix + quoted_length(unprefixed, '"'));
    }
    if let Some(after) = unprefixed.strip_prefix('\'') {
        let mut chars = after.chars();
        let first = chars.next()?;
        if first == '\\' || chars.next() == Some('\'') {
            return Some(prefix + quoted_length(unprefixed, '\''));
        }
        return (prefix == 0)
            .then(|| 1 + after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len()));
    }
    None
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}
