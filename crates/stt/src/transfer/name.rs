//! Names and texts that come from a peer (docs/streams.md, FILE-5).

/// Longest name of a file, in bytes, on the file systems in use.
const MAX_NAME: usize = 255;
/// Names that stand for devices on Windows, with or without an extension.
const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];

/// A file name made from what a peer says it is: one component, visible, printable, and not
/// special to any operating system. `None` when nothing is left.
///
/// Only the part after the last `/` or `\` counts. Characters that are invisible, steer a terminal,
/// reorder text or are reserved become `_`, and so does a leading dot.
#[must_use]
pub fn safe_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let trimmed = last.trim_matches(' ').trim_end_matches(['.', ' ']);
    if trimmed.is_empty() {
        return None;
    }
    let mut clean: String = trimmed.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    if clean.starts_with('.') {
        clean.replace_range(..1, "_");
    }
    let stem = clean.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let is_device = DEVICES.contains(&stem.as_str())
        || numbered
            .is_some_and(|digit| digit.len() == 1 && digit.bytes().all(|b| b.is_ascii_digit()));
    if is_device {
        clean.insert(0, '_');
    }
    Some(shorten(clean))
}

/// Cuts a name in front of its extension.
fn shorten(name: String) -> String {
    if name.len() <= MAX_NAME {
        return name;
    }
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if extension.len() <= 16 => (stem, format!(".{extension}")),
        _ => (name.as_str(), String::new()),
    };
    let stem = stem.get(..stem.floor_char_boundary(MAX_NAME - extension.len()));
    let cut = format!("{}{extension}", stem.unwrap_or_default());
    // Where it was cut there may be what some systems ignore at the end.
    cut.trim_end_matches(['.', ' ']).to_owned()
}

fn is_safe(c: char) -> bool {
    is_printable(c) && !matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*')
}

/// Whether a terminal shows it as one harmless character.
fn is_printable(c: char) -> bool {
    // Controls, line separators, marks that reorder text, and characters that show nothing.
    !(c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        ))
}

/// A peer's text, fit for a terminal or a log line: characters that steer or deceive become `\u{fffd}`.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_become_harmless() {
        let cases = [
            ("report.pdf", Some("report.pdf")),
            ("../../etc/passwd", Some("passwd")),
            ("/etc/passwd", Some("passwd")),
            ("..\\..\\boot.ini", Some("boot.ini")),
            ("C:\\x\\y.txt", Some("y.txt")),
            (".bashrc", Some("_bashrc")),
            ("..", None),
            (".", None),
            ("", None),
            ("/", None),
            ("   ", None),
            ("a\0b", Some("a_b")),
            ("\u{1b}[2Jgone", Some("_[2Jgone")),
            ("exe.\u{202e}gpj", Some("exe._gpj")),
            ("a:b", Some("a_b")),
            ("con.txt", Some("_con.txt")),
            ("COM1", Some("_COM1")),
            ("community", Some("community")),
            ("trailing. .", Some("trailing")),
            ("grüße 你好.txt", Some("grüße 你好.txt")),
        ];
        for (name, expected) in cases {
            assert_eq!(safe_name(name).as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let name = safe_name(&format!("{}.tar", "ä".repeat(300))).unwrap();
        assert!(name.len() <= MAX_NAME && name.ends_with("ä.tar"));
        let start = "a".repeat(MAX_NAME - 3);
        for rest in [" . and more than an extension", "..  and more than an extension"] {
            assert_eq!(safe_name(&format!("{start}{rest}")), Some(start.clone()));
        }
    }

    proptest! {
        #[test]
        fn no_name_escapes(name in "\\PC{0,40}|[./\\\\a\u{0}-\u{1f}\u{202e}]{0,40}") {
            if let Some(safe) = safe_name(&name) {
                let path = std::path::Path::new("/dir").join(&safe);
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/dir")));
                prop_assert!(!safe.starts_with('.') && safe.len() <= MAX_NAME);
                prop_assert!(safe.chars().all(is_safe));
                prop_assert_eq!(safe_name(&safe), Some(safe.clone()));
            }
        }
    }
}
