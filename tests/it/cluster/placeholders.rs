//! Fields that a manifest sends empty and that a controller fills.

use serde_json::{Value, json};

use crate::support::cluster::ClusterFixture;

/// Base64 of what passes for a certificate.
const BUNDLE: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";

/// Applies a patch as a controller.
async fn fill(fixture: &ClusterFixture, path: &str, body: Value) {
    let path = format!("{path}?fieldManager=injector");
    fixture.merge(&path, body).await;
}

#[tokio::test]
async fn what_a_controller_fills_stays_and_is_no_drift() {
    let fixture = ClusterFixture::new().await;
    let name = &fixture.namespace;
    let hook = |bundle: &str| {
        format!(
            "{{name: a.example.test, sideEffects: None, admissionReviewVersions: [v1], clientConfig: \
             {{url: 'https://a.example.test', caBundle: {bundle:?}}}, rules: [{{operations: [CREATE], \
             apiGroups: [none.example.test], apiVersions: [v1], resources: [nothing]}}]}}"
        )
    };
    let manifest = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: \
         {{name: {name}}}\nwebhooks: [{}]\n---\napiVersion: \
         admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {{name: \
         {name}}}\nwebhooks: [{}]\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: \
         ClusterRole\nmetadata: {{name: {name}}}\naggregationRule: {{clusterRoleSelectors: \
         [{{matchLabels: {{to: {name}}}}}]}}\nrules: []\n---\napiVersion: \
         rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {name}-part, labels: {{to: \
         {name}}}}}\nrules: [{{apiGroups: [''], resources: [pods], verbs: [get]}}]\n---\napiVersion: \
         v1\nkind: Secret\nmetadata: {{name: keys}}\ndata: {{tls.key: '', tls.crt: ''}}\n",
        hook(""),
        hook("Cg==")
    );
    let applied = fixture.apply("web", &manifest, &[]).expect_code(0);
    let told = format!(
        "MutatingWebhookConfiguration/{name}: webhooks[0].clientConfig.caBundle is not sent, because \
         a controller fills it"
    );
    assert_eq!(applied.err.matches(&told).count(), 1, "{}", applied.err);

    let hooks = "/apis/admissionregistration.k8s.io/v1";
    let filled = [
        format!("{hooks}/mutatingwebhookconfigurations/{name}"),
        format!("{hooks}/validatingwebhookconfigurations/{name}"),
    ];
    for path in &filled {
        let mut hooks = fixture.get(path).await["webhooks"].clone();
        hooks[0]["clientConfig"]["caBundle"] = BUNDLE.into();
        fill(&fixture, path, json!({"webhooks": hooks})).await;
    }
    let secret = format!("/api/v1/namespaces/{name}/secrets/keys");
    fill(
        &fixture,
        &secret,
        json!({"data": {"tls.key": "eA==", "tls.crt": "eQ=="}}),
    )
    .await;
    let role = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}");
    crate::support::daemon::eventually_async("the role is aggregated", async || {
        let rules = fixture.get(&role).await["rules"].clone();
        (rules.as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;

    for _ in 0..2 {
        let plan = fixture.plan("web", &manifest);
        assert_eq!(plan["changes"], json!([]), "{plan:#}");
        let told = "data/tls.key, /data/tls.crt is empty in the manifest and not sent, because injector fills it";
        assert!(plan["notes"].to_string().contains(told), "{plan:#}");
        fixture.apply("web", &manifest, &[]).expect_code(0);
    }
    for path in &filled {
        let client = fixture.get(path).await["webhooks"][0]["clientConfig"].clone();
        assert_eq!(client["caBundle"], BUNDLE);
    }
    assert_eq!(fixture.get(&secret).await["data"]["tls.key"], "eA==");
    assert_eq!(
        fixture.get(&role).await["rules"].as_array().unwrap().len(),
        1
    );
    fixture.tear_down("web", &[]).expect_code(0);
}
