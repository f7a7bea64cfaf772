//! Requests in a version that the server has dropped.

use super::*;

/// The answers of a server that has dropped `apps/v1beta1` in favour of `apps/v1`, whose discovery
/// says so at the second look.
fn dropped(last: Vec<(u16, Value)>) -> Vec<(u16, Value)> {
    let unserved = || (404, json!("404 page not found"));
    let versions = |names: &[&str]| {
        let versions: Vec<Value> = names
            .iter()
            .map(|name| json!({"groupVersion": format!("apps/{name}")}))
            .collect();
        (200, json!({"kind": "APIGroup", "versions": versions}))
    };
    let kinds = (
        200,
        json!({"resources": [{"name": "deployments", "kind": "Deployment", "namespaced": true}]}),
    );
    let first = vec![
        unserved(),
        versions(&["v1beta1"]),
        kinds.clone(),
        unserved(),
        versions(&["v1", "v1beta1"]),
        kinds.clone(),
        kinds,
    ];
    first.into_iter().chain(last).collect()
}

#[tokio::test]
async fn an_object_is_found_in_another_version_than_a_dropped_one() {
    let beta = ApiResource {
        version: "v1beta1".into(),
        api_version: "apps/v1beta1".into(),
        ..deployments()
    };
    let live = object(web());
    let server = Server::new(dropped(vec![(200, web())]));
    let found = server.api.get(&beta, "shop", "web").await.unwrap();
    assert_eq!(found, Some(live.clone()));
    assert_eq!(server.sent().last().unwrap().path, WEB);

    let server = Server::new(dropped(vec![(200, web())]));
    assert!(server.api.delete(&beta, &live, None).await.unwrap());
    let deletion = server.sent().pop().unwrap();
    assert_eq!(
        (deletion.method, deletion.path.as_str()),
        (Method::DELETE, WEB)
    );

    let server = Server::new(dropped(vec![(200, json!({"items": [web()]}))]));
    let listed = server.api.list(&beta, "shop", "").await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&live));

    // "Not found" about the object is said of the object.
    let server = Server::new(dropped(vec![refusal(404, "NotFound")]));
    assert_eq!(server.api.get(&beta, "shop", "web").await.unwrap(), None);

    // A group that is gone has no objects.
    let unserved = || (404, json!("404 page not found"));
    let server = Server::new(vec![unserved(), unserved()]);
    assert!(!server.api.delete(&beta, &live, None).await.unwrap());
}

#[tokio::test]
async fn a_path_that_stays_unserved_is_no_absence() {
    let config_maps = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        plural: "configmaps".into(),
    };
    let server = Server::new(vec![(404, json!("404 page not found"))]);
    let error = server.api.get(&config_maps, "shop", "a").await.unwrap_err();
    assert!(error.to_string().contains("404 page not found"), "{error}");
}
