//! Every key in the table, and the only place one is spelled.
//!
//! | item        | pk                        | sk                   | index pk                 | index sk | read by |
//! |-------------|---------------------------|----------------------|--------------------------|----------|---------|
//! | realm       | `RLM#<rlm>`               | `REALM`              | `REALM`                  | `<rlm>`  | every request; operators' list |
//! | counter     | `RLM#<rlm>`               | `COUNT#<what>`       |                          |          | admission |
//! | API key     | `KEY#<key>`               | `KEY`                | `RLM#<rlm>#KEY`          | `<key>`  | every request; list |
//! | idempotency | `KEY#<key>`               | `IDEM#<key's text>`  |                          |          | replay of a mutating request |
//! | used up     | `KEY#<key>`               | `USED#<ulid>`        |                          |          | nobody: a second one conflicts |
//! | template    | `RLM#<rlm>#TPL`           | `<tpl>`              |                          |          | get, list |
//! | agent       | `RLM#<rlm>#AGT`           | `<agt>`              | `RLM#<rlm>#AGT#<state>`  | `<agt>`  | get, list, list by state |
//! | agent label | `RLM#<rlm>#LBL#<key>=<v>` | `<agt>`              |                          |          | list agents by label |
//! | container   | `RLM#<rlm>#CTR`           | `<ctr>`              | `RLM#<rlm>#CTR#waiting`, or `#idle` | `<ms:013>#<ctr>` | get; commands of a shim; admission |
//! | live        | `LIVE`                    | `<rlm>#<ctr>`        |                          |          | the sweep over what runs |
//! | pooled      | `RLM#<rlm>#POOL#<class>`  | `<ctr>`              |                          |          | placing an agent |
//! | newest      | `RLM#<rlm>#POOL#<class>`  | `newest`             |                          |          | placing an agent, with the pooled |
//! | session     | `RLM#<rlm>#SES`           | `<ses>`              | `RLM#<rlm>#AGT#<agt>#SES`| `<ses>`  | get, list, list by agent |
//! | run         | `RLM#<rlm>#RUN`           | `<run>`              | `RLM#<rlm>#SES#<ses>#RUN`| `<run>`  | get, list, list by session |
//! | events      | `RLM#<rlm>#SES#<ses>#EVT` | `<first seq:020>`    |                          |          | page and tail by session |
//! | log entry   | `RLM#<rlm>#LOG`           | `<first position:020>` | `RLM#<rlm>#AGT#<agt>#LOG` | same | streams of a realm or an agent |
//! | snapshot    | `RLM#<rlm>#AGT#<agt>#SNP` | `<snp>`              |                          |          | get, list |
//! | history     | `RLM#<rlm>#WSP`           | `<agt>`              |                          |          | files where no directory is; the next snapshot |
//! | registry    | `REG`                     | `STATE`              |                          |          | get; sync |
//! | its agents  | `REG#AGT`                 | `<registry id>`      |                          |          | get, list, mirror |
//! | own catalog | `RLM#<rlm>#CAT`           | `<registry id>`      |                          |          | get, list |
//! | bundle      | `RLM#<rlm>#BND`           | `<digest asked for>` |                          |          | get, list |
//! | made bundle | `RLM#<rlm>#BNC`           | `<digest of content>`|                          |          | get |
//! | plan        | `RLM#<rlm>#PLN`           | `<hash>`             |                          |          | get |
//! | upload      | `RLM#<rlm>#UPL`           | `<upl>`              |                          |          | what takes it |
//! | ticket      | `TKT#<wt>`                | `TICKET`             |                          |          | opening a stream |
//! | connection  | `CON#<connection>`        | `CONNECTION`         | `RLM#<rlm>#CON`          | `<key>#<connection>` | every frame; a key's end |
//! | subscription| `RLM#<rlm>#TOP#<topic>`   | `SUB#<sub>`          |                          |          | fan-out |
//! | published   | `RLM#<rlm>#TOP#<topic>`   | `PUB`                |                          |          | fan-out, with the subscriptions |
//! | audit entry | `RLM#<rlm>#AUD`           | `<aud>`              |                          |          | list |
//! | due         | `DUE#<shard>`             | `<ms:013>#<rlm>#<errand>#<ulid>` |              |          | scheduler |
//!
//! Numbers are padded with zeros, so that byte order is their order.

