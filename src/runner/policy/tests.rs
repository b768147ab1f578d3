use std::os::unix::fs::symlink;

use super::*;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["data/out", "logs", "secret"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        for name in ["data/node.key", "logs/a.log", "secret/b.log"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn policy(&self, connect: &[&str]) -> Policy {
        let connect = connect.iter().map(|rule| rule.parse().unwrap()).collect();
        Policy::new(&PolicyConfig { read: vec![self.at("logs")], write: vec![], connect, listen: vec![] }, true, &self.at("data"))
    }
}

fn refusal(result: Result<File, OpenError>) -> String {
    match result {
        Err(OpenError::Denied(denied)) => denied.to_string(),
        other => panic!("not denied: {other:?}"),
    }
}

#[test]
fn reads_beneath_its_roots_only_and_names_the_flag() {
    let place = Place::new();
    let policy = place.policy(&[]);
    policy.open_read(&place.at("logs/a.log")).unwrap();
    let told = refusal(policy.open_read(&place.at("secret/b.log")));
    assert!(told.contains("secret/b.log") && told.contains("--allow-read"), "{told}");
    assert!(refusal(policy.open_read(&place.at("logs/../secret/b.log"))).contains("secret/b.log"));
    assert!(refusal(policy.open_read(&place.at("secret/none.log"))).contains("--allow-read"), "what exists outside is not told");
}

/// The cluster key makes its holder a member: who may write runners must not be able to send it away.
#[test]
fn the_nodes_own_keys_are_nobodys_whatever_their_name() {
    let place = Place::new();
    let (key, link) = (place.at("secret/b.log"), place.at("logs/cluster.key"));
    symlink(&key, &link).unwrap();
    fs::hard_link(&key, place.at("logs/hard.log")).unwrap();
    let everything = Policy::new(&PolicyConfig::default(), false, &place.at("data"));
    everything.open_read(&key).unwrap();
    let policy = everything.keeping(vec![link.clone(), place.at("secret/not-yet")]);
    for path in [&key, &link, &place.at("logs/hard.log"), &place.at("logs/../secret/b.log")] {
        assert!(refusal(policy.open_read(path)).contains("own state"), "{}", path.display());
        assert!(refusal(policy.open_append(path)).contains("own state"), "{}", path.display());
    }
    refusal(policy.open_append(&place.at("secret/not-yet")));
    policy.open_read(&place.at("logs/a.log")).unwrap();
}

#[test]
fn the_agents_own_environment_and_memory_are_nobodys() {
    let policy = Policy::new(&PolicyConfig::default(), false, Path::new("/nowhere"));
    for path in ["/proc/self/environ", "/proc/self/mem", &format!("/proc/{}/environ", std::process::id()), "/proc/thread-self/environ"] {
        assert!(refusal(policy.open_read(Path::new(path))).contains("own state"), "{path}");
    }
}

#[test]
fn follows_links_only_to_what_is_allowed() {
    let place = Place::new();
    let policy = place.policy(&[]);
    symlink(place.at("logs/a.log"), place.at("logs/current")).unwrap();
    symlink(place.at("secret/b.log"), place.at("logs/out.log")).unwrap();
    symlink(place.at("secret"), place.at("logs/dir")).unwrap();
    policy.open_read(&place.at("logs/current")).unwrap();
    refusal(policy.open_read(&place.at("logs/out.log")));
    refusal(policy.open_read(&place.at("logs/dir/b.log")));
}

/// The check before opening saw a plain directory; the descriptor's own path tells that it has become a link since.
#[test]
fn the_opened_descriptor_has_the_last_word() {
    let place = Place::new();
    let policy = place.policy(&[]);
    let file = File::open(place.at("secret/b.log")).unwrap();
    assert!(matches!(policy.check_opened("read", &policy.read, &place.at("logs/a.log"), file), Err(OpenError::Denied(_))));
}

#[test]
fn writes_beneath_the_data_directory_but_never_its_own_state() {
    let place = Place::new();
    let policy = place.policy(&[]);
    policy.open_append(&place.at("data/out/new/x.ndjson")).unwrap();
    for own in ["data/node.key", "data/any.redb"] {
        assert!(refusal(policy.open_append(&place.at(own))).contains("own state"), "{own}");
    }
    refusal(policy.open_append(&place.at("logs/a.log")));
    symlink(place.at("data/node.key"), place.at("data/out/key")).unwrap();
    assert!(refusal(policy.open_append(&place.at("data/out/key"))).contains("own state"));
    let wide = Policy::new(&PolicyConfig::default(), false, &place.at("data"));
    wide.open_read(&place.at("secret/b.log")).unwrap();
    assert!(refusal(wide.open_read(&place.at("data/node.key"))).contains("own state"));
}

#[test]
fn a_pipe_is_refused_and_does_not_block() {
    let place = Place::new();
    rustix::fs::mknodat(rustix::fs::CWD, place.at("logs/pipe"), rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert!(matches!(place.policy(&[]).open_read(&place.at("logs/pipe")), Err(OpenError::NotAFile { .. })));
}

#[test]
fn a_glob_is_refused_at_once_when_nothing_it_matches_may_be_read() {
    let place = Place::new();
    let policy = place.policy(&[]);
    policy.check_glob(&place.at("logs")).unwrap();
    policy.check_glob(place.dir.path()).unwrap();
    policy.check_glob(&place.at("secret")).unwrap_err();
}

#[test]
fn dials_what_a_rule_names() {
    let policy = Place::new().policy(&["10.0.0.0/8", "logs.example.net:443", "[::1]:9200"]);
    let check = |address: &str, host: &str| policy.check_addr(address.parse().unwrap(), host).is_ok();
    assert!(check("10.2.3.4:80", "web-1"));
    assert!(check("192.0.2.1:443", "LOGS.example.net"));
    assert!(check("[::1]:9200", "[::1]"));
    assert!(check("[::ffff:10.2.3.4]:80", "web-1"), "an IPv4 address in an IPv6 one is that address");
    assert!(!check("192.0.2.1:444", "logs.example.net"));
    assert!(!check("192.0.2.1:443", "other.example.net"));
    assert!(!check("[::1]:9201", "[::1]"));
    let told = policy.check_addr("192.0.2.1:80".parse().unwrap(), "web").unwrap_err().to_string();
    assert!(told.contains("web (192.0.2.1:80)") && told.contains("--allow-connect 192.0.2.1"), "{told}");
}

#[test]
fn beyond_loopback_it_dials_anything_but_link_local_and_metadata() {
    let policy = Place::new().policy(&[]);
    let check = |address: &str| policy.check_addr(address.parse().unwrap(), "host").is_ok();
    assert!(check("192.0.2.1:80") && check("127.0.0.1:80") && check("[2001:db8::1]:80"));
    let hidden =
        ["169.254.169.254:80", "[fe80::1]:80", "[fd00:ec2::254]:80", "[::ffff:169.254.169.254]:80", "[64:ff9b::a9fe:a9fe]:80", "100.100.100.200:80"];
    for address in hidden {
        assert!(!check(address), "{address}");
    }
}

#[test]
fn rules_are_read_as_they_are_written() {
    for text in ["any", "10.0.0.0/8", "10.0.0.7/32", "logs.example.net:443", "[::1]:9200", "2001:db8::/32"] {
        assert_eq!(text.parse::<ConnectRule>().unwrap().to_string(), text);
    }
    for text in ["", "logs.example.net", "host:0", "host:x", ":80", "a b:80", "[zz]:80", "10.0.0.0/33"] {
        assert!(text.parse::<ConnectRule>().unwrap_err().to_string().contains("HOST:PORT"), "{text}");
    }
}

#[tokio::test]
async fn a_client_refuses_literal_addresses_and_resolved_names() {
    let policy = Arc::new(Place::new().policy(&["10.0.0.0/8"]));
    let dialer = Dialer::new(policy, |builder| builder).unwrap();
    assert!(dialer.client(&"http://127.0.0.1:1/".parse().unwrap()).is_err());
    let url: Url = "http://localhost:1/".parse().unwrap();
    let error = dialer.client(&url).unwrap().get(url).send().await.unwrap_err();
    assert!(matches!(denied(&error), Some(Denied::Connect { .. })), "{error:?}");
}

#[test]
fn listens_on_loopback_always_and_elsewhere_where_the_node_says_so() {
    let place = Place::new();
    let policy = |rules: &[&str]| {
        let listen = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        Policy::new(&PolicyConfig { listen, ..PolicyConfig::default() }, false, &place.at("data"))
    };
    let may = |rules: &[&str], at: &str| policy(rules).check_listen(at.parse().unwrap()).is_ok();
    assert!(may(&[], "127.0.0.1:514") && may(&[], "[::1]:514"));
    assert!(!may(&[], "10.0.0.5:514") && !may(&[], "0.0.0.0:514"));
    assert!(may(&["10.0.0.0/8"], "10.0.0.5:514") && !may(&["10.0.0.0/8"], "192.0.2.1:514"));
    assert!(may(&["10.0.0.5:514"], "10.0.0.5:514") && !may(&["10.0.0.5:514"], "10.0.0.5:515"));
    assert!(may(&["0.0.0.0:514"], "0.0.0.0:514") && may(&["any"], "[::]:514"));
    assert!(!may(&["0.0.0.0/0"], "0.0.0.0:514"), "a network is of its addresses, not of all that the host has");
    let told = policy(&[]).check_listen("0.0.0.0:514".parse().unwrap()).unwrap_err().to_string();
    assert!(told.contains("--allow-listen 0.0.0.0:514"), "{told}");
}
