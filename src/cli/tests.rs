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
    assert_eq!((before.client.api.as_str(), after.client.api.as_str(), after.client.output), ("http://a", "http://a", OutputFormat::Json));
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