use domain::due::Due;
use domain::id::Ulid;
use domain::text::{LabelKey, LabelValue, RegistryId};
use domain::{
    AgentId, AuditId, ContainerId, Digest, KeyId, RealmId, RunId, SessionId, SnapshotId,
    SubscriptionId, TemplateId, TicketId, Timestamp, Topic, UploadId,
};

use crate::{Index, Key};

/// The right to name what lives in one realm.
///
/// Only [`Scope::grant`] makes one, and a lint lets nobody call that but authentication and the
/// worker: so code that serves a request can name no other realm's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(RealmId);

impl Scope {
    /// The right, inside this crate: for entities, which know their realm.
    pub(crate) const fn of(realm: RealmId) -> Self {
        Self(realm)
    }

    /// Grants the right. For authentication, and for the worker on behalf of a stored errand.
    pub const fn grant(realm: RealmId) -> Self {
        Self(realm)
    }

    /// The realm.
    pub const fn realm(self) -> RealmId {
        self.0
    }
}

/// How many partitions the due index is spread over: each tick asks each once.
pub const DUE_SHARDS: u8 = 4;

/// The realm itself.
pub fn realm(scope: Scope) -> Key {
    Key { pk: format!("RLM#{}", scope.0), sk: "REALM".to_owned() }
}

/// Where operators list realms.
pub fn realm_index(scope: Scope) -> Index {
    Index { pk: realms(), sk: scope.0.to_string() }
}

/// The index partition of all realms.
pub fn realms() -> String {
    "REALM".to_owned()
}

/// A counter of a realm.
pub fn counter(scope: Scope, what: &'static str) -> Key {
    Key { pk: format!("RLM#{}", scope.0), sk: format!("COUNT#{what}") }
}

/// An API key: found before its realm is known.
pub fn api_key(id: KeyId) -> Key {
    Key { pk: format!("KEY#{id}"), sk: "KEY".to_owned() }
}

/// Where a realm's keys are listed.
pub fn api_key_index(scope: Scope, id: KeyId) -> Index {
    Index { pk: api_keys(scope), sk: id.to_string() }
}

/// The index partition of a realm's keys.
pub fn api_keys(scope: Scope) -> String {
    format!("RLM#{}#KEY", scope.0)
}

/// The first answer to a request that `caller` made under `idempotency_key`.
pub fn idempotency(caller: KeyId, idempotency_key: &str) -> Key {
    Key { pk: format!("KEY#{caller}"), sk: format!("IDEM#{idempotency_key}") }
}

/// That something which `caller` may do once was done.
pub fn used_up(caller: KeyId, once: Ulid) -> Key {
    Key { pk: format!("KEY#{caller}"), sk: format!("USED#{once}") }
}

/// A template.
pub fn template(scope: Scope, id: TemplateId) -> Key {
    Key { pk: templates(scope), sk: id.to_string() }
}

/// The partition of a realm's templates.
pub fn templates(scope: Scope) -> String {
    format!("RLM#{}#TPL", scope.0)
}

/// An agent.
pub fn agent(scope: Scope, id: AgentId) -> Key {
    Key { pk: agents(scope), sk: id.to_string() }
}

/// The partition of a realm's agents.
pub fn agents(scope: Scope) -> String {
    format!("RLM#{}#AGT", scope.0)
}

/// Where agents in one state are listed.
pub fn agent_state_index(scope: Scope, state: &str, id: AgentId) -> Index {
    Index { pk: agents_in_state(scope, state), sk: id.to_string() }
}

