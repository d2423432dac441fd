//! Puts secrets into a file vault until it is killed, and names each once it is kept. The vault tests
//! start it and kill it.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::unwrap_used, reason = "it runs in tests")]

use app::ports::{SecretValue, Vault};
use domain::RealmId;
use domain::text::Slug;
use embedded::vault::FileVault;
use store::Scope;

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "a test is whoever it says")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let vault = FileVault::open(arguments.next().unwrap()).unwrap();
    let scope = Scope::grant(arguments.next().unwrap().parse::<RealmId>().unwrap());
    let mut last = vault.list(scope, None, usize::MAX).await.unwrap();
    last.sort_by_key(|named| named.version);
    let from = last.last().map_or(0, |named| named.version);
    for number in from.. {
        let name = format!("n{number:06}");
        let value = SecretValue::new(name.clone()).unwrap();
        vault.put(scope, &Slug::new(name.clone()).unwrap(), &value).await.unwrap();
        println!("{name}");
    }
}
