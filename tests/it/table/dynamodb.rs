//! The table on DynamoDB: what every table does, and what it does on a bad day.

use std::sync::Arc;
use std::time::Duration;

use aws::DynamoTable;
use host::SystemClock;
use store::{Error, Expect, Table, Write};
use tests::emulator::{Emulator, dynamo};
use tests::fault_proxy::{Fault, FaultProxy};
use tests::table::{add, all, commit, fill, fresh, key, put, put_until, sks};

async fn table() -> (DynamoTable, Emulator) {
    let emulator = Emulator::start().await;
    (emulator.table().await, emulator)
}

mod any {
    tests::for_table!(async { super::table().await });
}
