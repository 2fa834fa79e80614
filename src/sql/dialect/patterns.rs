//! Patterns of other engines, of times and of text, as those that DataFusion has.

/// PostgreSQL's fields, longer ones before those that they begin with.
const POSTGRESQL: [(&str, &str); 19] = [
    ("YYYY", "%Y"),
    ("YY", "%y"),
    ("MONTH", "%B"),
    ("MON", "%b"),
    ("MM", "%m"),
    ("MI", "%M"),
    ("MS", "%3f"),
    ("US", "%6f"),
    ("DDD", "%j"),
    ("DD", "%d"),
    ("DAY", "%A"),
    ("DY", "%a"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("HH", "%I"),
    ("SS", "%S"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("TZ", "%Z"),
];

/// A pattern of PostgreSQL for strftime: small letters stand for fields as well, `"text"` for itself.
pub(super) fn of_postgresql(pattern: &str) -> String {
    let mut made = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (text, after) = rest[1..].split_once('"').unwrap_or((&rest[1..], ""));
            made.push_str(text);
            rest = after;
            continue;
        }
        let begins = |field: &str| rest.get(..field.len()).is_some_and(|start| start.eq_ignore_ascii_case(field));
        match POSTGRESQL.iter().find(|(field, _)| begins(field)) {
            Some((field, strftime)) => {
                made.push_str(strftime);
                rest = &rest[field.len()..];
            }
            None => {
                made.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    made
}

/// A pattern of Java for strftime.
pub(super) fn of_java(java: &str) -> Result<String, String> {
    let mut made = String::new();
    let mut rest = java;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (text, after) = rest[1..].split_once('\'').unwrap_or((&rest[1..], ""));
            made.push_str(if text.is_empty() { "'" } else { text });
            rest = after;
            continue;
        }
        let after = rest.trim_start_matches(first);
        // What is repeated, and not a letter, stands for itself as often.
        let field = &rest[..rest.len() - after.len()];
        made.push_str(match field {
            "y" | "yyyy" | "u" | "uuuu" => "%Y",
            "yy" | "uu" => "%y",
            "MMMM" => "%B",
            "MMM" => "%b",
            "MM" => "%m",
            "M" => "%-m",
            "dd" => "%d",
            "d" => "%-d",
            "DDD" => "%j",
            "EEEE" => "%A",
            "E" | "EE" | "EEE" => "%a",
            "HH" => "%H",
            "H" => "%-H",
            "hh" => "%I",
            "h" => "%-I",
            "mm" => "%M",
            "m" => "%-M",
            "ss" => "%S",
            "s" => "%-S",
            "SSS" => "%3f",
            "SSSSSS" => "%6f",
            "SSSSSSSSS" => "%9f",
            "a" => "%p",
            other if first.is_ascii_alphabetic() => {
                return Err(format!(
                    "`{other}` of the pattern '{java}' is not known; write it as strftime has it, such as '%Y-%m-%d %H:%M:%S'"
                ));
            }
            other => other,
        });
        rest = after;
    }
    Ok(made)
}

/// A pattern of SIMILAR TO, in which `%` is any text and `_` any letter, as a regular expression. DataFusion takes it for one as it is.
pub(super) fn of_similar(pattern: &str) -> String {
    let mut made = "(?s)^(?:".to_owned();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => made.push_str(".*"),
            '_' => made.push('.'),
            '.' | '^' | '$' => made.extend(['\\', letter]),
            '\\' => made.extend(['\\', letters.next().unwrap_or('\\')]),
            other => made.push(other),
        }
    }
    made.push_str(")$");
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_similar_to() {
        assert_eq!(of_similar("a%_.(b|c)+"), "(?s)^(?:a.*.\\.(b|c)+)$");
        assert_eq!(of_similar("100\\%"), "(?s)^(?:100\\%)$");
    }

    #[test]
    fn patterns_of_postgresql() {
        assert_eq!(of_postgresql("YYYY-MM-DD HH24:MI:SS.MS"), "%Y-%m-%d %H:%M:%S.%3f");
        assert_eq!(of_postgresql("dd Mon yyyy, hh12:mi am"), "%d %b %Y, %I:%M %p");
        assert_eq!(of_postgresql("\"DD\" ä DY"), "DD ä %a");
    }

    #[test]
    fn patterns_of_java() {
        let same = |java: &str, expected: &str| assert_eq!(of_java(java).as_deref(), Ok(expected));
        same("yyyy-MM-dd HH:mm:ss.SSS", "%Y-%m-%d %H:%M:%S.%3f");
        same("yyyyMMdd'T'HH''", "%Y%m%dT%H'");
        same("EEE, d MMM yy -- hh a", "%a, %-d %b %y -- %I %p");
        same("", "");
        assert!(of_java("yyyy-QQ").is_err_and(|message| message.contains("`QQ`")));
    }
}
