//! Settings of `stt up` from a file: each key is a flag, and a flag or variable on the command line
//! goes before it.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command, CommandFactory, Parser};
use serde_json::{Value, json};
use toml::Table;

use crate::error::CliError;

/// The name of the file in the directory of a node.
pub(crate) const FILE_NAME: &str = "stt.toml";
/// The command that has such settings.
const COMMAND: &str = "up";
/// Longest file that is read.
const MAX_LEN: u64 = 1 << 20;
/// What only a command line can say.
const NOT_SETTINGS: [&str; 6] = ["dir", "config", "end_with_stdin", "help", "version", "json"];
/// How alike an unknown key must be to one that exists to be taken for it, 0 to 1.
const ALIKE: f64 = 0.7;

/// One setting, as people and programs read it.
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) variable: String,
    pub(crate) flag: String,
    pub(crate) about: String,
    pub(crate) default: Value,
    /// What a value looks like, if there is no default.
    pub(crate) form: String,
}

/// The parser of the whole program, in which `stt up` knows its variables.
pub(crate) fn parser<P: CommandFactory>() -> Command {
    P::command().mut_subcommand(COMMAND, |command| {
        command.mut_args(|arg| {
            if !is_setting(&arg) {
                return arg;
            }
            let variable = variable(arg_key(&arg));
            arg.env(variable).hide_env(true)
        })
    })
}

/// Parses the command line again, with what `file` says in place of the defaults.
///
/// # Errors
/// `config.*`: the file cannot be read, or a key or value in it cannot be used.
pub(crate) fn parse_with<P: Parser>(file: &Path) -> Result<Result<P, clap::Error>, CliError> {
    let table = read(file)?;
    let mut parser = parser::<P>();
    for (key, value) in &table {
        let known: Vec<_> = settings_of(&parser).map(|arg| arg_key(arg).to_owned()).collect();
        if !known.contains(key) {
            return Err(unknown(file, key, &known));
        }
        let changed = set(parser.clone(), file, key, value)?;
        check::<P>(&changed, file, key)?;
        parser = changed;
    }
    Ok(parser.try_get_matches().and_then(|mut found| P::from_arg_matches_mut(&mut found)))
}

/// All settings, in the order of `--help`.
pub(crate) fn all<P: CommandFactory>() -> Vec<Setting> {
    let parser = parser::<P>();
    let described = |arg: &Arg| {
        let about = arg.get_long_help().or(arg.get_help());
        let default = arg.get_default_values().first().map(|value| value.to_string_lossy());
        let default = match (arg.get_action(), default) {
            (ArgAction::SetTrue, _) => json!(false),
            (ArgAction::Append, _) => json!([]),
            (_, Some(text)) => text.parse::<f64>().map_or_else(|_| json!(text), |n| json!(n)),
            (_, None) => Value::Null,
        };
        let form = arg.get_value_names().and_then(|names| names.first());
        Setting {
            key: arg_key(arg).to_owned(),
            variable: variable(arg_key(arg)),
            flag: format!("--{}", arg.get_long().unwrap_or_default()),
            about: about.map(ToString::to_string).unwrap_or_default(),
            default,
            form: form.map(ToString::to_string).unwrap_or_default(),
        }
    };
    settings_of(&parser).map(described).collect()
}

fn settings_of(parser: &Command) -> impl Iterator<Item = &Arg> {
    let command = parser.find_subcommand(COMMAND);
    command.into_iter().flat_map(Command::get_arguments).filter(|arg| is_setting(arg))
}

fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some() && !NOT_SETTINGS.contains(&arg_key(arg))
}

fn arg_key(arg: &Arg) -> &str {
    arg.get_id().as_str()
}

fn variable(key: &str) -> String {
    format!("STT_UP_{}", key.to_uppercase())
}

