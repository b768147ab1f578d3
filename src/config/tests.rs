use clap::{Args as _, FromArgMatches as _};
use expect_test::{expect, expect_file};

use super::*;

fn host() -> Host {
    Host { name: "box".to_owned(), data_dir: Some("/home/me/.local/state/logvine".into()) }
}

/// Reads `flags` (split at spaces), `variables` (`NAME=value`) and the text of `/etc/logvine.toml`.
fn configure(flags: &str, variables: &[&str], file: &str) -> Result<Effective, ConfigError> {
    let command = AgentArgs::augment_args(clap::Command::new("agent").no_binary_name(true));
    let matches = command.try_get_matches_from(flags.split_whitespace()).expect("flags that clap knows");
    let args = AgentArgs::from_arg_matches(&matches).unwrap();
    let variables: Vec<(String, String)> =
        variables.iter().filter_map(|text| text.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    resolve(&args, &variables, Some((Path::new("/etc/logvine.toml"), file)), &host())
}

fn refusal(flags: &str, variables: &[&str], file: &str) -> String {
    configure(flags, variables, file).expect_err("a fault").to_string()
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let effective = configure("--name flag", &["LOGVINE_NAME=env", "LOGVINE_GRACE=5s"], "name = 'file'\ngrace = '7s'\nquic_port = 9000").unwrap();
    let config = &effective.config;
    assert_eq!((config.name.as_str(), config.grace, config.quic_port, config.gossip_port), ("flag", Duration::from_secs(5), 9000, 7946));
}

#[test]
fn show_says_where_each_value_is_from() {
    let effective = configure("--name flag --tag a --tag b,c", &["LOGVINE_GRACE=5s"], "quic_port = 9000").unwrap();
    let shown: Vec<String> = effective.show().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for wanted in [
        "name = \"flag\" # --name",
        "tags = [\"a\", \"b\", \"c\"] # --tag",
        "grace = \"5s\" # LOGVINE_GRACE",
        "quic_port = 9000 # /etc/logvine.toml",
        "http = \"127.0.0.1:7948\" # default",
    ] {
        assert!(shown.iter().any(|line| line == wanted), "{wanted} is not in {shown:#?}");
    }
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    expect![[r#"
        the configuration has 7 faults
          /etc/logvine.toml: databdir: no such key; did you mean `data_dir`?
          /etc/logvine.toml: gossip_port: wants a whole number, not string "x"
          /etc/logvine.toml: policy.raed: no such key; did you mean `policy.read`?
          --bind: `10.0.0` is not an IP address: write one like 10.0.0.5 or fd00::5
          LOGVINE_QUIC_PORT: `70000` is not a port: 1 to 65535
          --join: `10.0.0.300` is not a seed (this is neither a host name nor an IP address): write a host name or an IP address, with `:PORT` if it is not this node's own
          /etc/logvine.toml: grace: `soon` is not a duration: write `60s`, `1500ms` or `5m`"#]]
    .assert_eq(&refusal(
        "--bind 10.0.0 --join 10.0.0.1,10.0.0.300",
        &["LOGVINE_QUIC_PORT=70000"],
        "databdir = '/x'\ngrace = 'soon'\ngossip_port = 'x'\n[policy]\nraed = []",
    ));
}

#[test]
fn text_that_is_not_toml_is_shown_with_its_line() {
    let message = refusal("", &[], "name = \nbind = '127.0.0.1'");
    assert!(message.starts_with("/etc/logvine.toml: is not TOML: TOML parse error at line 1"), "{message}");
}

/// Kubernetes gives every pod `NAME_SERVICE_HOST` for a service NAME.
#[test]
fn an_unknown_variable_is_a_warning_not_an_error() {
    let effective = configure("", &["LOGVINE_SERVICE_HOST=10.1.1.1", "LOGVINE_NAM=x"], "").unwrap();
    assert_eq!(effective.warnings.len(), 2);
    assert!(effective.warnings[1].contains("did you mean `LOGVINE_NAME`?"), "{:?}", effective.warnings);
}

#[test]
fn the_api_follows_a_loopback_bind_and_stays_on_loopback_else() {
    assert_eq!(configure("--bind 127.0.0.3", &[], "").unwrap().config.http, "127.0.0.3:7948".parse().unwrap());
    assert_eq!(configure("--bind 10.0.0.5 --cluster-key-file /k", &[], "").unwrap().config.http, "127.0.0.1:7948".parse().unwrap());
    assert_eq!(configure("--http 127.0.0.9", &[], "").unwrap().config.http, "127.0.0.9:7948".parse().unwrap());
}

#[test]
fn beyond_loopback_a_key_must_be_given() {
    let message = refusal("--bind 10.0.0.5", &[], "");
    assert!(message.starts_with("--cluster-key-file: beyond loopback") && message.contains("logvine keygen"), "{message}");
}

#[test]
fn the_api_beyond_loopback_wants_certificate_and_token_or_a_plain_word() {
    let base = "--http 10.0.0.5 --http-cert /c --http-key /k";
    assert!(refusal("--http 10.0.0.5", &[], "").starts_with("--http: 10.0.0.5:7948 is beyond loopback"));
    assert!(refusal(base, &[], "").contains("--token-file"));
    assert!(configure(&format!("{base} --token-file /t"), &[], "").is_ok());
    assert!(configure("--http 10.0.0.5 --insecure-http", &[], "").is_ok());
    assert!(refusal("--http-cert /c", &[], "").starts_with("--http-key:"));
}

#[test]
fn an_address_for_all_interfaces_needs_one_to_advertise() {
    assert!(refusal("--bind 0.0.0.0 --cluster-key-file /k", &[], "").contains("--advertise"));
    let config = configure("--bind 0.0.0.0 --advertise 10.0.0.5 --cluster-key-file /k", &[], "").unwrap().config;
    assert_eq!(config.advertise, "10.0.0.5".parse::<IpAddr>().unwrap());
}

#[test]
fn seeds_are_names_or_addresses_with_or_without_a_port() {
    let join = configure("--join a.example,10.0.0.1:7000 --join [fd00::1]:7,fd00::2", &[], "").unwrap().config.join;
    let shown: Vec<(String, Option<u16>)> = join.into_iter().map(|seed| (seed.host, seed.port)).collect();
    let wanted = [("a.example", None), ("10.0.0.1", Some(7000)), ("fd00::1", Some(7)), ("fd00::2", None)];
    assert_eq!(shown, wanted.map(|(host, port)| (host.to_owned(), port)));
    for bad in ["a..b", "a:b", "a:0", "[::1", "x-", "http://a"] {
        assert!(refusal(&format!("--join {bad}"), &[], "").starts_with("--join: "), "{bad}");
    }
}

#[test]
fn gossip_has_two_presets() {
    let preset = |args: &str| configure(args, &[], "").unwrap().config.gossip_preset;
    assert_eq!((preset(""), preset("--gossip-preset wan")), (GossipPreset::Lan, GossipPreset::Wan));
    assert!(refusal("--gossip-preset moon", &[], "").contains("lan or wan"));
}

/// Run with UPDATE_EXPECT=1 after a change of the table.
#[test]
fn the_example_file_equals_the_defaults() {
    let text = example();
    expect_file!["../../logvine.example.toml"].assert_eq(&text);
    let (with, without) = (configure("", &[], &text).unwrap().config, configure("", &[], "").unwrap().config);
    assert_eq!(with, without);
}