/// The index partition of a realm's agents in one state.
pub fn agents_in_state(scope: Scope, state: &str) -> String {
    format!("RLM#{}#AGT#{state}", scope.0)
}

/// That an agent carries a label.
pub fn agent_label(scope: Scope, label: &LabelKey, value: &LabelValue, id: AgentId) -> Key {
    Key { pk: agents_with_label(scope, label, value), sk: id.to_string() }
}

/// The partition of a realm's agents that carry a label. A label's key holds no `=`.
pub fn agents_with_label(scope: Scope, label: &LabelKey, value: &LabelValue) -> String {
    format!("RLM#{}#LBL#{label}={value}", scope.0)
}

/// A container.
pub fn container(scope: Scope, id: ContainerId) -> Key {
    Key { pk: containers(scope), sk: id.to_string() }
}

/// That a start of a container may be running.
pub fn live(scope: Scope, id: ContainerId) -> Key {
    Key { pk: live_containers(), sk: format!("{}#{id}", scope.0) }
}

/// The partition of the containers of all realms that may be running.
pub fn live_containers() -> String {
    "LIVE".to_owned()
}

/// That a container takes agents of any session, and what it is like.
pub fn pooled(scope: Scope, class: &str, id: ContainerId) -> Key {
    Key { pk: pool(scope, class), sk: id.to_string() }
}

/// That a container of one kind was just made. Sorts after all that are there.
pub fn newest(scope: Scope, class: &str) -> Key {
    Key { pk: pool(scope, class), sk: "newest".to_owned() }
}

/// The partition of a realm's containers of one kind that take agents of any session.
pub fn pool(scope: Scope, class: &str) -> String {
    format!("RLM#{}#POOL#{class}", scope.0)
}

/// The partition of a realm's containers.
pub fn containers(scope: Scope) -> String {
    format!("RLM#{}#CTR", scope.0)
}

/// Where containers that wait for room are found, by when they came.
pub fn waiting_index(scope: Scope, since: Timestamp, id: ContainerId) -> Index {
    Index { pk: containers_waiting(scope), sk: format!("{}#{id}", due_at(since)) }
}

/// The index partition of a realm's containers that wait for room.
pub fn containers_waiting(scope: Scope) -> String {
    format!("RLM#{}#CTR#waiting", scope.0)
}

/// Where idle containers are found, by since when they are.
pub fn idle_index(scope: Scope, since: Timestamp, id: ContainerId) -> Index {
    Index { pk: containers_idle(scope), sk: format!("{}#{id}", due_at(since)) }
}

/// The index partition of a realm's idle containers.
pub fn containers_idle(scope: Scope) -> String {
    format!("RLM#{}#CTR#idle", scope.0)
}

/// A session.
pub fn session(scope: Scope, id: SessionId) -> Key {
    Key { pk: sessions(scope), sk: id.to_string() }
}

/// The partition of a realm's sessions.
pub fn sessions(scope: Scope) -> String {
    format!("RLM#{}#SES", scope.0)
}

/// Where an agent's sessions are listed.
pub fn session_index(scope: Scope, agent: AgentId, id: SessionId) -> Index {
    Index { pk: sessions_of(scope, agent), sk: id.to_string() }
}

/// The index partition of an agent's sessions.
pub fn sessions_of(scope: Scope, agent: AgentId) -> String {
    format!("RLM#{}#AGT#{agent}#SES", scope.0)
}

/// A run.
pub fn run(scope: Scope, id: RunId) -> Key {
    Key { pk: runs(scope), sk: id.to_string() }
}

/// The partition of a realm's runs.
pub fn runs(scope: Scope) -> String {
    format!("RLM#{}#RUN", scope.0)
}

/// Where a session's runs are listed.
pub fn run_index(scope: Scope, session: SessionId, id: RunId) -> Index {
    Index { pk: runs_of(scope, session), sk: id.to_string() }
}

