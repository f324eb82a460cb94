//! Create, read, update, patch, delete: optimistic concurrency above all.

use announcer_apiserver::{
    CustomResource, EVENTS, LEASES, LabelSelector, Match, NODES, SERVICES, Verb,
};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Event, Namespace, Node, ObjectReference, Service},
};
use kube::{
    Api, ResourceExt as _,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams, Preconditions,
    },
    runtime::events::{Event as NewEvent, EventType, Recorder, Reporter},
};
use serde_json::json;

use crate::cluster::{
    client, create_service, holder, lease, lease_json, leases, refusal, start, with_holder,
};

fn post() -> PostParams {
    PostParams::default()
}

#[tokio::test]
async fn a_write_is_a_compare_and_swap() {
    let server = start();
    let api = leases(&server, "a").await;
    let made = api.create(&post(), &lease("x", "a")).await.unwrap();
    assert!(made.uid().is_some() && made.resource_version().is_some());
    let mine = with_holder(made.clone(), "b");
    let won = api.replace("x", &post(), &mine).await.unwrap();
    assert_ne!(won.resource_version(), made.resource_version());
    assert_eq!((won.uid(), won.creation_timestamp()), (made.uid(), made.creation_timestamp()));
    let late = api.replace("x", &post(), &with_holder(made, "c")).await;
    assert_eq!(refusal(late), (409, "Conflict".to_owned()));
    assert_eq!(holder(&api.get("x").await.unwrap()), "b");
    // A Lease cannot be overwritten blindly at all.
    let blind = api.replace("x", &post(), &lease("x", "d")).await;
    assert_eq!(refusal(blind), (422, "Invalid".to_owned()));
}

#[tokio::test]
async fn creating_twice_is_refused() {
    let server = start();
    let api = leases(&server, "a").await;
    api.create(&post(), &lease("x", "a")).await.unwrap();
    let again = api.create(&post(), &lease("x", "b")).await;
    assert_eq!(refusal(again), (409, "AlreadyExists".to_owned()));
    assert_eq!(refusal(api.get("y").await), (404, "NotFound".to_owned()));
    assert_eq!(refusal(api.delete("y", &DeleteParams::default()).await).0, 404);
    let nowhere: Api<Lease> = Api::namespaced(client(&server, "a").await, "nowhere");
    assert_eq!(refusal(nowhere.create(&post(), &lease("x", "a")).await).0, 404);
}

/// As the real server does (`AllowCreateOnUpdate`): of a Lease that was deleted, a PUT makes a
/// new one, whatever resourceVersion it carries; only the uid prevents that.
#[tokio::test]
async fn only_the_uid_keeps_a_put_from_reviving_a_deleted_lease() {
    let server = start();
    let api = leases(&server, "a").await;
    let old = api.create(&post(), &lease("x", "a")).await.unwrap();
    api.delete("x", &DeleteParams::default()).await.unwrap();
    let refused = api.replace("x", &post(), &old).await;
    assert_eq!(refusal(refused), (409, "Conflict".to_owned()));
    let mut without_uid = old.clone();
    without_uid.metadata.uid = None;
    let revived = api.replace("x", &post(), &without_uid).await.unwrap();
    assert_ne!(revived.uid(), old.uid());
    let of_the_old = api.replace("x", &post(), &old).await;
    assert_eq!(refusal(of_the_old).0, 409);
    let mut node = Node::default();
    node.metadata.name = Some("gone".to_owned());
    let nodes: Api<Node> = Api::all(client(&server, "a").await);
    assert_eq!(refusal(nodes.replace("gone", &post(), &node).await).0, 404);
}

