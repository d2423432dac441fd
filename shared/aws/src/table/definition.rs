//! What the table is: once here, for tests, and once in the template, which a test compares with it.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::client::Waiters;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
    TimeToLiveSpecification,
};
use serde_json::{Value, json};
use store::Error;

use super::{INDEX, malformed, unavailable};

/// How long a table that is being made is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

const TTL: &str = "expires";

/// What of the table's properties [`DynamoTable`](super::DynamoTable) rests on, as
/// `AWS::DynamoDB::Table` spells them. The template's table has these, and may have others.
pub fn definition() -> Value {
    let name = |name: &str, kind: &str| json!({ "AttributeName": name, "AttributeType": kind });
    let keys = |pk: &str, sk: &str| {
        json!([
            { "AttributeName": pk, "KeyType": "HASH" },
            { "AttributeName": sk, "KeyType": "RANGE" },
        ])
    };
    json!({
        "AttributeDefinitions": [name("pk", "S"), name("sk", "S"), name("ipk", "S"), name("isk", "S")],
        "BillingMode": "PAY_PER_REQUEST",
        "GlobalSecondaryIndexes": [{
            "IndexName": INDEX,
            "KeySchema": keys("ipk", "isk"),
            "Projection": { "ProjectionType": "ALL" },
        }],
        "KeySchema": keys("pk", "sk"),
        "StreamSpecification": { "StreamViewType": "NEW_IMAGE" },
        "TimeToLiveSpecification": { "AttributeName": TTL, "Enabled": true },
    })
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}

fn keys(of: &Value) -> Result<Vec<KeySchemaElement>, Error> {
    let keys = of["KeySchema"].as_array().into_iter().flatten().map(|key| {
        let kind = KeyType::from(text(key, "KeyType").as_str());
        KeySchemaElement::builder()
            .attribute_name(text(key, "AttributeName"))
            .key_type(kind)
            .build()
            .map_err(malformed)
    });
    keys.collect()
}

/// Makes a table as it is defined, and waits for it.
pub(super) async fn create(client: &Client, table: &str) -> Result<(), Error> {
    let definition = definition();
    let attributes = definition["AttributeDefinitions"].as_array().into_iter().flatten();
    let attributes = attributes.map(|attribute| {
        AttributeDefinition::builder()
            .attribute_name(text(attribute, "AttributeName"))
            .attribute_type(ScalarAttributeType::from(text(attribute, "AttributeType").as_str()))
            .build()
            .map_err(malformed)
    });
    let indexes = definition["GlobalSecondaryIndexes"].as_array().into_iter().flatten();
    let indexes = indexes.map(|index| {
        let kind = ProjectionType::from(text(&index["Projection"], "ProjectionType").as_str());
        GlobalSecondaryIndex::builder()
            .index_name(text(index, "IndexName"))
            .set_key_schema(Some(keys(index)?))
            .projection(Projection::builder().projection_type(kind).build())
            .build()
            .map_err(malformed)
    });
    let view = text(&definition["StreamSpecification"], "StreamViewType");
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::from(view.as_str()));
    let request = client
        .create_table()
        .table_name(table)
        .set_attribute_definitions(Some(attributes.collect::<Result<_, _>>()?))
        .set_key_schema(Some(keys(&definition)?))
        .set_global_secondary_indexes(Some(indexes.collect::<Result<_, _>>()?))
        .billing_mode(BillingMode::from(text(&definition, "BillingMode").as_str()))
        .stream_specification(stream.build().map_err(malformed)?);
    request.send().await.map_err(unavailable)?;
    let there = client.wait_until_table_exists().table_name(table).wait(PATIENCE).await;
    there.map_err(unavailable)?;
    let live = &definition["TimeToLiveSpecification"];
    let live = TimeToLiveSpecification::builder()
        .attribute_name(text(live, "AttributeName"))
        .enabled(live["Enabled"] == true)
        .build()
        .map_err(malformed)?;
    let request = client.update_time_to_live().table_name(table).time_to_live_specification(live);
    request.send().await.map_err(unavailable)?;
    Ok(())
}