/// The index partition of a session's runs.
pub fn runs_of(scope: Scope, session: SessionId) -> String {
    format!("RLM#{}#SES#{session}#RUN", scope.0)
}

/// A batch of events, under the number of its first: two that continue a session at the same number
/// want the same place.
pub fn events(scope: Scope, session: SessionId, first_seq: u64) -> Key {
    Key { pk: events_of(scope, session), sk: seq(first_seq) }
}

/// The partition of a session's events.
pub fn events_of(scope: Scope, session: SessionId) -> String {
    format!("RLM#{}#SES#{session}#EVT", scope.0)
}

/// An event number, as it is ordered.
pub fn seq(seq: u64) -> String {
    format!("{seq:020}")
}

/// A line of a realm's log, under the position of its first event.
pub fn log(scope: Scope, first: u64) -> Key {
    Key { pk: logs(scope), sk: seq(first) }
}

/// The partition of a realm's log.
pub fn logs(scope: Scope) -> String {
    format!("RLM#{}#LOG", scope.0)
}

/// Where an agent's lines of the log are found.
pub fn log_index(scope: Scope, agent: AgentId, first: u64) -> Index {
    Index { pk: logs_of(scope, agent), sk: seq(first) }
}

/// The index partition of an agent's lines of the log.
pub fn logs_of(scope: Scope, agent: AgentId) -> String {
    format!("RLM#{}#AGT#{agent}#LOG", scope.0)
}

/// Whether a partition is the log of a realm.
pub(crate) fn is_log(pk: &str) -> bool {
    let realm = pk.strip_prefix("RLM#").and_then(|rest| rest.strip_suffix("#LOG"));
    realm.is_some_and(|realm| realm.parse::<RealmId>().is_ok())
}

/// A snapshot of an agent's workspace.
pub fn snapshot(scope: Scope, agent: AgentId, id: SnapshotId) -> Key {
    Key { pk: snapshots_of(scope, agent), sk: id.to_string() }
}

/// The partition of an agent's snapshots.
pub fn snapshots_of(scope: Scope, agent: AgentId) -> String {
    format!("RLM#{}#AGT#{agent}#SNP", scope.0)
}

/// Where the history of an agent's workspace ends.
pub fn history(scope: Scope, agent: AgentId) -> Key {
    Key { pk: format!("RLM#{}#WSP", scope.0), sk: agent.to_string() }
}

/// How far the registry is synced. The registry is the installation's, and nobody's secret.
pub fn registry() -> Key {
    Key { pk: "REG".to_owned(), sk: "STATE".to_owned() }
}

/// An agent that the registry lists.
pub fn registry_agent(id: &RegistryId) -> Key {
    Key { pk: registry_agents(), sk: id.to_string() }
}

/// The partition of the agents that the registry lists.
pub fn registry_agents() -> String {
    "REG#AGT".to_owned()
}

/// An agent that a realm added to its catalog.
pub fn own_registry_agent(scope: Scope, id: &RegistryId) -> Key {
    Key { pk: own_registry_agents(scope), sk: id.to_string() }
}

/// The partition of the agents that a realm added.
pub fn own_registry_agents(scope: Scope) -> String {
    format!("RLM#{}#CAT", scope.0)
}

/// A bundle, under the digest of what was asked for.
pub fn bundle(scope: Scope, id: Digest) -> Key {
    Key { pk: bundles(scope), sk: id.to_string() }
}

/// The partition of a realm's bundles.
pub fn bundles(scope: Scope) -> String {
    format!("RLM#{}#BND", scope.0)
}

/// A bundle that is made, under the digest of its content.
pub fn made_bundle(scope: Scope, content: Digest) -> Key {
    Key { pk: format!("RLM#{}#BNC", scope.0), sk: content.to_string() }
}

/// A plan.
pub fn plan(scope: Scope, hash: Digest) -> Key {
    Key { pk: format!("RLM#{}#PLN", scope.0), sk: hash.to_string() }
}

