//! `stt config`: what can be set about `stt up`.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    Cli,
    error::CliError,
    output::Output,
    settings_file::{self, FILE_NAME, Setting},
};

#[derive(Args)]
pub(crate) struct ConfigCommand {}

impl ConfigCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let settings = settings_file::all::<Cli>();
        let described: Vec<_> = settings.iter().map(value).collect();
        output.result(&text(&settings), &json!({ "settings": described }));
        Ok(())
    }
}

fn value(setting: &Setting) -> Value {
    json!({
        "key": setting.key,
        "variable": setting.variable,
        "flag": setting.flag,
        "about": setting.about,
        "default": setting.default,
    })
}

fn text(settings: &[Setting]) -> String {
    let mut text = format!(
        "# Settings of `stt up`. They are read from DIR/{FILE_NAME}, or from the file that --config or\n\
         # STT_UP_CONFIG names; paths are as seen from it. A variable goes before the file, a flag before\n\
         # both. What is commented out here is the default.\n"
    );
    for setting in settings {
        text.push('\n');
        for line in wrapped(&setting.about) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "# Also: {}, {}", setting.flag, setting.variable);
        let _ = match &setting.default {
            Value::Null => writeln!(text, "# {} = \"{}\"", setting.key, setting.form),
            default => writeln!(text, "# {} = {default}", setting.key),
        };
    }
    text.truncate(text.trim_end().len());
    text
}

/// In lines of 98 characters at most, where words allow it.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < 98 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