#[tokio::test]
async fn what_changes_nothing_is_not_written() {
    let server = start();
    let api = leases(&server, "a").await;
    let made = api.create(&post(), &lease("x", "a")).await.unwrap();
    let before = server.objects().resource_version();
    let same = api.replace("x", &post(), &made).await.unwrap();
    assert_eq!(same.resource_version(), made.resource_version());
    let patch = Patch::Merge(json!({"spec": {"holderIdentity": "a"}}));
    api.patch("x", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(server.objects().resource_version(), before);
    let of_a = Match::any().client("a").writes();
    assert_eq!((server.audit().count(&of_a), server.audit().writes(&of_a)), (3, 1));
}

#[tokio::test]
async fn invalid_objects_are_refused() {
    let server = start();
    let api = leases(&server, "a").await;
    let mut zero = lease("x", "a");
    zero.spec.get_or_insert_default().lease_duration_seconds = Some(0);
    assert_eq!(refusal(api.create(&post(), &zero).await), (422, "Invalid".to_owned()));
    assert_eq!(refusal(api.create(&post(), &lease("fe80::1", "a")).await).0, 422);
    let raw = json!({"metadata": {"name": "x"}, "spec": {"renewTime": "yesterday"}});
    let refused = server.objects().create(&LEASES, "kube-system", raw).map_err(|e| e.code);
    assert_eq!(refused, Err(400));
    let mut made = api.create(&post(), &lease("x", "a")).await.unwrap();
    made.metadata.resource_version = None;
    made.metadata.name = Some("y".to_owned());
    assert_eq!(refusal(api.replace("x", &post(), &made).await), (400, "BadRequest".to_owned()));
}

#[tokio::test]
async fn status_is_apart_from_spec() {
    let server = start();
    let api: Api<Service> = Api::default_namespaced(client(&server, "a").await);
    let mut service = create_service(&api, "web").await;
    let spec = service.spec.clone().unwrap();
    assert!(spec.cluster_ip.is_some() && spec.ports.unwrap()[0].node_port.is_some());
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}},
        "spec": {"type": "ClusterIP"}});
    let patched = api.patch_status("web", &PatchParams::default(), &Patch::Merge(ingress)).await;
    let patched = patched.unwrap();
    let ip =
        |service: &Service| service.status.clone()?.load_balancer?.ingress?.first()?.ip.clone();
    assert_eq!(ip(&patched).as_deref(), Some("192.0.2.10"));
    assert_eq!(patched.spec.unwrap().type_.as_deref(), Some("LoadBalancer"));
    // A write of the object itself touches no status.
    service.metadata.resource_version = None;
    service.status = None;
    service.labels_mut().insert("announce".to_owned(), "true".to_owned());
    let replaced = api.replace("web", &post(), &service).await.unwrap();
    assert_eq!(ip(&replaced).as_deref(), Some("192.0.2.10"));
    // Another type has no address.
    let retype = Patch::Merge(json!({"spec": {"type": "ClusterIP"}}));
    let retyped = api.patch("web", &PatchParams::default(), &retype).await.unwrap();
    assert_eq!(ip(&retyped), None);
    let late = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}});
    let late = api.patch_status("web", &PatchParams::default(), &Patch::Merge(late)).await;
    assert_eq!(refusal(late).0, 422);
}

#[tokio::test]
async fn server_side_apply_makes_and_merges() {
    let server = start();
    let api = leases(&server, "a").await;
    let apply = PatchParams::apply("manager-a");
    let config = |spec: serde_json::Value| {
        Patch::Apply(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "x", "labels": {"by": "a"}}, "spec": spec,
        }))
    };
    api.patch("x", &apply, &config(json!({"holderIdentity": "a"}))).await.unwrap();
    let theirs = PatchParams::apply("manager-b");
    let stolen = api.patch("x", &theirs, &config(json!({"holderIdentity": "b"}))).await;
    assert_eq!(refusal(stolen), (409, "Conflict".to_owned()));
    let forced = api.patch("x", &theirs.force(), &config(json!({"holderIdentity": "b"}))).await;
    assert_eq!(holder(&forced.unwrap()), "b");
    let before = server.objects().resource_version();
    let again = PatchParams::apply("manager-b").force();
    api.patch("x", &again, &config(json!({"holderIdentity": "b"}))).await.unwrap();
    assert_eq!(server.objects().resource_version(), before);
}

