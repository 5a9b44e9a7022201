//! The audit trail.

use latchkey::store::model::AuditPage;
use latchkey::store::model::{Actor, UserId};
use latchkey::store::operation::AppendAudit;
use latchkey::store::{AuditRow, Store};
use serde_json::json;

use super::Database;
use super::fixtures::{apply, at, entry, entry_of};

pub async fn an_entry_is_read_as_it_was_written(store: &Store, _: &impl Database) {
    let user = UserId::new(at(0));
    let mut written = entry_of(7, "session.refused");
    written.actor = Actor::User(user);
    written.target = "provider:dev".to_owned();
    written.request_id = Some("request-1".to_owned());
    written.address = Some("203.0.113.9".to_owned());
    written.details = json!({ "reason": "locked \"twice\"", "attempts": 3 });
    apply(store, AppendAudit(written.clone())).await;
    let expected = AuditRow {
        id: written.id,
        at: at(7),
        actor: format!("user:{user}"),
        action: "session.refused".to_owned(),
        target: "provider:dev".to_owned(),
        request_id: written.request_id,
        address: written.address,
        details: written.details,
        personal: serde_json::Value::Null,
    };
    assert_eq!(store.read.audit(&AuditPage::newest(10)).await.unwrap(), [expected]);

    apply(store, AppendAudit(entry_of(8, "store.opened"))).await;
    let newest = store.read.audit(&AuditPage::newest(1)).await.unwrap().remove(0);
    assert_eq!((newest.actor.as_str(), newest.request_id, newest.address), ("system", None, None));
    assert_eq!(newest.details, serde_json::Value::Null);
}

pub async fn entries_come_newest_first_and_no_more_than_asked(store: &Store, _: &impl Database) {
    for (seconds, action) in [(2, "b"), (3, "c"), (1, "a"), (3, "d")] {
        let mut entry = entry(action);
        (entry.at, entry.id) = (at(seconds), uuid::Uuid::from_u128(action.as_bytes()[0].into()));
        apply(store, AppendAudit(entry)).await;
    }
    let actions = async |limit| {
        let entries = store.read.audit(&AuditPage::newest(limit)).await.unwrap();
        Vec::from_iter(entries.into_iter().map(|entry| entry.action))
    };
    assert_eq!(actions(3).await, ["d", "c", "b"]);
    assert_eq!(actions(u32::MAX).await, ["d", "c", "b", "a"]);
    assert_eq!(actions(0).await, [""; 0]);
}

pub async fn personal_values_are_kept_apart(store: &Store, database: &impl Database) {
    let mut written = entry("identity.linked");
    written.address = Some("203.0.113.9".to_owned());
    written.details = json!({ "provider": "dev", "personal": { "email": "ada@dev.localhost" } });
    apply(store, AppendAudit(written)).await;
    let row = store.read.audit(&AuditPage::newest(1)).await.unwrap().remove(0);
    assert_eq!(row.details, json!({ "provider": "dev" }));

    let personal = "personal LIKE '%203.0.113.9%' AND personal LIKE '%ada@dev.localhost%'";
    let kept = format!("SELECT count(*) FROM audit_details WHERE {personal}");
    assert_eq!(database.number(&kept).await, 1);
    let leaked = "SELECT count(*) FROM audit_events WHERE details LIKE '%ada@%'";
    assert_eq!(database.number(leaked).await, 0);

    database.execute("DELETE FROM audit_details").await;
    let row = store.read.audit(&AuditPage::newest(1)).await.unwrap().remove(0);
    assert_eq!((row.action.as_str(), row.address), ("identity.linked", None));
}