/// An upload.
pub fn upload(scope: Scope, id: UploadId) -> Key {
    Key { pk: format!("RLM#{}#UPL", scope.0), sk: id.to_string() }
}

/// A ticket: found before its realm is known.
pub fn ticket(id: TicketId) -> Key {
    Key { pk: format!("TKT#{id}"), sk: "TICKET".to_owned() }
}

/// A connection: found before its realm is known.
pub fn connection(id: &str) -> Key {
    Key { pk: format!("CON#{id}"), sk: "CONNECTION".to_owned() }
}

/// Where a client's connection is found by its key.
pub fn connection_index(scope: Scope, key: KeyId, id: &str) -> Index {
    Index { pk: connections(scope), sk: format!("{}{id}", connections_with(key)) }
}

/// The index partition of the clients' connections of a realm.
pub fn connections(scope: Scope) -> String {
    format!("RLM#{}#CON", scope.0)
}

/// What the connections of one key begin with, there.
pub fn connections_with(key: KeyId) -> String {
    format!("{key}#")
}

/// A subscription.
pub fn subscription(scope: Scope, topic: Topic, id: SubscriptionId) -> Key {
    Key { pk: topics(scope, topic), sk: format!("SUB#{id}") }
}

/// The partition of a topic: how far it was published, and who follows it.
pub fn topics(scope: Scope, topic: Topic) -> String {
    format!("RLM#{}#TOP#{topic}", scope.0)
}

/// How far a topic was published.
pub fn published(scope: Scope, topic: Topic) -> Key {
    Key { pk: topics(scope, topic), sk: "PUB".to_owned() }
}

/// The session whose events a partition holds, if it holds events.
pub(crate) fn session_of_events(pk: &str) -> Option<(RealmId, SessionId)> {
    let (realm, rest) = pk.strip_prefix("RLM#")?.split_once("#SES#")?;
    Some((realm.parse().ok()?, rest.strip_suffix("#EVT")?.parse().ok()?))
}

/// A line of the audit log.
pub fn audit(scope: Scope, id: AuditId) -> Key {
    Key { pk: audits(scope), sk: id.to_string() }
}

/// The partition of a realm's audit log.
pub fn audits(scope: Scope) -> String {
    format!("RLM#{}#AUD", scope.0)
}

/// An errand that is due at its time.
pub fn due(due: &Due) -> Key {
    let name = format!("{}#{}", due.realm, due.errand);
    // FNV-1a: spreads errands over the shards; not a secret and never stored elsewhere.
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let shard = u8::try_from(hash % u32::from(DUE_SHARDS)).unwrap_or_default();
    Key { pk: due_shard(shard), sk: format!("{}#{name}#{}", due_at(due.at), due.id) }
}

/// What a scheduler reads: the shard's partition. Its keys begin with [`due_at`].
pub fn due_shard(shard: u8) -> String {
    format!("DUE#{shard}")
}

/// Whether a partition is one of the due index.
pub(crate) fn is_due(pk: &str) -> bool {
    pk.starts_with("DUE#")
}

/// A time, as the due index orders it.
pub fn due_at(at: Timestamp) -> String {
    format!("{:013}", at.as_millis())
}

#[cfg(test)]
mod tests {
    use domain::due::Errand;

    use super::*;

