//! What the bench holds our functions against: the least that `lambda_http` can be, with one DynamoDB
//! client. Nobody ships it.

use std::process::ExitCode;
use std::sync::Arc;

use aws::{DynamoTable, Environment, Sdk};
use host::SystemClock;
use lambda_http::{Request, service_fn};

#[expect(clippy::disallowed_methods, reason = "configuration is read where the process starts")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn hello() -> Result<(), lambda_http::Error> {
    let environment = Environment::from_vars(variable);
    let sdk = Sdk::new(&environment)?;
    let table = DynamoTable::new(&sdk, &environment, Arc::new(SystemClock::default()))?;
    let handler = service_fn(move |_: Request| {
        let table = table.clone();
        async move {
            drop(table);
            Ok::<_, lambda_http::Error>("hello")
        }
    });
    lambda_http::run(handler).await
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(hello()));
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