#[tokio::test]
async fn deletes_have_preconditions_and_respect_finalizers() {
    let server = start();
    let api = leases(&server, "a").await;
    let made = api.create(&post(), &lease("x", "a")).await.unwrap();
    let only = |uid: &str| {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), ..Default::default() };
        DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
    };
    assert_eq!(refusal(api.delete("x", &only("other")).await), (409, "Conflict".to_owned()));
    let status = api.delete("x", &only(&made.uid().unwrap())).await.unwrap();
    assert!(status.is_right(), "a Lease's deletion is answered with a Status");

    let mut held = lease("y", "a");
    held.metadata.finalizers = Some(vec!["example.io/hold".to_owned()]);
    api.create(&post(), &held).await.unwrap();
    let still = api.delete("y", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(still.metadata.deletion_timestamp.is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("y", &PatchParams::default(), &release).await.unwrap();
    assert_eq!(api.get_opt("y").await.unwrap(), None);
}

#[tokio::test]
async fn lists_select_and_page() {
    let server = start();
    for at in 0..5 {
        let labels = json!({"app": if at % 2 == 0 { "even" } else { "odd" }});
        let body = lease_json(&format!("l{at}"), labels);
        server.objects().create(&LEASES, "kube-system", body.clone()).unwrap();
        server.objects().create(&LEASES, "default", body).unwrap();
    }
    let all: Api<Lease> = Api::all(client(&server, "a").await);
    assert_eq!(all.list(&ListParams::default()).await.unwrap().items.len(), 10);
    let odd = ListParams::default().labels("app in (odd),!other");
    assert_eq!(all.list(&odd).await.unwrap().items.len(), 4);
    let one = ListParams::default().fields("metadata.name=l3,metadata.namespace=default");
    assert_eq!(all.list(&one).await.unwrap().items.len(), 1);
    let nonsense = ListParams::default().fields("spec.holderIdentity=x");
    assert_eq!(refusal(all.list(&nonsense).await).0, 400);

    // Pages are of one moment, whatever is written between them.
    let first = all.list(&ListParams::default().limit(4)).await.unwrap();
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (4, Some(6)));
    server.objects().delete(&LEASES, "kube-system", "l4").unwrap();
    let token = first.metadata.continue_.unwrap();
    let rest = all.list(&ListParams::default().continue_token(&token)).await.unwrap();
    assert_eq!(rest.items.len(), 6);
    assert_eq!(rest.metadata.resource_version, first.metadata.resource_version);
    server.objects().compact();
    let stale = all.list(&ListParams::default().continue_token(&token)).await;
    assert_eq!(refusal(stale), (410, "Expired".to_owned()));
    let exact = ListParams::default().at(rest.metadata.resource_version.as_deref().unwrap());
    let exact = exact.matching(kube::api::VersionMatch::Exact);
    assert_eq!(refusal(all.list(&exact).await), (410, "Expired".to_owned()));
}

#[tokio::test]
async fn events_are_seen_by_both_their_names() {
    let server = start();
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        name: Some("web".to_owned()),
        namespace: Some("default".to_owned()),
        ..ObjectReference::default()
    };
    let reporter = Reporter { controller: "announcer".into(), instance: Some("node-a".into()) };
    let recorder = Recorder::new(client(&server, "a").await, reporter);
    let event = NewEvent {
        type_: EventType::Normal,
        reason: "Announced".to_owned(),
        note: Some("192.0.2.10 is answered by node-a".to_owned()),
        action: "Announce".to_owned(),
        secondary: None,
    };
    recorder.publish(&event, &about).await.unwrap();
    let core: Api<Event> = Api::default_namespaced(client(&server, "a").await);
    let of_web = ListParams::default().fields("involvedObject.name=web,reason=Announced");
    let found = core.list(&of_web).await.unwrap().items;
    assert_eq!(found[0].message.as_deref(), Some("192.0.2.10 is answered by node-a"));
    assert_eq!(server.objects().list(&EVENTS, None, &LabelSelector::default()).len(), 1);
}

