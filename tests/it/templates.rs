//! Templates, and the agents made from them.

use serde_json::{Value, json};
use tests::reeve::{Options, Reeve};

#[tokio::test]
async fn a_template_makes_agents_and_leaves_them_alone_afterwards() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let new = json!({
        "name": "red", "description": "for red things", "driver": "acp",
        "env": { "COLOUR": "red", "SIZE": "1" }, "limits": { "timeoutSeconds": 60 },
    });
    let template = client.post("/v1/templates", new).await.is(201);
    assert_eq!((&template["builtIn"], &template["version"]), (&json!(false), &json!(1)));
    let id = template["id"].as_str().unwrap();
    let path = format!("/v1/templates/{id}");
    assert_eq!(client.get(&path).await.is(200), template);

    let from = json!({ "name": "a", "template_id": id, "env": { "COLOUR": "blue" } });
    let agent = client.post("/v1/agents", from).await.is(201);
    assert_eq!(agent["templateId"], id);
    assert_eq!(agent["env"], json!({ "COLOUR": "blue" }), "what is given replaces");
    assert_eq!(agent["limits"]["timeoutSeconds"], 60, "what is not is the template's");
    let session = client.session(agent["id"].as_str().unwrap()).await;
    assert_eq!(client.ask(&session, "!shell echo $COLOUR").await.trim(), "blue");

    let changed = client.patch(&path, json!({ "env": null, "name": "none" })).await.is(200);
    assert_eq!((&changed["env"], &changed["version"]), (&json!({}), &json!(2)));
    assert_eq!(changed["description"], "for red things");
    let stale = client.request(reqwest::Method::PATCH, &path).header("if-match", "\"1\"");
    let stale = client.send(stale.json(&json!({ "name": "late" }))).await;
    assert_eq!(stale.is(412)["code"], "version_mismatch");
    let copy = client.post(&format!("{path}/clone"), json!({ "name": "copy" })).await.is(201);
    assert_eq!((&copy["name"], &copy["version"]), (&json!("copy"), &json!(1)));
    assert_ne!(copy["id"], id);

    client.delete(&path).await.is(204);
    assert_eq!(client.get(&path).await.is(404)["code"], "not_found");
    let gone = client.post("/v1/agents", json!({ "name": "b", "templateId": id })).await;
    assert_eq!(gone.is(404)["code"], "not_found");
    let agent = format!("/v1/agents/{}", agent["id"].as_str().unwrap());
    assert_eq!(client.get(&agent).await.is(200)["env"]["COLOUR"], "blue");
}

#[tokio::test]
async fn a_built_in_template_never_changes() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let templates = client.all("/v1/templates?limit=1").await;
    assert!(templates.len() >= 2 && templates.iter().all(|template| template["builtIn"] == true));
    for template in &templates {
        let path = format!("/v1/templates/{}", template["id"].as_str().unwrap());
        let changed = client.patch(&path, json!({ "name": "mine" })).await;
        assert_eq!(changed.is(409)["code"], "built_in");
        assert_eq!(client.delete(&path).await.is(409)["code"], "built_in");
        assert_eq!(client.get(&path).await.is(200), *template);
        let copy = client.post(&format!("{path}/clone"), Value::Null).await.is(201);
        assert_eq!((&copy["builtIn"], &copy["driver"]), (&json!(false), &template["driver"]));
        let from = json!({ "name": "a", "templateId": template["id"] });
        client.post("/v1/agents", from).await.is(201);
    }
    // A copy belongs to its realm, and no other sees it.
    assert_eq!(client.all("/v1/templates?limit=3").await.len(), templates.len() * 2);
    assert_eq!(reeve.client().all("/v1/templates?limit=1").await, templates);
}
