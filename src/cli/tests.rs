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