#[tokio::test]
async fn nodes_and_namespaces_have_their_rules() {
    let server = start();
    let nodes: Api<Node> = Api::all(client(&server, "a").await);
    let mut node = Node::default();
    node.metadata.name = Some("n1".to_owned());
    let made = nodes.create(&post(), &node).await.unwrap();
    let taints = made.spec.unwrap().taints.unwrap();
    assert_eq!(taints[0].key, "node.kubernetes.io/not-ready");
    let ready = json!({"metadata": {"name": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    server.objects().apply(&NODES, "", ready).unwrap();
    let conditions = nodes.get("n1").await.unwrap().status.unwrap().conditions.unwrap();
    assert_eq!(conditions[0].status, "True");

    let namespaces: Api<Namespace> = Api::all(client(&server, "a").await);
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("team".to_owned());
    namespaces.create(&post(), &namespace).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    let team: Api<Lease> = Api::namespaced(client(&server, "a").await, "team");
    assert_eq!(refusal(team.create(&post(), &lease("x", "a")).await).0, 403);
    assert_eq!(refusal(namespaces.delete("default", &DeleteParams::default()).await).0, 403);
}

#[tokio::test]
async fn custom_resources_can_be_registered() {
    let server = start();
    let gvk = GroupVersionKind::gvk("l2announcer.io", "v1alpha1", "L2AnnouncementPolicy");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "l2announcementpolicies");
    let api: Api<DynamicObject> = Api::all_with(client(&server, "a").await, &resource);
    let policy = DynamicObject::new("p", &resource).data(json!({"spec": {"a": 1}}));
    assert!(api.create(&post(), &policy).await.is_err(), "not served yet");
    server.objects().register(CustomResource {
        group: "l2announcer.io".to_owned(),
        version: "v1alpha1".to_owned(),
        plural: "l2announcementpolicies".to_owned(),
        kind: "L2AnnouncementPolicy".to_owned(),
        namespaced: false,
        status: true,
    });
    let made = api.create(&post(), &policy).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let patch = Patch::Merge(json!({"spec": {"a": 2}, "status": {"x": 1}}));
    let patched = api.patch("p", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!((patched.metadata.generation, patched.data.get("status")), (Some(2), None));
    let status = Patch::Merge(json!({"spec": {"a": 3}, "status": {"x": 1}}));
    let patched = api.patch_status("p", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(patched.metadata.generation, Some(2));
    assert_eq!(patched.data, json!({"spec": {"a": 2}, "status": {"x": 1}}));
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn the_audit_tells_clients_apart() {
    let server = start();
    let (a, b) = (leases(&server, "a").await, leases(&server, "b").await);
    a.create(&post(), &lease("x", "a")).await.unwrap();
    a.get("x").await.unwrap();
    b.get("x").await.unwrap();
    drop(b.get("y").await);
    let audit = server.audit();
    assert_eq!(audit.count(&Match::any().client("a")), 2);
    assert_eq!(audit.count(&Match::any().client("b").verb(Verb::Get).resource(LEASES)), 2);
    assert_eq!(audit.count(&Match::any().name("y")), 1);
    assert_eq!(audit.count(&Match::any().resource(SERVICES)), 0);
    assert_eq!(audit.recent(&Match::any().name("y"))[0].code, Some(404));
    audit.clear();
    assert_eq!(audit.count(&Match::any()), 0);
}

#[test]
fn waiting_wakes_on_writes() {
    let server = start();
    let objects = server.objects().clone();
    let writer = std::thread::spawn(move || {
        objects.create(&LEASES, "default", lease_json("x", json!({}))).unwrap();
        objects.patch(&LEASES, "default", "x", json!({"spec": {"holderIdentity": "z"}})).unwrap();
    });
    let is_z = |lease: Option<&serde_json::Value>| {
        lease.is_some_and(|lease| lease["spec"]["holderIdentity"] == "z")
    };
    let waited = server.objects().wait_for(&LEASES, "default", "x", is_z, crate::cluster::LONG);
    assert!(waited.is_ok());
    writer.join().unwrap();
    let never = std::time::Duration::from_millis(1);
    let unmet = server.objects().wait_for(&LEASES, "default", "x", |l| l.is_none(), never);
    assert!(unmet.unwrap_err().last.is_some());
}
