//! Templates: make, read, change, clone, delete.

use domain::TemplateId;
use domain::agent::AgentSpec;
use domain::template::Template;
use domain::text::Description;
use store::document::{self, Loaded};
use store::{Cursor, Expect, keys};
use wire::template::{CloneTemplate, NewTemplate, TemplatePatch, TemplateView};
use wire::{Order, Page};

use crate::agents::{Paging, check_spec, check_version, page};
use crate::commit::retry_conflict;
use crate::{App, Caller, Error};

/// The use cases about templates.
#[derive(Clone, Copy, Debug)]
pub struct Templates<'a>(&'a App);

impl App {
    /// The use cases about templates.
    pub const fn templates(&self) -> Templates<'_> {
        Templates(self)
    }
}

impl Templates<'_> {
    /// Makes a template. One commit.
    pub async fn create(&self, caller: &Caller, new: NewTemplate) -> Result<TemplateView, Error> {
        let Some(driver) = new.driver else {
            let detail = "must be given".to_owned();
            return Err(Error::Invalid { field: "driver", detail });
        };
        let spec = new.spec_over(AgentSpec::of(driver));
        let template = self.new_template(caller, new.name, new.description, spec)?;
        self.store(caller, "template.create", template).await
    }

    /// Makes a copy of a template of the realm or a built-in one. One read, one commit.
    pub async fn clone(
        &self,
        caller: &Caller,
        id: TemplateId,
        clone: CloneTemplate,
    ) -> Result<TemplateView, Error> {
        let Template { name, description, spec, .. } = self.load(caller, id).await?.value;
        let name = clone.name.unwrap_or(name);
        let template = self.new_template(caller, name, Some(description), spec)?;
        self.store(caller, "template.clone", template).await
    }

    fn new_template(
        self,
        caller: &Caller,
        name: domain::text::Name,
        description: Option<Description>,
        spec: AgentSpec,
    ) -> Result<Template, Error> {
        check_spec(caller, &spec)?;
        let now = self.0.now();
        let description = match description {
            Some(description) => description,
            None => Description::new("").map_err(|_| Error::Bug("an empty description"))?,
        };
        Ok(Template {
            id: TemplateId::new(self.0.ulid(now)),
            realm: Some(caller.realm()),
            name,
            description,
            spec,
            created_at: now,
            updated_at: now,
        })
    }

    async fn store(
        &self,
        caller: &Caller,
        name: &'static str,
        template: Template,
    ) -> Result<TemplateView, Error> {
        let view = TemplateView::new(&template, 1);
        let writes = vec![document::put(&template, Expect::Absent)];
        self.0.commit(caller, name, template.id, writes, &view).await?;
        Ok(view)
    }

    /// A page of templates: the realm's and the built-in ones, which are the oldest. One read.
    pub async fn list(&self, caller: &Caller, paging: Paging) -> Result<Page<TemplateView>, Error> {
        let after = paging.after()?;
        let after = after.as_ref().map(Cursor::sk);
        let mut built_in: Vec<_> = Template::built_in().collect();
        // Built-in ids sort before every stored one.
        let ascending = paging.order == Order::Asc;
        if !ascending {
            built_in.reverse();
        }
        built_in.retain(|template| {
            let id = template.id.to_string();
            after.is_none_or(
                |after| if ascending { id.as_str() > after } else { id.as_str() < after },
            )
        });
        let stored = document::list_versions::<Template>(
            self.0.table(),
            paging.query(keys::templates(caller.scope))?,
        )
        .await?;
        let stored_ended = stored.next.is_none();
        let stored = stored.items.iter().map(|t| TemplateView::new(&t.value, t.version));
        let built_in = built_in.iter().map(|template| TemplateView::new(template, 0));
        let mut views: Vec<_> = if ascending {
            built_in.chain(stored).collect()
        } else if stored_ended {
            stored.chain(built_in).collect()
        } else {
            stored.collect()
        };
        let more = views.len() > paging.limit || !stored_ended;
        views.truncate(paging.limit);
        let next = views.last().filter(|_| more).map(|last| Cursor::behind(last.id.to_string()));
        Ok(page(views.into_iter(), next.as_ref()))
    }

    /// One template, of the realm or built in. One read at most.
    pub async fn get(&self, caller: &Caller, id: TemplateId) -> Result<TemplateView, Error> {
        let template = self.load(caller, id).await?;
        Ok(TemplateView::new(&template.value, template.version))
    }

    pub(crate) async fn load(
        &self,
        caller: &Caller,
        id: TemplateId,
    ) -> Result<Loaded<Template>, Error> {
        if let Some(value) = Template::find_built_in(id) {
            return Ok(Loaded { value, version: 0 });
        }
        let key = keys::template(caller.scope, id);
        document::get(self.0.table(), &key).await?.ok_or(Error::NotFound("template"))
    }

    async fn load_own(&self, caller: &Caller, id: TemplateId) -> Result<Loaded<Template>, Error> {
        let template = self.load(caller, id).await?;
        if template.value.realm.is_some() { Ok(template) } else { Err(Error::BuiltIn) }
    }

    /// Changes a template; agents made from it stay as they are. One read, one commit.
    pub async fn update(
        &self,
        caller: &Caller,
        id: TemplateId,
        version: Option<u64>,
        patch: TemplatePatch,
    ) -> Result<TemplateView, Error> {
        retry_conflict(self.0, || async {
            let before = self.load_own(caller, id).await?;
            check_version(&before, version)?;
            let template = Template {
                spec: patch.spec_over(before.value.spec.clone()),
                name: patch.name.clone().unwrap_or_else(|| before.value.name.clone()),
                description: patch
                    .description
                    .clone()
                    .unwrap_or_else(|| before.value.description.clone()),
                updated_at: self.0.now(),
                ..before.value.clone()
            };
            if template.spec != before.value.spec {
                check_spec(caller, &template.spec)?;
            }
            let view = TemplateView::new(&template, before.version + 1);
            let writes = vec![document::put(&template, before.expect())];
            self.0.commit(caller, "template.update", id, writes, &view).await?;
            Ok(view)
        })
        .await
    }

    /// Removes a template; agents made from it stay as they are. One read, one commit.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: TemplateId,
        version: Option<u64>,
    ) -> Result<(), Error> {
        retry_conflict(self.0, || async {
            let before = self.load_own(caller, id).await?;
            check_version(&before, version)?;
            let writes = vec![document::delete(&before)];
            self.0.commit(caller, "template.delete", id, writes, &()).await
        })
        .await
    }
}
