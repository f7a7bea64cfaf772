//! Two components that hold one object.

use crate::support::cluster::{ClusterFixture, config_map};

fn value(object: &serde_json::Value) -> &str {
    object["data"]["a"].as_str().unwrap()
}

#[tokio::test]
async fn an_object_of_another_component_is_changed_only_if_it_is_adopted() {
    let fixture = ClusterFixture::new().await;
    let path = fixture.config_map("shared");
    fixture
        .apply("first", &config_map("shared", "1"), &[])
        .expect_code(0);
    let other = config_map("shared", "2") + &config_map("own", "2");
    let file = fixture.manifest(&other);
    let saved = fixture.path("plan");
    let arguments = [
        "plan",
        "-f",
        &file,
        "--component",
        "second",
        "--out",
        &saved,
    ];
    let planned = fixture.run(&arguments).expect_code(2);
    let told = "is part of the component first";
    assert!(planned.out.contains(told), "{}", planned.out);
    for refused in [
        fixture.apply("second", &other, &[]),
        fixture.run(&["apply", &saved]),
    ] {
        let refused = refused.expect_code(6);
        assert!(refused.err.contains(told), "{}", refused.err);
    }
    assert_eq!(value(&fixture.get(&path).await), "1");
    assert!(fixture.get(&fixture.config_map("own")).await.is_null());

    let planned = fixture
        .run(&[&arguments[..], &["--adopt"]].concat())
        .expect_code(2);
    let told = "is taken over from the component first";
    assert!(planned.out.contains(told), "{}", planned.out);
    fixture.run(&["apply", &saved]).expect_code(0);
    assert_eq!(value(&fixture.get(&path).await), "2");
    fixture.apply("second", &other, &[]).expect_code(0);

    let back = fixture
        .apply("first", &config_map("shared", "1"), &[])
        .expect_code(6);
    assert!(
        back.err.contains("is part of the component second"),
        "{}",
        back.err
    );
    let torn = fixture.tear_down("first", &[]).expect_code(0);
    assert!(!fixture.get(&path).await.is_null(), "{}", torn.err);
    fixture.tear_down("second", &[]).expect_code(0);
    assert!(fixture.get(&path).await.is_null());
}

#[tokio::test]
async fn an_annotation_adopts_where_authors_may_and_equal_objects_are_shared() {
    let fixture = ClusterFixture::new().await;
    let path = fixture.config_map("shared");
    fixture
        .apply("first", &config_map("shared", "1"), &[])
        .expect_code(0);
    fixture
        .apply("second", &config_map("shared", "1"), &[])
        .expect_code(0);
    let annotated = config_map("shared", "2").replace(
        "{name: shared}",
        "{name: shared, annotations: {nuon.co/adopt: allowed}}",
    );
    fixture.apply("second", &annotated, &[]).expect_code(6);
    let may = ["--deploy-author-may", "adopt"];
    fixture.apply("second", &annotated, &may).expect_code(0);
    assert_eq!(value(&fixture.get(&path).await), "2");
    fixture.tear_down("first", &[]).expect_code(0);
    assert_eq!(value(&fixture.get(&path).await), "2");
    fixture.tear_down("second", &[]).expect_code(0);
    assert!(fixture.get(&path).await.is_null());
}
