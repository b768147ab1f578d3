use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::record::Body;

fn record(body: Body) -> Record {
    Record { id: [0; 16], offset: 0, time: None, severity: None, body, error: None, cut: false }
}

fn apply(program: &str, body: Body) -> Record {
    let mut record = record(body);
    Transform::new(&TransformSpec { vrl: Some(program.to_owned()) }).unwrap().apply(&mut record);
    record
}

fn object(value: &Value) -> Body {
    Body::Object(value.as_object().unwrap().clone())
}

/// The fields that a program left.
fn fields(body: &Body) -> Value {
    let Body::Json(json) = body else { panic!("{body:?}") };
    serde_json::from_slice(json).unwrap()
}

#[test]
fn every_kind_of_body_is_changed_as_an_object() {
    let text = apply(".env = \"prod\"", Body::Text(Bytes::from("hello")));
    assert_eq!((fields(&text.body), text.error), (json!({"message": "hello", "env": "prod"}), None));
    let json = apply(".b = .a + 1 ?? 0", Body::Json(Bytes::from(r#"{"a":1}"#)));
    assert_eq!(fields(&json.body), json!({"a": 1, "b": 2}));
    let object = apply("del(.a)\n.n.x = [1, null, 1.5]", object(&json!({"a": true})));
    assert_eq!(fields(&object.body), json!({"n": {"x": [1, null, 1.5]}}));
}

#[test]
fn a_record_on_which_it_fails_is_kept_and_marked() {
    for program in [". = parse_json!(string!(.message))", "abort", ". = [1]", ".message = 1\nabort \"not wanted\""] {
        let kept = apply(program, Body::Text(Bytes::from("no json")));
        assert_eq!(kept.body, Body::Text(Bytes::from("no json")), "{program}");
        assert!(kept.error.unwrap().starts_with("vrl: "), "{program}");
    }
    let mut twice = record(Body::Text(Bytes::from("x")));
    twice.error = Some("json: no object".to_owned());
    Transform::new(&TransformSpec { vrl: Some("abort".to_owned()) }).unwrap().apply(&mut twice);
    assert!(twice.error.unwrap().starts_with("json: no object; vrl: "));
}

#[test]
fn no_record_sees_what_another_left() {
    let mut transform = Transform::new(&TransformSpec { vrl: Some("x = null\nif exists(.a) { x = .a }\n.x = x".to_owned()) }).unwrap();
    let mut second = record(object(&json!({"b": 1})));
    transform.apply(&mut record(object(&json!({"a": 1}))));
    transform.clone().apply(&mut second.clone());
    transform.apply(&mut second);
    assert_eq!(fields(&second.body), json!({"b": 1, "x": null}));
}

#[test]
fn without_a_program_nothing_is_touched() {
    let mut record = record(Body::Json(Bytes::from(r#"{"z":1, "a":18446744073709551616}"#)));
    let before = record.body.clone();
    Transform::new(&TransformSpec::default()).unwrap().apply(&mut record);
    assert_eq!(record.body, before);
}

#[test]
fn a_program_that_does_not_compile_is_told_by_vrls_own_diagnostic() {
    let told = check(".a = parse_json(.message)").unwrap_err();
    assert!(told.starts_with("error[E") && told.contains("unhandled") && told.contains("parse_json(.message)"), "{told}");
    assert!(told.contains(":1:6"), "the line and the column: {told}");
    assert!(!told.contains('\u{1b}'), "no colours");
    check(".a = 1").unwrap();
}

/// A program comes from anybody who may write runners: it must not see the node's secrets nor reach the network.
#[test]
fn programs_reach_neither_environment_nor_network() {
    for call in ["get_env_var!(\"HOME\")", "http_request!(\"http://127.0.0.1/\")", "dns_lookup!(\"localhost\")", "get_hostname!()"] {
        assert!(check(&format!(".a = {call}")).unwrap_err().contains("undefined function"), "{call}");
    }
}

/// A stack overflow cannot be caught: it would end the agent, on every node that the runner reaches. Each kind of nesting at the bound must still run.
#[test]
fn the_deepest_programs_that_are_let_through_run() {
    let (calls, levels) = (10, 240);
    let programs = [
        format!(".a = {}1{}", "(".repeat(2 * levels), ")".repeat(2 * levels)),
        format!(".a = {}1{}", "[".repeat(levels), "]".repeat(levels)),
        format!(".a = {}true", "!".repeat(2 * levels)),
        format!("{}1", ".a = ".repeat(levels)),
        // Its compiler takes cubic time for these.
        format!(".a = 1{}", " + 1".repeat(levels)),
        format!(".a = {}1", "to_int(.b) ?? ".repeat(levels / 2)),
        format!("if .b == 1 {{ .a = 1 }}{}", " else if .b == 2 { .a = 1 }".repeat(levels / 2)),
        format!("{}1{}", "if true { ".repeat(levels), " }".repeat(levels)),
        format!(".a{} = 1", ".b".repeat(2 * levels)),
        format!(".a = {}1{}", "string!(".repeat(calls - 1), ")".repeat(calls - 1)),
    ];
    for program in programs {
        let run = move || apply(&program, object(&json!({"b": 0})));
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join().unwrap();
    }
}

#[test]
fn a_program_that_would_overflow_the_stack_is_refused() {
    for program in [format!(".a = {}1{}", "(".repeat(20_000), ")".repeat(20_000)), format!("{}1", ".a = ".repeat(10_000))] {
        assert!(check(&program).unwrap_err().contains("within one another"));
    }
}
