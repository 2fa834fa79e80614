//! Settings from a file `.env`: what the environment does not set already.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The file that is read when none is named and there is one.
const DEFAULT: &str = ".env";

/// Sets the variables of the file that `--env-file` names among the arguments, or of `.env` in the working directory.
/// The environment goes before them. To be called before there are threads.
pub(super) fn read(arguments: impl IntoIterator<Item = String>) -> Result<()> {
    let named = named(arguments);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(cause) if named.is_none() && cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(Error::permanent(format!("cannot read {}", path.display()), cause)),
    };
    for (name, value) in parse(&path, &text)? {
        if std::env::var_os(&name).is_none() {
            // SAFETY: the process has one thread yet, so nobody reads the environment meanwhile.
            unsafe { std::env::set_var(name, value) };
        }
    }
    Ok(())
}

/// The value of `--env-file`. It is looked for before the arguments are parsed: their defaults come from the environment.
fn named(arguments: impl IntoIterator<Item = String>) -> Option<PathBuf> {
    let mut arguments = arguments.into_iter().take_while(|argument| argument != "--");
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--env-file") {
            Some("") => return arguments.next().map(PathBuf::from),
            Some(rest) => {
                if let Some(path) = rest.strip_prefix('=') {
                    return Some(PathBuf::from(path));
                }
            }
            None => {}
        }
    }
    None
}

/// `NAME=value` lines; `export` before the name, quotes around the value and comments are as in a shell, nothing else is.
fn parse(path: &Path, text: &str) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The error does not repeat the line, which may hold a password.
        let wrong = |what: &str| Error::config(format!("{}:{}: {what}", path.display(), number + 1));
        let (name, value) =
            line.strip_prefix("export ").unwrap_or(line).split_once('=').ok_or_else(|| wrong("expected NAME=value"))?;
        let name = name.trim();
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !is_name(name) {
            return Err(wrong("a variable's name has letters, digits and _ only"));
        }
        let value = value_of(value.trim()).ok_or_else(|| wrong("the value's quote has no end"))?;
        variables.push((name.to_owned(), value));
    }
    Ok(variables)
}

fn value_of(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix('\'') {
        return rest.split_once('\'').map(|(value, _)| value.to_owned());
    }
    let Some(rest) = text.strip_prefix('"') else {
        // A comment begins after a blank: a # within the value is part of it.
        let end = text.find(" #").or_else(|| text.find("\t#")).unwrap_or(text.len());
        let end = if text.starts_with('#') { 0 } else { end };
        return Some(text[..end].trim_end().to_owned());
    };
    let (mut value, mut characters) = (String::new(), rest.chars());
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => match characters.next()? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "# settings\n\nA=1\nexport B = two words # why\nC='it $is #so'\nD=\"a \\\"b\\\"\\n\"\nE=\nF=a#b\r\nG=# none\n";
        let found = parse(Path::new(".env"), text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "it $is #so"),
            ("D", "a \"b\"\n"),
            ("E", ""),
            ("F", "a#b"),
            ("G", ""),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn mistakes_have_their_place_and_keep_secrets() {
        for text in ["A=1\nsecret", "A=1\n1A=secret", "A=1\nB=\"secret"] {
            let error = parse(Path::new("x.env"), text).unwrap_err().to_string();
            assert!(error.starts_with("x.env:2: ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_named_file() {
        let find = |words: &str| named(words.split(' ').map(str::to_owned));
        assert_eq!(find("highwater run q.sql --env-file prod.env"), Some("prod.env".into()));
        assert_eq!(find("highwater --env-file=a/b.env run"), Some("a/b.env".into()));
        assert_eq!(find("highwater query -- --env-file x"), None);
        assert_eq!(find("highwater run q.sql"), None);
    }
}