fn read(file: &Path) -> Result<Table, CliError> {
    let doing = |error| CliError::file("the settings were not read", file, &error);
    let mut text = String::new();
    let opened = File::open(file).map_err(doing)?;
    // A device may have no length and no end.
    let len = opened.take(MAX_LEN + 1).read_to_string(&mut text).map_err(doing)?;
    if u64::try_from(len).is_ok_and(|len| len > MAX_LEN) {
        let what = format!("{} has more than {MAX_LEN} bytes", file.display());
        return Err(CliError::new("config.too_long", what));
    }
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text.get(..span.start).map_or(0, lines));
        let what = format!("{}, line {}: {}", file.display(), line + 1, error.message());
        CliError::new("config.syntax", what)
    })
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// The parser with a value in place of a default.
fn set(parser: Command, file: &Path, key: &str, value: &toml::Value) -> Result<Command, CliError> {
    let arg = settings_of(&parser).find(|arg| arg_key(arg) == key);
    let is_path = arg.is_some_and(|arg| {
        arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == "FILE"))
    });
    let is_list = arg.is_some_and(|arg| matches!(arg.get_action(), ArgAction::Append));
    let is_switch = arg.is_some_and(|arg| matches!(arg.get_action(), ArgAction::SetTrue));
    let refused = |what: &str| {
        let what = format!("{}: `{key}` {what}", file.display());
        CliError::new("config.value", what)
    };
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) if is_path => Ok(beside(file, text)),
        toml::Value::String(text) => Ok(OsString::from(text)),
        toml::Value::Integer(number) => Ok(number.to_string().into()),
        toml::Value::Float(number) => Ok(number.to_string().into()),
        toml::Value::Boolean(yes) if is_switch => Ok(yes.to_string().into()),
        _ => Err(refused("takes no such value")),
    };
    let values = match value {
        toml::Value::Array(values) if is_list => {
            values.iter().map(text).collect::<Result<Vec<_>, _>>()?
        }
        toml::Value::Array(_) => return Err(refused("takes one value, and is given a list")),
        toml::Value::Boolean(_) if !is_switch => return Err(refused("takes no true or false")),
        one if is_switch && !one.is_bool() => return Err(refused("is true or false")),
        one => vec![text(one)?],
    };
    let key = key.to_owned();
    Ok(parser.mut_subcommand(COMMAND, |command| {
        command.mut_arg(key, |arg| match values.is_empty() {
            true => arg,
            false => arg.default_values(values),
        })
    }))
}

/// Paths in a file are as seen from its directory.
fn beside(file: &Path, path: &str) -> OsString {
    file.parent().unwrap_or(Path::new("")).join(path).into_os_string()
}

/// Whether the value can be used: told by its key, before the command line mixes in.
fn check<P: Parser>(parser: &Command, file: &Path, key: &str) -> Result<(), CliError> {
    let plain = ["stt", COMMAND, "--dir", "."];
    // Without the variables, which are not the file's fault.
    let parser = parser
        .clone()
        .mut_subcommand(COMMAND, |command| command.mut_args(|arg| arg.env(None::<&'static str>)));
    let parsed = parser.try_get_matches_from(plain);
    let Err(error) = parsed.and_then(|mut found| P::from_arg_matches_mut(&mut found)) else {
        return Ok(());
    };
    let text = error.to_string();
    let said = text.lines().next().unwrap_or_default();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let what = format!("{}: `{key}`: {said}", file.display());
    Err(CliError::new("config.value", what))
}

fn unknown(file: &Path, key: &str, known: &[String]) -> CliError {
    let what = format!("{}: there is no setting `{key}`", file.display());
    let alike = |name: &&String| strsim::jaro_winkler(key, name);
    let nearest = known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let unknown = CliError::new("config.unknown_key", what);
    match nearest.filter(|name| alike(name) >= ALIKE) {
        Some(name) => {
            unknown.with_hint(format!("`{name}` is the nearest; `stt config` prints all settings"))
        }
        None => unknown,
    }
}

/// The file that holds for a node: the one that was named, or the one in its directory.
pub(crate) fn file_of(dir: &Path, named: Option<&PathBuf>) -> Option<PathBuf> {
    named.cloned().or_else(|| Some(dir.join(FILE_NAME)).filter(|file| file.exists()))
}