    /// Pins every spelling: a key that changes loses what is stored under the old one.
    #[test]
    fn keys_are_spelled_as_they_were() {
        let scope = Scope::of(RealmId::new(Ulid::from_parts(1, 1)));
        let (agent_id, session_id) =
            (AgentId::new(Ulid::from_parts(1, 2)), SessionId::new(Ulid::from_parts(1, 3)));
        let (run_id, key_id) =
            (RunId::new(Ulid::from_parts(1, 4)), KeyId::new(Ulid::from_parts(1, 5)));
        let sub_id = SubscriptionId::new(Ulid::from_parts(1, 11));
        let label = (LabelKey::new("team").unwrap(), LabelValue::new("a b").unwrap());
        let lines = [
            format!("{:?}", realm(scope)),
            format!("{:?}", realm_index(scope)),
            format!("{:?}", counter(scope, "agents")),
            format!("{:?}", api_key(key_id)),
            format!("{:?}", api_key_index(scope, key_id)),
            format!("{:?}", idempotency(key_id, "once")),
            format!("{:?}", template(scope, TemplateId::new(Ulid::from_parts(1, 6)))),
            format!("{:?}", agent(scope, agent_id)),
            format!("{:?}", agent_state_index(scope, "active", agent_id)),
            format!("{:?}", agent_label(scope, &label.0, &label.1, agent_id)),
            format!("{:?}", container(scope, ContainerId::new(Ulid::from_parts(1, 7)))),
            format!(
                "{:?}",
                waiting_index(
                    scope,
                    Timestamp::from_millis(7),
                    ContainerId::new(Ulid::from_parts(1, 7))
                )
            ),
            format!(
                "{:?}",
                idle_index(
                    scope,
                    Timestamp::from_millis(7),
                    ContainerId::new(Ulid::from_parts(1, 7))
                )
            ),
            format!("{:?}", live(scope, ContainerId::new(Ulid::from_parts(1, 7)))),
            format!("{:?}", pooled(scope, "c", ContainerId::new(Ulid::from_parts(1, 7)))),
            format!("{:?}", newest(scope, "c")),
            format!("{:?}", session(scope, session_id)),
            format!("{:?}", session_index(scope, agent_id, session_id)),
            format!("{:?}", run(scope, run_id)),
            format!("{:?}", run_index(scope, session_id, run_id)),
            format!("{:?}", events(scope, session_id, 42)),
            format!("{:?}", log(scope, 42)),
            format!("{:?}", log_index(scope, agent_id, 42)),
            format!("{:?}", snapshot(scope, agent_id, SnapshotId::new(Ulid::from_parts(1, 12)))),
            format!("{:?}", history(scope, agent_id)),
            format!("{:?}", registry()),
            format!("{:?}", registry_agent(&RegistryId::new("echo").unwrap())),
            format!("{:?}", own_registry_agent(scope, &RegistryId::new("echo").unwrap())),
            format!("{:?}", bundle(scope, Digest::new([1; 32]))),
            format!("{:?}", made_bundle(scope, Digest::new([2; 32]))),
            format!("{:?}", plan(scope, Digest::new([3; 32]))),
            format!("{:?}", upload(scope, UploadId::new(Ulid::from_parts(1, 13)))),
            format!("{:?}", ticket(TicketId::new(Ulid::from_parts(1, 10)))),
            format!("{:?}", connection("L0SM9cOFvHcCIhw=")),
            format!("{:?}", connection_index(scope, key_id, "L0SM9cOFvHcCIhw=")),
            format!("{:?}", subscription(scope, Topic::Session(session_id), sub_id)),
            format!("{:?}", published(scope, Topic::Agent(agent_id))),
            format!("{:?}", audit(scope, AuditId::new(Ulid::from_parts(1, 8)))),
            format!(
                "{:?}",
                due(&Due::new(
                    domain::DueId::new(Ulid::from_parts(1, 9)),
                    scope.realm(),
                    Errand::Dispatch { session: session_id },
                    Timestamp::from_millis(7)
                ))
            ),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_session_is_read_from_its_events_partition() {
        let scope = Scope::of(RealmId::new(Ulid::from_parts(1, 1)));
        let id = SessionId::new(Ulid::from_parts(1, 3));
        assert_eq!(session_of_events(&events_of(scope, id)), Some((scope.realm(), id)));
        assert_eq!(session_of_events(&sessions(scope)), None);
        assert_eq!(session_of_events(&runs_of(scope, id)), None);
        assert!(is_log(&logs(scope)));
        assert!(!is_log(&logs_of(scope, AgentId::new(Ulid::from_parts(1, 2)))));
    }
}
