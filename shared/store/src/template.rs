//! Templates in the table. Built-in ones are not in it.

use domain::template::Template;

use crate::document::Document;
use crate::{Key, Scope, keys};

impl Document for Template {
    fn key(&self) -> Key {
        // A built-in template is never written: without a realm there is no place for one.
        let realm = self.realm.unwrap_or_else(|| unreachable!("built-in templates are not stored"));
        keys::template(Scope::of(realm), self.id)
    }
}
