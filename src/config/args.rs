//! The agent's flags, made from the table of settings, so that a flag, a variable and a key of the file can never differ.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, parser::ValueSource};

use super::keys::{KEYS, Key, Kind, Preset};

/// The flags as given.
#[derive(Debug, Clone, Default)]
pub struct AgentArgs {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// End when standard input does, so that a node cannot outlive the program that started it.
    pub exit_with_stdin: bool,
    pub(super) given: BTreeMap<&'static str, Vec<String>>,
}

impl clap::Args for AgentArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config").long("config").value_name("FILE").value_parser(clap::value_parser!(PathBuf));
        let command = command.arg(config.help("The configuration file (TOML, the same keys) [env: LOGVINE_CONFIG]"));
        let leash = Arg::new("exit_with_stdin").long("exit-with-stdin").action(ArgAction::SetTrue).hide(true);
        let command = command.arg(leash.help("Stop when standard input ends: for programs that start agents"));
        KEYS.iter().fold(command, |command, key| command.arg(arg(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn arg(key: &'static Key) -> Arg {
    let preset = match key.preset {
        Preset::Fixed([]) => String::new(),
        Preset::Fixed(values) => format!(" [default: {}]", values.join(",")),
        Preset::Derived(words, _) => format!(" [default: {words}]"),
    };
    let arg = Arg::new(key.path).long(key.flag).help(format!("{}{preset} [env: {}]", key.help, key.variable()));
    match key.kind {
        Kind::Switch => arg.action(ArgAction::SetTrue),
        Kind::List => arg.value_name(key.value_name).action(ArgAction::Append),
        Kind::Text | Kind::Number => arg.value_name(key.value_name).action(ArgAction::Set),
    }
}

impl FromArgMatches for AgentArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = KEYS.iter().filter(|key| matches.value_source(key.path) == Some(ValueSource::CommandLine));
        let given = given.map(|key| match key.kind {
            Kind::Switch => (key.path, vec![matches.get_flag(key.path).to_string()]),
            _ => (key.path, matches.get_many::<String>(key.path).into_iter().flatten().cloned().collect()),
        });
        Ok(Self {
            config: matches.get_one::<PathBuf>("config").cloned(),
            exit_with_stdin: matches.get_flag("exit_with_stdin"),
            given: given.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
