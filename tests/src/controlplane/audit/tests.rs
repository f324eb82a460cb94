use announcer_apiserver::{Match, SERVICES};

use super::*;

/// A line of kube-apiserver's, as of version 1.36, with these parts.
fn line(stage: &str, verb: &str, uri: &str, about: &str, status: &str) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"950930b4-ff95-4a92-8ce4-9e2b8635e3de","stage":"{stage}","requestURI":"{uri}","verb":"{verb}","user":{{"username":"system:serviceaccount:announcer-system:announcer","uid":"x","groups":["system:authenticated"]}},"sourceIPs":["127.0.0.1"],"userAgent":"announcer"{about},"responseStatus":{status},"requestReceivedTimestamp":"2026-11-21T21:27:41.917315Z","stageTimestamp":"2026-11-21T21:27:43.920017Z"}}"#
    )
}

const OK: &str = r#"{"metadata":{},"code":200}"#;

/// An announcer's watch, its token being good (200), unknown (401) or without rights (403).
fn watch(stage: &str, code: u16) -> String {
    let about = r#","objectRef":{"resource":"services","apiVersion":"v1"}"#;
    let status = format!(r#"{{"metadata":{{}},"status":"Failure","code":{code}}}"#);
    let status = if code == 200 { OK } else { &status };
    line(stage, "watch", "/api/v1/services?watch=true\\u0026resourceVersion=7", about, status)
}

fn list(stage: &str, code: u16) -> String {
    watch(stage, code).replace("\"watch\"", "\"list\"")
}

/// What there is of one line in the log, and what was denied.
fn recorded(line: &str) -> (Vec<Audited>, Vec<Audited>) {
    let recorder = Recorder::default();
    assert!(recorder.record(line));
    (recorder.audit().recent(&Match::any()), recorder.denied().unwrap())
}

fn one(line: &str) -> Audited {
    match &recorded(line).0[..] {
        [entry] => entry.clone(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_watch_counts_when_its_answer_begins() {
    let entry = one(&watch("ResponseStarted", 200));
    assert_eq!((entry.request.verb, entry.code), (Verb::Watch, Some(200)));
    assert_eq!(entry.request.resource, Some(SERVICES));
    assert!(entry.request.uri.ends_with("?watch=true&resourceVersion=7"));
    assert!(recorded(&watch("ResponseComplete", 200)).0.is_empty(), "it would count twice");
}

#[test]
fn other_requests_count_when_they_have_been_answered() {
    let later: Timestamp = "2026-11-21T21:27:51.917315Z".parse().unwrap();
    let now = Instant::now();
    let said = said(&list("ResponseComplete", 200), (later.into(), now)).unwrap();
    let Said::Request(entry) = said else { panic!("{said:?}") };
    assert_eq!((entry.request.verb, entry.code), (Verb::List, Some(200)));
    assert_eq!(
        (now - entry.at, entry.took),
        (Duration::from_secs(10), Duration::from_micros(2_002_702))
    );
    assert!(recorded(&list("ResponseStarted", 200)).0.is_empty());
}

#[test]
fn who_is_not_known_has_been_refused_at_any_stage_that_is_told() {
    for unknown in [list("ResponseStarted", 401), watch("ResponseStarted", 401)] {
        assert_eq!(one(&unknown).code, Some(401));
        assert!(recorded(&unknown).1.is_empty(), "no hole in anybody's rights");
    }
}

#[test]
fn what_is_denied_is_remembered_after_the_audit_was_cleared() {
    for denied in [list("ResponseComplete", 403), watch("ResponseStarted", 403)] {
        let recorder = Recorder::default();
        recorder.record(&denied);
        recorder.audit().clear();
        assert_eq!(recorder.denied().unwrap().len(), 1, "{denied}");
        recorder.clear();
        assert!(recorder.denied().unwrap().is_empty());
    }
}

#[test]
fn a_line_that_is_not_understood_is_no_line_that_is_not_there() {
    let cut_off = list("ResponseComplete", 403).split_at(200).0.to_owned();
    let verb = list("ResponseComplete", 403).replace("\"list\"", "\"steal\"");
    for bad in [cut_off, verb] {
        let recorder = Recorder::default();
        assert!(recorder.record(&bad));
        let error = recorder.denied().unwrap_err().to_string();
        assert!(error.contains("requestURI"), "it is shown: {error}");
    }
    assert!(!Recorder::default().record("I1121 21:27:41 an ordinary line"));
}

#[test]
fn the_log_has_been_read_up_to_a_mark_when_it_shows_it() {
    let recorder = Recorder::default();
    let mark = |path: &str| line("ResponseComplete", "get", path, "", OK);
    let log = recorder.clone();
    recorder
        .catch_up(|path| {
            // What was written before it comes before it.
            log.record(&list("ResponseComplete", 403));
            log.record(&mark(&path));
            Ok(())
        })
        .unwrap();
    assert_eq!(recorder.denied().unwrap().len(), 1);
    assert_eq!(recorder.audit().count(&Match::any()), 1, "a mark is nobody's request");
    assert!(recorder.catch_up(|_| bail!("no answer")).is_err());
}
