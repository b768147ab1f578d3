use super::*;

#[test]
fn the_commands_are_well_formed() {
    Cli::command().debug_assert();
}

/// DESIGN §8.3: `--api` and its kin stand before or after the verb.
#[test]
fn the_clients_flags_stand_anywhere() {
    let before = Cli::try_parse_from(["logvine", "--api", "http://a", "node", "list"]).unwrap();
    let after = Cli::try_parse_from(["logvine", "node", "list", "--api", "http://a", "-o", "json"]).unwrap();
    assert_eq!(
        (&before.client.api, &after.client.api, after.client.output),
        (&vec!["http://a".to_owned()], &vec!["http://a".to_owned()], OutputFormat::Json)
    );
}

#[test]
fn an_unknown_flag_is_told_with_the_one_that_was_meant() {
    let message = Cli::try_parse_from(["logvine", "agent", "--gosip-port", "1"]).expect_err("no such flag").to_string();
    assert!(message.contains("'--gosip-port'") && message.contains("'--gossip-port'"), "{message}");
}

/// Who must not be started again, by the exit codes: the later of two live copies of a node would fight the first for ever, and a wrong flag stays wrong.
#[test]
fn the_unit_starts_again_what_may_be_started_again() {
    let unit = include_str!("../../packaging/logvine.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned);
    assert_eq!(value("Restart").as_deref(), Some("always"));
    assert_eq!(value("RestartPreventExitStatus"), Some(format!("{} {}", Exit::Conflict as u8, Exit::Usage as u8)));
    assert_eq!(value("StartLimitIntervalSec").as_deref(), Some("0"), "else five quick failures are the last");
}

#[test]
fn several_addresses_of_the_api_may_be_named() {
    let cli = Cli::try_parse_from(["logvine", "node", "list", "--api", "a,b", "--api", "c"]).unwrap();
    assert_eq!(cli.client.api, ["a", "b", "c"]);
}

/// A selection is said by the same two words everywhere.
#[test]
fn nodes_and_selector_mean_the_same() {
    let of = |args: &[&str]| format!("{:?}", Cli::try_parse_from([&["logvine"], args].concat()).unwrap().verb);
    for verb in ["start", "stop", "remove", "follow"] {
        assert_eq!(of(&["runner", verb, "r", "--nodes", "web"]), of(&["runner", verb, "r", "--selector", "web"]));
        assert!(of(&["runner", verb, "r"]).contains("\"all\""), "without a selection it is the runner as a whole");
    }
    assert_eq!(of(&["source", "list", "--nodes", "web"]), of(&["source", "list", "--selector", "web"]));
}

#[test]
fn watch_takes_its_interval_by_an_equals_sign_only() {
    let watch = |args: &[&str]| Cli::try_parse_from([&["logvine"], args].concat()).unwrap().client.watch;
    assert_eq!(watch(&["node", "show", "--watch", "web-1"]), Some(Duration::from_secs(2)), "a word behind it is the verb's");
    assert_eq!(watch(&["node", "list", "--watch=0.5"]), Some(Duration::from_millis(500)));
}

#[test]
fn help_tells_every_exit_code() {
    let help = Cli::command().render_long_help().to_string();
    for exit in [Exit::Ok, Exit::Error, Exit::Partly, Exit::Conflict, Exit::NotFound, Exit::Usage, Exit::Interrupted] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{} ", exit as u8))), "{exit:?} is not in:\n{help}");
    }
}

/// DESIGN §8.3: completions for the shells that people have, with every verb.
#[test]
fn completions_know_the_verbs() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "logvine", &mut script);
        let script = String::from_utf8(script).unwrap();
        for verb in Cli::command().get_subcommands() {
            assert!(script.contains(verb.get_name()), "{shell} does not know {}", verb.get_name());
        }
    }
}
