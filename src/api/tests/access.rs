//! Who may come in: hosts, origins, tokens and roles on every route, and what a browser is allowed (DESIGN §8.4).

use super::*;

/// DESIGN §8.4: Host on every request (DNS rebinding), Origin on every write (a page of another site).
#[tokio::test]
async fn other_hosts_and_other_origins_are_refused() {
    let api = Api::new();
    assert_problem(&api.send("GET", "/v1/nodes", &[("host", "evil.example")], "").await, 421, "urn:logvine:wrong-host");
    let write = |origin: &'static str| {
        let api = &api;
        async move { api.send("PUT", "/v1/runners/fleet", &[("origin", origin)], &runner().to_string()).await }
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_problem(&write(origin).await, 403, "urn:logvine:wrong-origin");
    }
    assert_eq!(write("http://127.0.0.1:7948").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_opens_what_its_role_may() {
    let api = Api::with_tokens(&[("view", "v"), ("operate", "o")]);
    assert_problem(&api.get("/v1/nodes").await, 401, "urn:logvine:no-token");
    assert_eq!(api.send("GET", "/v1/self", &[("authorization", "Bearer v")], "").await.body["role"], "view");
    let put = |token: &'static str| {
        let api = &api;
        async move { api.send("PUT", "/v1/runners/fleet", &[("authorization", token)], &runner().to_string()).await }
    };
    assert_problem(&put("Bearer v").await, 403, "urn:logvine:role");
    assert_eq!(put("Bearer o").await.status, StatusCode::OK);
    for open in ["/", "/livez", "/openapi.json"] {
        assert_eq!(api.get(open).await.status, StatusCode::OK, "{open}");
    }
}

/// Issue 5: every command with who, what and why. Two people of one role are two, in the audit and for idempotency keys.
#[tokio::test]
async fn whose_token_it_was_is_in_the_audit() {
    let api = Api::with_lines(&[("operate", "a", "ann"), ("operate", "b", "bob"), ("operate", "c", "")]);
    api.send("PUT", "/v1/runners/fleet", &[("authorization", "Bearer c")], &runner().to_string()).await;
    let stop = async |token: &str| {
        let headers = [("authorization", token), ("idempotency-key", "once")];
        let answer = api.send("POST", "/v1/runners/fleet/stop", &headers, r#"{"nodes": "all", "reason": "a leak"}"#).await;
        answer.body["operation"].as_str().expect("an operation").to_owned()
    };
    let (ann, again, bob) = (stop("Bearer a").await, stop("Bearer a").await, stop("Bearer b").await);
    assert_eq!(ann, again, "the same person with the same key");
    assert_ne!(ann, bob, "another person's key is another key");
    let read = async |path: String| api.send("GET", &path, &[("authorization", "Bearer c")], "").await.body;
    for (operation, who) in [(&ann, "ann (operate)"), (&bob, "bob (operate)")] {
        assert_eq!(read(format!("/v1/operations/{operation}")).await["actor"], who);
    }
    let unnamed = read("/v1/operations?verb=apply".to_owned()).await;
    assert_eq!(unnamed["items"][0]["actor"], "operate", "a token without a name is its role, as before");
}

/// Who may call what: a new operation needs a line here.
const WHO: &[(&str, &str, Option<Role>)] = &[
    ("GET", "/", None),
    ("GET", "/livez", None),
    ("GET", "/readyz", None),
    ("GET", "/openapi.json", None),
    ("GET", "/metrics", Some(Role::View)),
    ("GET", "/v1/assignments/check", Some(Role::View)),
    ("GET", "/v1/cluster", Some(Role::View)),
    ("GET", "/v1/events", Some(Role::View)),
    ("GET", "/v1/components", Some(Role::View)),
    ("GET", "/v1/instances", Some(Role::View)),
    ("GET", "/v1/instances/{node}/{runner}", Some(Role::View)),
    ("GET", "/v1/series", Some(Role::View)),
    ("GET", "/v1/runners/{runner}/tap", Some(Role::Operate)),
    ("POST", "/v1/try/read", Some(Role::Operate)),
    ("POST", "/v1/try/parse", Some(Role::Operate)),
    ("POST", "/v1/try/transform", Some(Role::Operate)),
    ("POST", "/v1/try/send", Some(Role::Operate)),
    ("GET", "/v1/nodes", Some(Role::View)),
    ("GET", "/v1/nodes/{node}", Some(Role::View)),
    ("GET", "/v1/runners", Some(Role::View)),
    ("GET", "/v1/runners/{runner}", Some(Role::View)),
    ("GET", "/v1/runners/{runner}/revisions", Some(Role::View)),
    ("GET", "/v1/self", Some(Role::View)),
    ("GET", "/v1/sources", Some(Role::View)),
    ("GET", "/v1/sources/{runner}/{source}", Some(Role::View)),
    ("GET", "/v1/tags", Some(Role::View)),
    ("GET", "/v1/keys", Some(Role::View)),
    ("GET", "/v1/settings", Some(Role::View)),
    ("POST", "/v1/plan", Some(Role::View)),
    ("DELETE", "/v1/settings/{setting}", Some(Role::Operate)),
    ("PUT", "/v1/settings/{setting}", Some(Role::Operate)),
    ("DELETE", "/v1/keys/{key}", Some(Role::Admin)),
    ("POST", "/v1/keys", Some(Role::Admin)),
    ("POST", "/v1/keys/{key}/use", Some(Role::Admin)),
    ("DELETE", "/v1/runners/{runner}", Some(Role::Operate)),
    ("PATCH", "/v1/runners/{runner}/sources", Some(Role::Operate)),
    ("DELETE", "/v1/nodes/{node}", Some(Role::Operate)),
    ("GET", "/v1/operations", Some(Role::View)),
    ("GET", "/v1/operations/{operation}", Some(Role::View)),
    ("POST", "/v1/operations", Some(Role::Operate)),
    ("POST", "/v1/nodes/{node}/drain", Some(Role::Operate)),
    ("POST", "/v1/nodes/{node}/undrain", Some(Role::Operate)),
    ("POST", "/v1/runners/{runner}/{verb}", Some(Role::Operate)),
    ("PUT", "/v1/nodes/{node}/tags", Some(Role::Operate)),
    ("POST", "/v1/tags/{tag}/rename", Some(Role::Operate)),
    ("PUT", "/v1/runners/{runner}", Some(Role::Operate)),
];

#[test]
fn each_operation_says_who_may_call_it() {
    let description = serde_json::to_value(description::finished(routes().into_openapi())).unwrap();
    let paths = description["paths"].as_object().unwrap().iter();
    let served = paths.flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone())));
    let listed = WHO.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()));
    assert_eq!(served.collect::<std::collections::BTreeSet<_>>(), listed.collect());
}

/// DESIGN §8.4, on every route: a token's role, the Host header, and on writes the Origin.
#[tokio::test]
async fn every_route_asks_who_calls_and_from_where() {
    let api = Api::with_tokens(&[("view", "v"), ("operate", "o"), ("admin", "a")]);
    for (method, path, wants) in WHO {
        let at = path.replace("{verb}", "start").replace(['{', '}'], "");
        for (token, role) in [("", None), ("x", None), ("v", Some(Role::View)), ("o", Some(Role::Operate)), ("a", Some(Role::Admin))] {
            let answer = api.send(method, &at, &[("authorization", &format!("Bearer {token}"))], "").await;
            let refusal = match (role, wants) {
                (_, None) => None,
                (None, Some(_)) => Some((401, "urn:logvine:no-token")),
                (Some(role), Some(wants)) => (role < *wants).then_some((403, "urn:logvine:role")),
            };
            match refusal {
                Some((status, kind)) => assert_problem(&answer, status, kind),
                None => assert!(![401, 403].contains(&answer.status.as_u16()), "{method} {path} with `{token}`: {}", answer.body),
            }
        }
        let by_admin = |name, value| [("authorization", "Bearer a"), (name, value)];
        assert_problem(&api.send(method, &at, &by_admin("host", "evil.example"), "").await, 421, "urn:logvine:wrong-host");
        if *method != "GET" {
            let answer = api.send(method, &at, &by_admin("origin", "http://evil.example"), "").await;
            assert_problem(&answer, 403, "urn:logvine:wrong-origin");
        }
    }
}

#[tokio::test]
async fn every_answer_has_a_strict_policy_for_browsers() {
    let api = Api::new();
    for path in ["/", "/v1/nodes", "/nothing"] {
        let headers = api.get(path).await.headers;
        assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"), "{path}");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{path}");
    }
}

/// A browser that opens `/machines` asks for HTML, without a token; whoever asks for JSON is told that there is nothing.
#[tokio::test]
async fn the_consoles_own_addresses_give_its_page_with_a_fresh_nonce() {
    let api = Api::with_tokens(&[("view", "v")]);
    let html = [("accept", "text/html,*/*;q=0.8")];
    let policy = |answer: &Answer| answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    let (first, second) = (api.get("/").await, api.send("GET", "/machines/web-1", &html, "").await);
    for answer in [&first, &second] {
        let policy = policy(answer);
        let nonce = policy.split("script-src 'self' 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        let page = answer.body.as_str().unwrap();
        assert!(page.contains("<title>logvine</title>"));
        assert!(!page.contains("<script") || page.contains(&format!("nonce=\"{nonce}\"")), "{page}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    }
    assert_ne!(policy(&first), policy(&second));
    for path in ["/v1/nodes", "/v1", "/metrics", "/machines"] {
        let accept = if path == "/machines" { "application/json" } else { "text/html" };
        assert_problem(&api.send("GET", path, &[("accept", accept)], "").await, 401, "urn:logvine:no-token");
    }
    assert_problem(&api.get("/assets/none.js").await, 404, "urn:logvine:no-route");
}
